//! Bits, first the lowest, as deflate packs them into bytes.

use super::low_byte;

/// Writes bits behind what a buffer holds.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    out: &'a mut Vec<u8>,
    /// Where the next byte goes. What the buffer holds behind it is room.
    at: usize,
    /// Bits that are no byte yet: fewer than 8 after [`Bits::flush`].
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn behind(out: &'a mut Vec<u8>) -> Self {
        Self {
            at: out.len(),
            out,
            held: 0,
            count: 0,
        }
    }

    /// Makes room for as many bits, and for the eight bytes of a store.
    pub(super) fn reserve(&mut self, bits: u64) {
        let bytes = usize::try_from(bits / 8).unwrap_or(usize::MAX);
        let room = self.at.saturating_add(bytes).saturating_add(24);
        self.out.resize(room, 0);
    }

    /// Bits that are missing to a whole byte when three more have come, as before a stored block's lengths.
    pub(super) fn padding_after(&self, bits: u32) -> u32 {
        8_u32.wrapping_sub(self.count.wrapping_add(bits) % 8) % 8
    }

    /// Adds bits. Between two flushes there may be 56 of them.
    #[inline]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.held |= bits.wrapping_shl(self.count);
        self.count = self.count.wrapping_add(count);
    }

    /// Stores whole bytes, where there is room.
    #[inline]
    pub(super) fn flush(&mut self) {
        let room = self.out.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut);
        if let Some(room) = room {
            *room = self.held.to_le_bytes();
        }
        let bytes = self.count / 8;
        self.at = self.at.wrapping_add(super::index(bytes));
        self.held = self.held.wrapping_shr(bytes.wrapping_mul(8));
        self.count %= 8;
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self) {
        let missing = self.padding_after(0);
        self.put(0, missing);
        self.flush();
    }

    /// Copies bytes, from a whole byte on.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.truncate(self.at);
        self.out.extend_from_slice(bytes);
        self.at = self.out.len();
    }

    /// Ends with whole bytes.
    pub(super) fn end(mut self) {
        self.reserve(64);
        self.align();
        self.out.truncate(self.at);
        debug_assert_eq!(low_byte(self.held), 0);
    }
}

//! Lengths and distances of matches as symbols, what was counted of them, and what they cost.

use super::{index, low_byte};

/// The symbol that ends a block.
pub(super) const END: usize = 256;

/// Symbols for literals, the end and lengths that may be used.
pub(super) const LITERALS: usize = 286;

/// Where distances begin in [`Counts`].
const DISTANCES: usize = 320;

/// Bits behind the symbols of lengths.
pub(super) const LENGTH_EXTRA: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];

/// The symbol less 257 of each length less 3, and the shortest length of that symbol, less 3.
pub(super) fn lengths() -> [(u8, u8); 256] {
    let mut lengths = [(0, 0); 256];
    let mut first = 0_usize;
    for (symbol, extra) in (0_u8..28).zip(LENGTH_EXTRA) {
        let end = first.wrapping_add(1 << extra).min(256);
        let base = u8::try_from(first).unwrap_or(u8::MAX);
        lengths[first..end].fill((symbol, base));
        first = end;
    }
    lengths[255] = (28, 255);
    lengths
}

/// The symbol of a distance, the bits behind it and how many they are.
#[inline]
pub(super) fn distance(distance: u32) -> (u8, u32, u32) {
    let from_0 = distance.wrapping_sub(1);
    let top = (from_0 | 1).ilog2();
    if top < 2 {
        return (low_byte(from_0.into()), 0, 0);
    }
    let extra = top.wrapping_sub(1);
    let symbol = top.wrapping_mul(2) | (from_0.wrapping_shr(extra) & 1);
    let below = from_0 & 1_u32.wrapping_shl(extra).wrapping_sub(1);
    (low_byte(symbol.into()), below, extra)
}

/// How often each symbol comes.
#[derive(Clone, Debug)]
pub(super) struct Counts([u32; DISTANCES + 32]);

impl Counts {
    pub(super) fn new() -> Self {
        Self([0; DISTANCES + 32])
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }

    #[inline]
    pub(super) fn literal(&mut self, byte: u8) {
        Self::one(&mut self.0[usize::from(byte)]);
    }

    #[inline]
    pub(super) fn copy(&mut self, length: u8, distance: u8) {
        Self::one(&mut self.0[usize::from(length & 31).wrapping_add(257)]);
        Self::one(&mut self.0[usize::from(distance & 31).wrapping_add(DISTANCES)]);
    }

    #[inline]
    fn one(count: &mut u32) {
        *count = count.wrapping_add(1);
    }

    /// Counts the end of a block, which comes once.
    pub(super) fn end(&mut self) {
        self.0[END] = 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count = count.wrapping_add(*more);
        }
    }

    pub(super) fn literals(&self) -> &[u32] {
        &self.0[..LITERALS]
    }

    pub(super) fn distances(&self) -> &[u32] {
        &self.0[DISTANCES..][..30]
    }

    /// Bits behind symbols.
    pub(super) fn extra(&self) -> u64 {
        let lengths = self.0[257..].iter().zip(LENGTH_EXTRA);
        let lengths = lengths.map(|(count, extra)| u64::from(*count).wrapping_mul(extra.into()));
        let distances = self.distances().iter().zip(0_u64..);
        let distances =
            distances.map(|(count, symbol)| u64::from(*count).wrapping_mul((symbol / 2).saturating_sub(1)));
        lengths.chain(distances).sum()
    }

    /// What the symbols take at least, in parts of a bit: their entropy.
    pub(super) fn entropy(&self, logarithms: &Logarithms) -> u64 {
        let of = |counts: &[u32]| {
            let (mut sum, mut parts) = (0_u32, 0_u64);
            for count in counts {
                sum = sum.wrapping_add(*count);
                parts = parts.wrapping_add(logarithms.weighted(*count));
            }
            logarithms.weighted(sum).saturating_sub(parts)
        };
        of(self.literals()).wrapping_add(of(self.distances()))
    }
}

/// Bits in parts, as [`Counts::entropy`] counts them.
pub(super) const PARTS: u64 = 1 << 16;

/// Binary logarithms of integers, the same on any processor.
#[derive(Debug)]
pub(super) struct Logarithms([u32; 1025]);

impl Logarithms {
    pub(super) fn new() -> Self {
        let mut table = [0; 1025];
        for (entry, nth) in table.iter_mut().zip(0_u64..) {
            // 1 to 2, in units of 2^-31. Squaring doubles the logarithm, whose next bit is then whether 2 is reached.
            let mut number = nth.wrapping_add(1024).wrapping_shl(21);
            let mut bits = 0_u32;
            for _ in 0..16 {
                number = number.wrapping_mul(number).wrapping_shr(31);
                let reached = number >= 1 << 32;
                bits = bits.wrapping_mul(2) | u32::from(reached);
                number = if reached { number / 2 } else { number };
            }
            *entry = bits;
        }
        table[1024] = 1 << 16;
        Self(table)
    }

    /// A count times its logarithm, in parts.
    fn weighted(&self, count: u32) -> u64 {
        if count < 2 {
            return 0;
        }
        let whole = count.ilog2();
        // Between two entries on a straight line.
        let fraction = count.wrapping_shl(32_u32.wrapping_sub(whole));
        let (at, rest) = (
            index(fraction.wrapping_shr(22)),
            fraction.wrapping_shr(6) & 0xffff,
        );
        let (low, high) = (self.0[at], self.0[at.wrapping_add(1)]);
        let part = high.wrapping_sub(low).wrapping_mul(rest).wrapping_shr(16);
        let logarithm = whole.wrapping_shl(16).wrapping_add(low).wrapping_add(part);
        u64::from(count).wrapping_mul(logarithm.into())
    }
}

//! An encoder of deflate for bytes that are all there: better and faster than a stream's, which sees little ahead.
//!
//! | module | what it is |
//! |---|---|
//! | `matches` | where bytes stood before |
//! | `blocks` | literals and copies in blocks, and how a block is written |
//! | `symbols` | lengths and distances as symbols, counted |
//! | `huffman` | codes |
//! | `bits` | bits in bytes |
//!
//! Invariants: what comes out is a function of the bytes, the dictionary, the level and the window, not of what an
//! encoder did before; and any bytes are taken.
//!
//! Numbers wrap here where others must not: they are bounded by the lengths of buffers, and a check in each of these
//! loops would take longer than what it checks.
//!
//! Spec: <https://www.rfc-editor.org/rfc/rfc1951>

mod bits;
mod blocks;
mod huffman;
mod matches;
mod symbols;

use bits::Bits;
use blocks::Blocks;
use matches::{Effort, Match, Places, SHORTEST};

/// How a piece of a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a last block: the stream ends.
    Stream,
    /// With an empty stored block, and so with a whole byte: another piece follows.
    Piece,
}

/// An encoder, whose buffers serve again and again.
#[derive(Debug)]
pub(crate) struct Encoder {
    level: Level,
    places: Places,
    blocks: Blocks,
}

/// How hard to look for what.
#[derive(Clone, Copy, Debug)]
struct Level {
    effort: Effort,
    /// Positions behind a match to look for a better one.
    ahead: u8,
}

impl Level {
    const fn new(depth: u32, nice: usize, ahead: u8) -> Self {
        Self {
            effort: Effort { depth, nice },
            ahead,
        }
    }

    fn of(level: u8) -> Self {
        match level {
            ..=1 => Self::new(2, 12, 0),
            2 => Self::new(4, 16, 0),
            3 => Self::new(8, 24, 0),
            4 => Self::new(8, 24, 1),
            5 => Self::new(16, 48, 1),
            6 => Self::new(32, 96, 1),
            7 => Self::new(64, 130, 1),
            8 => Self::new(128, 258, 2),
            9.. => Self::new(400, 258, 2),
        }
    }
}

impl Effort {
    /// A part of it.
    fn part(self, shift: u32) -> Self {
        Self {
            depth: self.depth.wrapping_shr(shift).max(1),
            ..self
        }
    }
}

impl Encoder {
    /// For a level of 1 to 9, and a window of 2^9 to 2^15 bytes.
    pub(crate) fn new(level: u8, window_bits: u8) -> Self {
        Self {
            level: Level::of(level),
            places: Places::new(window_bits),
            blocks: Blocks::new(),
        }
    }

    /// Compresses the bytes behind the first `dictionary`, which the decoder has already, and appends them to `out`.
    pub(crate) fn encode(&mut self, bytes: &[u8], dictionary: usize, end: End, out: &mut Vec<u8>) {
        let start = dictionary.min(bytes.len());
        self.places.clear();
        self.blocks.clear(start);
        self.places.skip(bytes, start);
        let mut bits = Bits::behind(out);
        self.parse(bytes, start, &mut bits);
        self.blocks.end(bytes, end == End::Stream, &mut bits);
        if end == End::Piece {
            blocks::store(&[], false, &mut bits);
        }
        bits.end();
    }

    fn parse(&mut self, bytes: &[u8], start: usize, bits: &mut Bits<'_>) {
        let effort = self.level.effort;
        let mut at = start;
        while let Some(byte) = bytes.get(at) {
            if self.blocks.is_due() {
                self.blocks.cut(bytes, at, bits);
            }
            let found = self.places.find(bytes, SHORTEST.wrapping_sub(1), effort);
            if !self.blocks.is_worth(&bytes[at..], found) {
                self.blocks.literal(*byte);
                at = at.wrapping_add(1);
                continue;
            }
            let (copy, from) = self.better(bytes, at, found);
            at = from.wrapping_add(copy.len);
            self.blocks.copy(copy);
            self.places.skip(bytes, at);
        }
    }

    /// Looks whether a match that begins later is better, as long as there is one. The bytes before become literals.
    #[inline]
    fn better(&mut self, bytes: &[u8], at: usize, found: Match) -> (Match, usize) {
        let effort = self.level.effort;
        let (mut best, mut at) = (found, at);
        while self.level.ahead > 0 && best.len < effort.nice {
            let least = best.len.wrapping_sub(1);
            let next = self.places.find(bytes, least, effort.part(1));
            let mut later = 0_usize;
            if next.is_better(best, 2) {
                best = next;
                later = 1;
            } else if self.level.ahead > 1 {
                let next = self.places.find(bytes, least, effort.part(2));
                if next.is_better(best, 6) {
                    best = next;
                    later = 2;
                }
            }
            if later == 0 {
                break;
            }
            let until = at.wrapping_add(later);
            for byte in bytes.get(at..until).unwrap_or_default() {
                self.blocks.literal(*byte);
            }
            at = until;
        }
        (best, at)
    }
}

impl Match {
    /// Whether it saves more bits than another by some: a byte more is about four bits, twice the distance one.
    #[inline]
    fn is_better(self, other: Self, by: usize) -> bool {
        let saved = |copy: Self| {
            let far = (copy.distance | 1).ilog2();
            copy.len.wrapping_mul(4).wrapping_add(16).wrapping_sub(index(far))
        };
        self.len > 0 && saved(self) > saved(other).wrapping_add(by)
    }
}

/// A number as an index: lossless where there are 32 bits.
#[inline]
fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The lowest 32 bits.
#[inline]
fn low_word(number: usize) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The lowest 16 bits.
#[inline]
fn low_half(number: u32) -> u16 {
    let [a, b, ..] = number.to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The lowest 8 bits.
#[inline]
fn low_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::deflate::{inflated, noise};

    /// Encodes at every level, and sees that it is the same when decoded. Returns the largest.
    fn encoded(bytes: &[u8], window: u8) -> usize {
        let lens = (1..=9).map(|level| {
            let mut out = vec![7];
            Encoder::new(level, window).encode(bytes, 0, End::Stream, &mut out);
            assert!(inflated(&out[1..], window) == bytes, "level {level}");
            out.len() - 1
        });
        lens.max().unwrap()
    }

    #[test]
    fn little_is_little() {
        assert_eq!(encoded(b"", 15), 2);
        for len in 1..20 {
            assert!(encoded(&vec![b'a'; len], 9) <= 4 + len.min(3));
            assert!(encoded(&noise(len, 3), 15) <= len + 5);
        }
        let mut piece = Vec::new();
        Encoder::new(6, 15).encode(b"abc", 3, End::Piece, &mut piece);
        assert_eq!(piece, [0, 0, 0, 0xff, 0xff]);
    }

    #[test]
    fn zeros_take_a_bit_for_each_of_the_longest_copies() {
        let len = 1 << 20;
        assert!(encoded(&vec![0; len], 15) < len / 258 / 4 + 200);
    }

    #[test]
    fn noise_is_stored() {
        let len = 300_000;
        assert!(encoded(&noise(len, 1), 15) <= len + 5 * 6);
    }

    #[test]
    fn frequencies_of_fibonacci_need_words_that_are_too_long() {
        // Each byte as often as the two before together, in an order without copies that pay.
        let mut bytes = Vec::new();
        let (mut before, mut count) = (1, 1);
        for byte in 0..24 {
            bytes.extend(vec![byte; count]);
            (before, count) = (count, before + count);
        }
        let order = noise(bytes.len() * 4, 5);
        for (at, order) in order.chunks(4).enumerate() {
            let other = u32::from_le_bytes(order.try_into().unwrap()) as usize % (at + 1);
            bytes.swap(at, other);
        }
        encoded(&bytes, 15);

        let mut lengths = [0; 24];
        let mut frequencies = [1_u32; 24];
        for at in 2..24 {
            frequencies[at] = frequencies[at - 1] + frequencies[at - 2];
        }
        for limit in [5, 7, 15] {
            huffman::Maker::new().lengths(&frequencies, limit, &mut lengths);
            let full: u32 = lengths.iter().map(|length| 1 << (15 - length)).sum();
            assert_eq!(full, 1 << 15, "{lengths:?}");
            assert_eq!(
                lengths.iter().max().map(|length| usize::from(*length)),
                Some(limit)
            );
            assert!(lengths.is_sorted_by(|rare, often| rare >= often));
        }
    }

    #[test]
    fn runs_of_the_longest_copies() {
        for len in [3, 4, 257, 258, 259, 260, 516, 517, 32 * 1024, 70_000] {
            let run = vec![b'x'; len];
            let bytes = [&run[..], b"y", &run, b"z", &noise(50, 2), &run].concat();
            encoded(&bytes, 15);
        }
    }

    #[test]
    fn copies_reach_to_the_end_of_the_window_and_no_farther() {
        for window in 9..=15 {
            for (distance, reached) in [(-1, true), (0, window < 15), (1, false)] {
                let size = (1_usize << window).saturating_add_signed(distance);
                let piece = noise((size / 2).min(3000), 9);
                let between = noise(size - piece.len(), 77);
                let bytes = [&piece[..], &between, &piece].concat();
                let len = encoded(&bytes, window);
                assert_eq!(
                    len < bytes.len() - piece.len() / 2,
                    reached,
                    "{window}: {distance}"
                );
            }
        }
    }

    #[test]
    fn a_dictionary_is_used_as_far_as_the_window_reaches() {
        let dictionary = noise(40_000, 4);
        let mut lens = Vec::new();
        // The last is beyond the window.
        for from in [39_000, 20_000, 8_300, 100] {
            let bytes = [&dictionary[..], &dictionary[from..from + 900]].concat();
            let mut out = Vec::new();
            let mut encoder = Encoder::new(6, 15);
            encoder.encode(&dictionary, 0, End::Piece, &mut out);
            let before = out.len();
            encoder.encode(&bytes, dictionary.len(), End::Stream, &mut out);
            lens.push(out.len() - before);
            assert!(inflated(&out, 15) == bytes);
        }
        assert!(lens[..3].iter().all(|len| *len < 40) && lens[3] > 900, "{lens:?}");
    }

    #[test]
    fn a_block_ends_where_what_comes_changes() {
        // Two alphabets, each of which has 16 of the bytes: four bits a byte, but five if they are mixed.
        let half = |of: u8| noise(40_000, 6).into_iter().map(move |byte| byte % 16 * 16 + of);
        let bytes: Vec<u8> = half(1).chain(half(2)).collect();
        let len = encoded(&bytes, 9);
        assert!(len < bytes.len() * 9 / 16, "{len}");
    }
}

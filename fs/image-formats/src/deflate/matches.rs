//! Finds the last places where the bytes ahead stood before.
//!
//! Positions whose next four bytes hash alike are a chain, newest first; of three bytes only the newest place is known.
//! A place is 16 bits: counted from 32 KiB before the window's start, and moved down when they are used up. 0 is none,
//! and is always too far away.

use super::{index, low_half, low_word};

/// Places of a window, and what is moved down at a time.
const WINDOW: usize = 1 << 15;

/// The shortest match.
pub(super) const SHORTEST: usize = 3;

/// The longest match.
pub(super) const LONGEST: usize = 258;

/// Bytes that are hashed, and read, at a time.
const READ: usize = 4;

/// A copy of what stood before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// 0 is no match.
    pub(super) len: usize,
    pub(super) distance: usize,
}

/// How hard to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// Places to try.
    pub(super) depth: u32,
    /// Bytes of a match that are enough.
    pub(super) nice: usize,
}

/// Where the bytes stood.
#[derive(Debug)]
pub(super) struct Places {
    threes: Box<[u16; 1 << 15]>,
    fours: Box<[u16; 1 << 16]>,
    chains: Box<[u16; WINDOW]>,
    /// What place 0 is. Below the first byte at first.
    base: usize,
    /// The first position that is not in the chains.
    next: usize,
    /// The longest distance.
    reach: usize,
}

impl Places {
    pub(super) fn new(window_bits: u8) -> Self {
        let enough = "there are as many as asked";
        Self {
            threes: vec![0; 1 << 15].try_into().expect(enough),
            fours: vec![0; 1 << 16].try_into().expect(enough),
            chains: vec![0; WINDOW].try_into().expect(enough),
            base: 0,
            next: 0,
            reach: (1_usize << window_bits.clamp(9, 15)).min(WINDOW.wrapping_sub(1)),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.threes.fill(0);
        self.fours.fill(0);
        self.base = 0_usize.wrapping_sub(WINDOW);
        self.next = 0;
    }

    fn slide(&mut self) {
        let down = |places: &mut [u16]| {
            for place in places {
                *place = place.saturating_sub(1 << 15);
            }
        };
        down(&mut self.threes[..]);
        down(&mut self.fours[..]);
        down(&mut self.chains[..]);
        self.base = self.base.wrapping_add(WINDOW);
    }

    /// Enters all positions up to `to`.
    #[inline]
    pub(super) fn skip(&mut self, bytes: &[u8], to: usize) {
        while self.next < to {
            if self.enter(bytes).is_none() {
                self.next = to;
            }
        }
    }

    /// Enters the next position. Returns its first bytes, its place, and the last places where three and four of them
    /// stood; nothing so near to the end that there are no four.
    #[inline]
    fn enter(&mut self, bytes: &[u8]) -> Option<(u32, u32, u32, u32)> {
        let start = *bytes.get(self.next..)?.first_chunk::<READ>()?;
        let mut place = self.next.wrapping_sub(self.base);
        if place > usize::from(u16::MAX) {
            self.slide();
            place = self.next.wrapping_sub(self.base);
        }
        self.next = self.next.wrapping_add(1);
        let start = u32::from_le_bytes(start);
        let place = low_word(place);
        let now = low_half(place);
        let three = hash(start.wrapping_shl(8)) / 2;
        let four = hash(start);
        let three = std::mem::replace(&mut self.threes[usize::from(three)], now);
        let four = std::mem::replace(&mut self.fours[usize::from(four)], now);
        self.chains[index(place) % WINDOW] = four;
        Some((start, place, three.into(), four.into()))
    }

    /// Enters the next position, and looks for a match of more than `least` bytes there.
    #[inline]
    pub(super) fn find(&mut self, bytes: &[u8], least: usize, effort: Effort) -> Match {
        let at = self.next;
        let mut best = Match { len: 0, distance: 0 };
        let Some((start, place, three, four)) = self.enter(bytes) else {
            self.next = at.wrapping_add(1);
            return best;
        };
        let most = bytes.len().wrapping_sub(at).min(LONGEST);
        let reach = low_word(self.reach);
        let mut least = least;
        if least >= most {
            return best;
        }
        if least < SHORTEST {
            let distance = place.wrapping_sub(three);
            if distance <= reach {
                let before = at.wrapping_sub(index(distance));
                if (read(bytes, before) ^ start).trailing_zeros() >= 24 {
                    best = Match {
                        len: SHORTEST,
                        distance: index(distance),
                    };
                }
            }
            least = SHORTEST;
        }
        let nice = effort.nice.min(most);
        let mut candidate = four;
        let mut depth = effort.depth;
        // The last four bytes of a match that is longer than the best.
        let mut end = read(bytes, at.wrapping_add(least).wrapping_sub(SHORTEST));
        loop {
            let distance = place.wrapping_sub(candidate);
            if distance > reach {
                return best;
            }
            let before = at.wrapping_sub(index(distance));
            if read(bytes, before.wrapping_add(least).wrapping_sub(SHORTEST)) == end
                && read(bytes, before) == start
            {
                let len = common(bytes, before, at, most);
                if len > least {
                    best = Match {
                        len,
                        distance: index(distance),
                    };
                    least = len;
                    if len >= nice {
                        return best;
                    }
                    end = read(bytes, at.wrapping_add(least).wrapping_sub(SHORTEST));
                }
            }
            depth = depth.wrapping_sub(1);
            if depth == 0 {
                return best;
            }
            candidate = self.chains[index(candidate) % WINDOW].into();
        }
    }
}

/// Four bytes, or zeros where there are none.
#[inline]
fn read(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// How many bytes are the same at two positions, `most` at most.
#[inline]
fn common(bytes: &[u8], before: usize, at: usize, most: usize) -> usize {
    let piece = |at: usize| bytes.get(at..at.wrapping_add(most));
    let (Some(old), Some(new)) = (piece(before), piece(at)) else {
        return 0;
    };
    let ((old, old_rest), (new, new_rest)) = (old.as_chunks::<8>(), new.as_chunks::<8>());
    let mut len = 0_usize;
    for (old, new) in old.iter().zip(new) {
        let differ = u64::from_le_bytes(*old) ^ u64::from_le_bytes(*new);
        if differ != 0 {
            return len.wrapping_add(index(differ.trailing_zeros() / 8));
        }
        len = len.wrapping_add(8);
    }
    let rest = old_rest.iter().zip(new_rest);
    len.wrapping_add(rest.take_while(|(old, new)| old == new).count())
}

/// Multiplicative: the upper half of a product with an odd number near 2^32 over the golden ratio.
#[inline]
fn hash(bytes: u32) -> u16 {
    low_half(bytes.wrapping_mul(0x9e37_79b1).wrapping_shr(16))
}

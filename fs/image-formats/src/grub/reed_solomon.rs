//! Reed-Solomon codes as GRUB's core checks them.
//!
//! - The field: 256 elements, polynomial 0x11d, whose root `a` generates it. The code of `p` bytes: the remainder by
//!   (x - a^0) (x - a^1) … (x - a^(p - 1)).
//! - A block has at most 200 sectors, data and codes together, shared out in proportion, in whole sectors
//!   each, so that one may be left over. Byte `i` of each of its sectors
//!   is a word of its own, so that a bad sector is one bad byte of each word.
//! - All data come first, then all codes.

use std::iter;

const SECTOR: usize = 512;
/// The most bytes of a block.
const BLOCK: usize = 200 * SECTOR;

/// The field's powers of `a` and their inverse.
struct Field {
    power: [u8; 255],
    logarithm: [u8; 256],
}

impl Field {
    fn new() -> Self {
        let mut field = Self {
            power: [0; 255],
            logarithm: [0; 256],
        };
        let mut element = 1_u8;
        for (power, exponent) in field.power.iter_mut().zip(0_u8..) {
            *power = element;
            if let Some(logarithm) = field.logarithm.get_mut(usize::from(element)) {
                *logarithm = exponent;
            }
            let carry = if element & 0x80 == 0 { 0 } else { 0x1d };
            element = element << 1 ^ carry;
        }
        field
    }

    fn product(&self, a: u8, b: u8) -> u8 {
        if a == 0 || b == 0 {
            return 0;
        }
        let logarithm = |of| usize::from(self.logarithm[usize::from(of)]);
        self.power[logarithm(a).saturating_add(logarithm(b)) % 255]
    }

    /// The polynomial whose remainder is a code of so many bytes, its highest coefficient, 1, left out.
    fn generator(&self, len: usize) -> Vec<u8> {
        let mut polynomial = vec![1];
        for root in self.power.iter().cycle().take(len) {
            let shifted = polynomial.clone();
            polynomial.push(0);
            for (coefficient, before) in polynomial.iter_mut().skip(1).zip(&shifted) {
                *coefficient ^= self.product(*before, *root);
            }
        }
        polynomial.split_off(1)
    }

    /// The code of a word.
    fn code(&self, word: impl Iterator<Item = u8>, generator: &[u8]) -> Vec<u8> {
        let mut remainder = vec![0; generator.len()];
        for byte in word {
            let factor = remainder.first().map_or(0, |first| first ^ byte);
            remainder.rotate_left(1.min(generator.len()));
            if let Some(last) = remainder.last_mut() {
                *last = 0;
            }
            for (byte, coefficient) in remainder.iter_mut().zip(generator) {
                *byte ^= self.product(*coefficient, factor);
            }
        }
        remainder
    }
}

/// Fills the last `redundancy` bytes with the codes of those before them.
pub(super) fn protect(bytes: &mut [u8], redundancy: usize) {
    let field = Field::new();
    let (data, codes) = bytes.split_at_mut(bytes.len().saturating_sub(redundancy));
    for (data, codes) in blocks(data, codes) {
        let least = field.generator(codes.len() / SECTOR);
        let most = field.generator(codes.len().div_ceil(SECTOR));
        for column in 0..SECTOR.min(codes.len()) {
            let generator = if column < codes.len() % SECTOR {
                &most
            } else {
                &least
            };
            let word = data.iter().skip(column).step_by(SECTOR).copied();
            let places = codes.iter_mut().skip(column).step_by(SECTOR);
            let code = field.code(word, generator);
            places.zip(code).for_each(|(place, byte)| *place = byte);
        }
    }
}

/// Data and the place of its codes, block by block.
fn blocks<'a>(mut data: &'a [u8], mut codes: &'a mut [u8]) -> impl Iterator<Item = (&'a [u8], &'a mut [u8])> {
    iter::from_fn(move || {
        let total = data.len().saturating_add(codes.len());
        // In sectors first, so that all blocks but the last have whole ones.
        let share = |of: usize| {
            let sectors = of.saturating_mul(BLOCK / SECTOR).checked_div(total)?;
            Some(if total > BLOCK {
                sectors.saturating_mul(SECTOR)
            } else {
                of
            })
        };
        let (share, room) = (share(data.len())?, share(codes.len())?);
        let (block, rest) = data.split_at_checked(share)?;
        let (place, places) = std::mem::take(&mut codes).split_at_mut_checked(room)?;
        (data, codes) = (rest, places);
        (!block.is_empty()).then_some((block, place))
    })
}

//! Hashes of names: the order in which an indexed directory keeps its entries.
//!
//! Spec: <https://docs.kernel.org/filesystems/ext4/dynamic.html#hash-tree-directories>
//!
//! Four algorithms exist, of which half-MD4 is the default, in two flavours that differ for names with bytes over 127:
//! whoever wrote the first ones took `char` for granted, which is signed on x86 and unsigned on ARM. A directory's root
//! names the algorithm; the superblock's flags name the flavour.
//!
//! Why ours and no crate's: MD4's half with 32-bit words of padding made of the name's length is used nowhere else.

use crate::options::HashVersion;

/// The number by which a directory's root names its algorithm.
pub fn version(hash: HashVersion) -> u8 {
    match hash {
        HashVersion::Legacy => 0,
        HashVersion::HalfMd4 => 1,
        HashVersion::Tea => 2,
    }
}

/// Hashes the names of one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hasher {
    /// The algorithm of new directories.
    pub algorithm: HashVersion,
    /// Whether bytes over 127 count as positive numbers.
    pub unsigned: bool,
    /// The superblock's seed, against names chosen to collide. All zero stands for MD4's initial state.
    pub seed: [u32; 4],
}

/// A name's place in an indexed directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash {
    /// What the index holds; the lowest bit is 0.
    pub major: u32,
    /// What orders names of equal `major`.
    pub minor: u32,
}

/// The hash that directory readers keep for "the end".
const END: u32 = 0xffff_fffe;

impl Hasher {
    /// A signed half-MD4 hasher, as Linux on x86 makes file systems.
    pub fn new(seed: [u32; 4]) -> Self {
        Self {
            algorithm: HashVersion::HalfMd4,
            unsigned: false,
            seed,
        }
    }

    /// Hashes a name.
    pub fn hash(&self, name: &[u8]) -> Hash {
        let (major, minor) = match self.algorithm {
            HashVersion::Legacy => (self.legacy(name), 0),
            HashVersion::HalfMd4 => {
                let state = name.chunks(32).enumerate().fold(self.state(), |state, (i, _)| {
                    half_md4(state, &self.words::<8>(rest(name, i, 32)))
                });
                (state[1], state[2])
            }
            HashVersion::Tea => {
                let state = name.chunks(16).enumerate().fold(self.state(), |state, (i, _)| {
                    tea(state, &self.words::<4>(rest(name, i, 16)))
                });
                (state[0], state[1])
            }
        };
        let major = major & !1;
        let major = if major == END { END.wrapping_sub(2) } else { major };
        Hash { major, minor }
    }

    fn state(&self) -> [u32; 4] {
        if self.seed == [0; 4] {
            [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476]
        } else {
            self.seed
        }
    }

    fn byte(&self, byte: u8) -> u32 {
        if self.unsigned {
            u32::from(byte)
        } else {
            i32::from(byte.cast_signed()).cast_unsigned()
        }
    }

    /// The next words of a name, from what is left of it; what the name does not fill repeats its remaining length.
    fn words<const WORDS: usize>(&self, rest: &[u8]) -> [u32; WORDS] {
        let len = u32::try_from(rest.len()).expect("a name is at most 255 bytes long") & 0xff;
        let pad = len | (len << 8);
        let pad = pad | (pad << 16);
        let mut words = [pad; WORDS];
        for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
            *word = bytes
                .iter()
                .fold(pad, |word, byte| (word << 8).wrapping_add(self.byte(*byte)));
        }
        words
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (hash, _) = name
            .iter()
            .fold((0x12a3_fe2d_u32, 0x37ab_e8f9_u32), |(hash, before), byte| {
                let mixed = hash ^ self.byte(*byte).wrapping_mul(7_152_373);
                let next = before.wrapping_add(mixed);
                let next = if next & 0x8000_0000 == 0 {
                    next
                } else {
                    next.wrapping_sub(0x7fff_ffff)
                };
                (next, hash)
            });
        hash << 1
    }
}

/// What is left of a name from chunk `i` of `len` bytes on.
fn rest(name: &[u8], i: usize, len: usize) -> &[u8] {
    &name[i.saturating_mul(len)..]
}

/// MD4's three rounds over eight words, added to the state.
fn half_md4(state: [u32; 4], words: &[u32; 8]) -> [u32; 4] {
    type Mix = fn(u32, u32, u32) -> u32;
    /// One round: its function, its constant, the order of the words, and how far each of four steps rotates.
    type Round = (Mix, u32, [usize; 8], [u32; 4]);
    const ROUNDS: [Round; 3] = [
        (
            |x, y, z| z ^ (x & (y ^ z)),
            0,
            [0, 1, 2, 3, 4, 5, 6, 7],
            [3, 7, 11, 19],
        ),
        (
            |x, y, z| (x & y).wrapping_add((x ^ y) & z),
            0x5a82_7999,
            [1, 3, 5, 7, 0, 2, 4, 6],
            [3, 5, 9, 13],
        ),
        (
            |x, y, z| x ^ y ^ z,
            0x6ed9_eba1,
            [3, 7, 2, 6, 1, 5, 0, 4],
            [3, 9, 11, 15],
        ),
    ];
    let [mut a, mut b, mut c, mut d] = state;
    for (mix, constant, order, rotations) in ROUNDS {
        for (word, rotation) in order.into_iter().zip(rotations.into_iter().cycle()) {
            let sum = a
                .wrapping_add(mix(b, c, d))
                .wrapping_add(words[word])
                .wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(rotation), b, c);
        }
    }
    [
        state[0].wrapping_add(a),
        state[1].wrapping_add(b),
        state[2].wrapping_add(c),
        state[3].wrapping_add(d),
    ]
}

/// Sixteen cycles of the Tiny Encryption Algorithm, added to the state's first half.
fn tea(state: [u32; 4], key: &[u32; 4]) -> [u32; 4] {
    const DELTA: u32 = 0x9e37_79b9;
    let half = |other: u32, sum: u32, k: usize| {
        (other << 4).wrapping_add(key[k])
            ^ other.wrapping_add(sum)
            ^ (other >> 5).wrapping_add(key[k.wrapping_add(1)])
    };
    let (mut x, mut y, mut sum) = (state[0], state[1], 0u32);
    for _ in 0..16 {
        sum = sum.wrapping_add(DELTA);
        x = x.wrapping_add(half(y, sum, 0));
        y = y.wrapping_add(half(x, sum, 2));
    }
    [
        state[0].wrapping_add(x),
        state[1].wrapping_add(y),
        state[2],
        state[3],
    ]
}

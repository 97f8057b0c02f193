//! Units: numbers of blocks, groups and inodes, and counts of blocks and bytes, each a type of its own.
//!
//! Their operators check: where plain integers would wrap, these panic. Every number here is bounded by the size of
//! an image (below 2^63 bytes), which [`Options`](crate::Options) are checked against first, so that a panic is a
//! broken invariant of the planner.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Rem, Sub, SubAssign};

/// A block of the file system, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(pub u64);

/// A count of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blocks(pub u64);

/// A count of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// A block group, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u32);

/// An inode, by number; the first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u32);

/// The size of a block in bytes: 1024, 2048 or 4096.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockSize(u16);

macro_rules! number {
    ($name:ident, $inner:ty) => {
        impl Add<$inner> for $name {
            type Output = Self;
            fn add(self, by: $inner) -> Self {
                Self(
                    self.0
                        .checked_add(by)
                        .expect(concat!(stringify!($name), " overflows")),
                )
            }
        }
        impl Sub<$inner> for $name {
            type Output = Self;
            fn sub(self, by: $inner) -> Self {
                Self(
                    self.0
                        .checked_sub(by)
                        .expect(concat!(stringify!($name), " underflows")),
                )
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! count {
    ($name:ident) => {
        impl $name {
            /// None at all.
            pub const ZERO: Self = Self(0);

            /// How many parts of `by` cover the count.
            pub fn div_ceil(self, by: u64) -> u64 {
                assert_ne!(by, 0, "parts are not empty");
                self.0.div_ceil(by)
            }

            /// The count rounded up to a multiple of `by`.
            #[must_use]
            pub fn round_up(self, by: u64) -> Self {
                Self(self.0.next_multiple_of(by))
            }

            /// The difference, or zero where `other` is more.
            #[must_use]
            pub fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
        impl Add for $name {
            type Output = Self;
            fn add(self, by: Self) -> Self {
                self + by.0
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, by: Self) -> Self {
                self - by.0
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, by: Self) {
                *self = *self + by;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, by: Self) {
                *self = *self - by;
            }
        }
        impl Mul<u64> for $name {
            type Output = Self;
            fn mul(self, by: u64) -> Self {
                Self(
                    self.0
                        .checked_mul(by)
                        .expect(concat!(stringify!($name), " overflows")),
                )
            }
        }
        impl Div<u64> for $name {
            type Output = Self;
            fn div(self, by: u64) -> Self {
                Self(self.0.checked_div(by).expect("parts are not empty"))
            }
        }
        impl Rem<u64> for $name {
            type Output = u64;
            fn rem(self, by: u64) -> u64 {
                self.0.checked_rem(by).expect("parts are not empty")
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
                counts.fold(Self::ZERO, Add::add)
            }
        }
    };
}

number!(Block, u64);
number!(Blocks, u64);
number!(Bytes, u64);
number!(Group, u32);
number!(Ino, u32);
count!(Blocks);
count!(Bytes);

impl Add<Blocks> for Block {
    type Output = Self;
    fn add(self, by: Blocks) -> Self {
        self + by.0
    }
}

impl Sub for Block {
    type Output = Blocks;
    fn sub(self, from: Self) -> Blocks {
        Blocks((self - from.0).0)
    }
}

impl Block {
    /// Where the block begins, in bytes from the start of the file system.
    pub fn start(self, block_size: BlockSize) -> u64 {
        (Bytes(self.0) * block_size.bytes()).0
    }
}

impl Blocks {
    /// Bytes in so many blocks.
    pub fn bytes(self, block_size: BlockSize) -> Bytes {
        Bytes(self.0) * block_size.bytes()
    }
}

impl Bytes {
    /// Blocks that hold so many bytes, the last perhaps in part.
    pub fn blocks(self, block_size: BlockSize) -> Blocks {
        Blocks(self.div_ceil(block_size.bytes()))
    }
}

impl Group {
    /// The group as an index.
    pub fn index(self) -> usize {
        to_usize(self.0)
    }
}

impl Ino {
    /// The root directory.
    pub const ROOT: Self = Self(2);
    /// The inode that owns the blocks reserved for more group descriptors.
    pub const RESIZE: Self = Self(7);
    /// The journal.
    pub const JOURNAL: Self = Self(8);
    /// `lost+found`, the first inode that is not reserved.
    pub const LOST_FOUND: Self = Self(11);
}

impl BlockSize {
    /// 1 KiB: the superblock fills block 1 then.
    pub const KIB_1: Self = Self(1024);
    /// 2 KiB.
    pub const KIB_2: Self = Self(2048);
    /// 4 KiB: a page, and the default.
    pub const KIB_4: Self = Self(4096);

    /// The block size of so many bytes, if it is one.
    pub fn new(bytes: u64) -> Option<Self> {
        [Self::KIB_1, Self::KIB_2, Self::KIB_4]
            .into_iter()
            .find(|size| size.bytes() == bytes)
    }

    /// Bytes in a block.
    pub fn bytes(self) -> u64 {
        self.0.into()
    }

    /// Bytes in a block, for the lengths of buffers.
    pub fn buffer(self) -> usize {
        self.0.into()
    }

    /// As the superblock has it: the block size is 1024 shifted left by this.
    pub fn log(self) -> u32 {
        u32::from(self.0).trailing_zeros().saturating_sub(10)
    }

    /// The block that holds the superblock: 1 where the boot sector fills block 0, else 0.
    pub fn first_data_block(self) -> Block {
        Block(u64::from(self == Self::KIB_1))
    }

    /// Bits in a bitmap's block: blocks of a group, and the most inodes of one.
    pub fn bits(self) -> u32 {
        u32::from(self.0).saturating_mul(8)
    }
}

impl fmt::Display for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An index out of an on-disk number.
pub(crate) fn to_usize(n: u32) -> usize {
    usize::try_from(n).expect("a u32 fits usize on every target that builds images")
}

/// The length of a buffer as a number of bytes.
pub(crate) fn to_u64(n: usize) -> u64 {
    u64::try_from(n).expect("a usize fits u64 on every target that builds images")
}

/// The low and the high half of a number that the format splits.
pub(crate) fn halves(n: u64) -> (u32, u32) {
    let low = u32::try_from(n & 0xffff_ffff).expect("32 bits");
    let high = u32::try_from(n >> 32).expect("32 bits");
    (low, high)
}

/// The low and the high half of a number that the format splits.
pub(crate) fn quarters(n: u32) -> (u16, u16) {
    let low = u16::try_from(n & 0xffff).expect("16 bits");
    let high = u16::try_from(n >> 16).expect("16 bits");
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_round_and_split() {
        assert_eq!(Bytes(4097).blocks(BlockSize::KIB_4), Blocks(2));
        assert_eq!(Bytes::ZERO.blocks(BlockSize::KIB_4), Blocks::ZERO);
        assert_eq!(Blocks(3).round_up(4), Blocks(4));
        assert_eq!(halves(0x1_0000_0002), (2, 1));
        assert_eq!(quarters(0x1_0002), (2, 1));
        assert_eq!(BlockSize::new(4096).unwrap().log(), 2);
        assert_eq!(BlockSize::new(8192), None);
    }

    #[test]
    #[should_panic(expected = "Block overflows")]
    fn operators_check() {
        let _ = Block(u64::MAX) + 1;
    }
}

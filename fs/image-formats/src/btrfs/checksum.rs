//! Checksums of superblocks, tree blocks and the sectors of files.
//!
//! Spec: <https://btrfs.readthedocs.io/en/latest/Checksumming.html>

use blake2::Blake2b;
use blake2::digest::Digest;
use blake2::digest::consts::U32;
use sha2::Sha256;

use super::Error;
use super::disk::CHECKSUM_LEN;

/// A kind of checksum that a file system may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// CRC-32C, four bytes.
    Crc32c,
    /// SHA-256.
    Sha256,
    /// `BLAKE2b` with 256 bits.
    Blake2,
}

impl Checksum {
    /// What the superblock's `csum_type` means.
    pub(crate) fn of(csum_type: u16) -> Result<Self, Error> {
        match csum_type {
            0 => Ok(Self::Crc32c),
            1 => Err(Error::Unsupported("checksums of kind xxhash")),
            2 => Ok(Self::Sha256),
            3 => Ok(Self::Blake2),
            other => Err(Error::UnknownChecksum(other)),
        }
    }

    /// Its name, as `mkfs.btrfs --csum` takes it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "crc32c",
            Self::Sha256 => "sha256",
            Self::Blake2 => "blake2",
        }
    }

    /// Bytes of it where it stands beside others.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Crc32c => 4,
            Self::Sha256 | Self::Blake2 => CHECKSUM_LEN,
        }
    }

    /// The checksum of some bytes, with zeros behind it.
    pub(crate) fn sum(self, bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
        match self {
            Self::Crc32c => {
                let mut sum = [0; CHECKSUM_LEN];
                sum[..4].copy_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
                sum
            }
            Self::Sha256 => Sha256::digest(bytes).into(),
            Self::Blake2 => Blake2b::<U32>::digest(bytes).into(),
        }
    }

    /// Whether bytes have a checksum, which begins with the checksum's own bytes.
    pub(super) fn fits(self, bytes: &[u8], stored: &[u8]) -> bool {
        stored.get(..self.len()) == self.sum(bytes).get(..self.len())
    }

    /// Whether a structure that begins with its checksum has the right one.
    pub(super) fn guards(self, structure: &[u8]) -> bool {
        let (stored, rest) = structure
            .split_at_checked(CHECKSUM_LEN)
            .unwrap_or((structure, &[]));
        self.fits(rest, stored)
    }
}

/// The hash that a directory finds names by: CRC-32C that starts from the complement of 1, without inversions.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(!crc32c::crc32c_append(1, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_hashes_that_the_kernel_gives_them() {
        // The key of the entry of the default subvolume, the same in every file system.
        assert_eq!(name_hash(b"default"), 2_378_154_706);
    }

    #[test]
    fn a_structure_is_guarded_by_its_own_beginning() {
        for kind in [Checksum::Crc32c, Checksum::Sha256, Checksum::Blake2] {
            let mut structure = vec![7; 100];
            let sum = kind.sum(&structure[CHECKSUM_LEN..]);
            structure[..CHECKSUM_LEN].copy_from_slice(&sum);
            assert!(kind.guards(&structure), "{kind:?}");
            structure[99] ^= 1;
            assert!(!kind.guards(&structure), "{kind:?}");
            assert!(!kind.guards(&structure[..10]), "{kind:?}");
        }
    }
}

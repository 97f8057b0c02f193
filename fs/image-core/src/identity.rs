//! Identity: every UUID, seed and time stamp of a build, fixed before the first hook runs.
//!
//! fstab and grub.cfg quote UUIDs and labels, so they must be known before the hooks run, and reproducible builds need
//! all of them to derive from one seed. This module has no source of randomness: who wants a fresh identity brings a
//! random seed.

use uuid::Uuid;

use crate::tree::Time;

/// The identity of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    seed: Uuid,
    /// The time stamp of everything that the writers create: superblock, journal, lost+found.
    pub epoch: Time,
    /// Whether file times after [`Identity::epoch`] are clamped to it, as `SOURCE_DATE_EPOCH` asks.
    pub clamp: bool,
}

impl Identity {
    /// Derives an identity from a seed of any length: the same seed gives the same identity everywhere.
    pub fn new(seed: &[u8], epoch: Time, clamp: bool) -> Self {
        /// The namespace of this program's seeds, drawn once at random.
        const NAMESPACE: Uuid = Uuid::from_u128(0x6f1c_3c8b_52de_4f0e_9a41_7d26_be60_13f5);
        Self {
            seed: Uuid::new_v5(&NAMESPACE, seed),
            epoch,
            clamp,
        }
    }

    /// The UUID of one part of the image, such as `"ext4 /"`: stable, and different for every purpose.
    pub fn uuid(&self, purpose: &str) -> Uuid {
        Uuid::new_v5(&self.seed, purpose.as_bytes())
    }

    /// A file's time stamp as the image will have it.
    pub fn time(&self, time: Time) -> Time {
        if self.clamp { time.min(self.epoch) } else { time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_depend_on_seed_and_purpose_only() {
        let at = |secs| Time { secs, nanos: 0 };
        let a = Identity::new(b"seed", at(0), false);
        let b = Identity::new(b"seed", at(1), true);
        assert_eq!(a.uuid("ext4 /"), b.uuid("ext4 /"));
        assert_ne!(a.uuid("ext4 /"), a.uuid("ext4 /boot"));
        assert_ne!(
            a.uuid("ext4 /"),
            Identity::new(b"other", at(0), false).uuid("ext4 /")
        );
    }

    #[test]
    fn only_later_times_are_clamped() {
        let at = |secs| Time { secs, nanos: 5 };
        let clamping = Identity::new(b"", at(100), true);
        assert_eq!(clamping.time(at(101)), at(100));
        assert_eq!(clamping.time(at(99)), at(99));
        assert_eq!(Identity::new(b"", at(100), false).time(at(101)), at(101));
    }
}

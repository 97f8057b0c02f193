//! The identity of a build: the one place that asks the system for randomness and the time for an image's sake.
//!
//! With `SOURCE_DATE_EPOCH` or a seed given, nothing random is asked for: the same inputs give the same bytes. A build
//! that was given the time but no seed takes its name and elements as the seed, so that two images of one run differ.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use image_core::Identity;
use image_core::tree::Time;

/// What a user gave to make builds repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repeat {
    /// `SOURCE_DATE_EPOCH`: no time stamp of the image is later.
    pub epoch: Option<u64>,
    /// The seed of all UUIDs.
    pub seed: Option<String>,
}

/// Fixes the identity of a build called `name`.
pub fn fix(repeat: &Repeat, name: &str) -> io::Result<Identity> {
    let epoch = repeat.epoch.map_or_else(now, |secs| Time {
        secs: i64::try_from(secs).unwrap_or(i64::MAX),
        nanos: 0,
    });
    let seed = match (&repeat.seed, repeat.epoch) {
        (Some(seed), _) => seed.as_bytes().to_vec(),
        (None, Some(_)) => name.as_bytes().to_vec(),
        (None, None) => random()?,
    };
    Ok(Identity::new(&seed, epoch, repeat.epoch.is_some()))
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time {
        secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}

fn random() -> io::Result<Vec<u8>> {
    let mut seed = vec![0; 32];
    let len = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    seed.truncate(len);
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_build_without_time_and_seed_is_random() {
        let with = |epoch, seed: Option<&str>| {
            let seed = seed.map(str::to_owned);
            fix(&Repeat { epoch, seed }, "image").unwrap()
        };
        let uuid = |identity: Identity| identity.uuid("ext4 /");
        assert_eq!(with(Some(5), None), with(Some(5), None));
        assert_eq!(uuid(with(None, Some("s"))), uuid(with(Some(5), Some("s"))));
        assert_ne!(uuid(with(None, None)), uuid(with(None, None)));
        assert!(with(Some(5), None).clamp && !with(None, Some("s")).clamp);
    }
}

//! The root file system's options: what was asked for, in the words of the planner.
//!
//! Features follow the target's age. What Debian 12 makes is refused by e2fsck before 1.43, so that an old guest's boot
//! ends in a shell; such a guest gets the profile for old ones (`OLD_RELEASES`, `OLD_DISTRIBUTIONS`). A release is
//! known by what the caller says: what elements export is known only when hooks run, and none of ours is so old.
//! For a release that no table has, `--mkfs-options '-T legacy'` chooses the same, and `-T modern` the newest features.
//!
//! Size, with or without the room for a journal, is the planner's: see [`Size`].

use ext4_rs_writer::{Journal, Options, Profile, Size, mke2fs};
use image_core::Identity;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::settings::{Settings, SizeRule};

/// Sizes of images are multiples of so many KiB: the largest cluster that old programs expect.
const GRAIN_KIB: u64 = 64;

/// Releases whose e2fsprogs are older than 1.43, by names that no other distribution has: Debian up to 8, which has
/// 1.42.12, and Ubuntu up to 16.04, which has 1.42.13. The element `ubuntu` names the others of this list, too.
const OLD_RELEASES: [&str; 16] = [
    "squeeze", "wheezy", "jessie", "lucid", "maverick", "natty", "oneiric", "precise", "quantal", "raring",
    "saucy", "trusty", "utopic", "vivid", "wily", "xenial",
];
/// The release 7 of distributions that number them, and all before it, has e2fsprogs 1.42.9 or older. A bare number says
/// nothing, since every distribution has had a 7: `DISTRO_NAME` or an element must say whose it is.
const OLD_DISTRIBUTIONS: [(&str, Option<u32>); 5] = [
    ("centos", Some(7)),
    ("centos-minimal", Some(7)),
    ("centos7", None),
    ("rhel", Some(7)),
    ("rhel7", None),
];

/// The options of the root file system, for the target that the caller's `DIB_RELEASE` and `DISTRO_NAME` name.
pub fn options(settings: &Settings, environment: &Environment, identity: Identity) -> Result<Options> {
    let mut options = of_kind(&settings.fs_type, settings, environment, identity)?;
    options.label = label(&settings.root_label)?;
    if let Some(mib) = settings.journal_mib {
        options.journal = Journal::Fixed(mib.saturating_mul(1 << 20));
    }
    mke2fs::apply(&mut options, &settings.mkfs_options)
        .map_err(|error| Error::usage("--mkfs-options").because(error))?;
    if let Some(blocks) = settings.max_online_resize {
        let bytes = options.block_size.bytes();
        options.max_size = Some(blocks.saturating_mul(bytes));
    }
    Ok(options)
}

/// The options of any file system of a kind, sized as the image is asked to be.
pub fn of_kind(
    kind: &str,
    settings: &Settings,
    environment: &Environment,
    identity: Identity,
) -> Result<Options> {
    let profile = match kind {
        "ext4" if is_old(settings, environment)? => Profile::Legacy,
        "ext4" => Profile::Default,
        "ext3" => Profile::Ext3,
        "ext2" => Profile::Ext2,
        other => return Err(no_writer(other)),
    };
    let mut options = Options::new(profile, identity);
    options.size = size(settings.size);
    Ok(options)
}

/// The refusal of a type that a user asked for.
pub fn no_writer(kind: &str) -> Error {
    Error::usage(format!("FS_TYPE: there is no writer of {kind}")).hint("the types are ext4, ext3 and ext2")
}

/// Whether the target is too old for what file systems usually have.
fn is_old(settings: &Settings, environment: &Environment) -> Result<bool> {
    let release = environment.text("DIB_RELEASE")?.unwrap_or_default();
    let distribution = environment.text("DISTRO_NAME")?.unwrap_or_default();
    // `7.9.2009`, `6-stream`.
    let major = release
        .split(['.', '-'])
        .next()
        .unwrap_or_default()
        .parse::<u32>();
    let named = |name: &str| name == distribution || settings.elements.iter().any(|element| element == name);
    let numbered = OLD_DISTRIBUTIONS.iter().any(|(name, last)| {
        named(name) && last.is_none_or(|last| major.as_ref().is_ok_and(|major| *major <= last))
    });
    Ok(OLD_RELEASES.contains(&release) || numbered)
}

fn label(text: &str) -> Result<[u8; 16]> {
    let mut label = [0; 16];
    let Some(room) = label.get_mut(..text.len()) else {
        return Err(Error::usage(format!(
            "--root-label: '{text}' is longer than the 16 bytes that ext4 has for it"
        )));
    };
    room.copy_from_slice(text.as_bytes());
    Ok(label)
}

fn size(rule: SizeRule) -> Size {
    match rule {
        SizeRule::Kib(kib) => Size::Fixed(kib.next_multiple_of(GRAIN_KIB).saturating_mul(1024)),
        SizeRule::Extra(mib) => {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole KiB, rounded down; the settings allow numbers between 0 and 10^9"
            )]
            let kib = (mib * 1024.0) as u64;
            Size::Extra(kib.saturating_mul(1024))
        }
        SizeRule::Headroom => Size::Headroom,
        SizeRule::Minimal => Size::Minimal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::settings::Flags;
    use image_core::tree::Time;

    fn made(change: impl FnOnce(&mut Flags), fs_type: &str) -> Result<Options> {
        made_for(change, &[("FS_TYPE", fs_type)])
    }

    fn made_for(change: impl FnOnce(&mut Flags), variables: &[(&str, &str)]) -> Result<Options> {
        let mut flags = Flags::default();
        change(&mut flags);
        let mut environment = Environment::default();
        for (name, value) in variables {
            environment.set(*name, *value);
        }
        let settings = Settings::new(flags, &environment)?;
        options(
            &settings,
            &environment,
            Identity::new(b"", Time::default(), false),
        )
    }

    #[test]
    fn sizes_follow_the_rule() {
        let sized = |size: &str| {
            made(|flags| flags.image_size = Some(size.into()), "ext4")
                .unwrap()
                .size
        };
        assert_eq!(sized("0.1"), Size::Fixed(104_896 * 1024));
        assert_eq!(sized("1"), Size::Fixed(1 << 30));
        let extra = made(|flags| flags.image_extra_size = Some("10".into()), "ext4").unwrap();
        assert_eq!(extra.size, Size::Extra(10 << 20));
        let journal = made(|flags| flags.journal_size = Some("4".into()), "ext4").unwrap();
        assert_eq!(journal.journal, Journal::Fixed(4 << 20));
        let grows = made(|flags| flags.max_online_resize = Some("1000".into()), "ext4").unwrap();
        assert_eq!(grows.max_size, Some(4_096_000));
    }

    #[test]
    fn features_follow_the_targets_age() {
        let features = |variables: &[(&str, &str)], options: &str| {
            let change = |flags: &mut Flags| flags.mkfs_options = Some(options.into());
            made_for(change, variables).unwrap().features
        };
        let (default, legacy) = (Profile::Default.features(), Profile::Legacy.features());
        for (variables, expected) in [
            (&[][..], default),
            (&[("DIB_RELEASE", "trixie")][..], default),
            (&[("DIB_RELEASE", "7")], default),
            (&[("DIB_RELEASE", "7"), ("DISTRO_NAME", "fedora")], default),
            (&[("DIB_RELEASE", "9-stream"), ("DISTRO_NAME", "centos")], default),
            (&[("DISTRO_NAME", "centos")], default),
            (&[("DIB_RELEASE", "trusty")], legacy),
            (&[("DIB_RELEASE", "xenial"), ("DISTRO_NAME", "ubuntu")], legacy),
            (&[("DIB_RELEASE", "7.9.2009"), ("DISTRO_NAME", "centos")], legacy),
            (&[("DIB_RELEASE", "6"), ("DISTRO_NAME", "rhel")], legacy),
            (&[("DISTRO_NAME", "centos7")], legacy),
            (
                &[("DIB_RELEASE", "trusty"), ("FS_TYPE", "ext3")],
                Profile::Ext3.features(),
            ),
        ] {
            assert_eq!(features(variables, ""), expected, "{variables:?}");
        }
        let by_element = made(|flags| flags.elements = vec!["vm".into(), "rhel7".into()], "ext4").unwrap();
        assert_eq!(by_element.features, legacy);
        // Words win over what the age says.
        let trusty = [("DIB_RELEASE", "trusty")];
        assert!(features(&trusty, "-O metadata_csum").metadata_csum());
        assert_eq!(features(&trusty, "-t ext4"), legacy);
        assert_eq!(features(&trusty, "-T modern"), Profile::Modern.features());
        assert_eq!(features(&[], "-T legacy"), legacy);
    }

    #[test]
    fn what_cannot_be_is_said_before_the_build() {
        let long = made(
            |flags| flags.root_label = Some("a-label-of-17-byt".into()),
            "ext4",
        );
        assert!(long.unwrap_err().to_string().contains("16 bytes"));
        assert!(
            made(|_| {}, "btrfs")
                .unwrap_err()
                .to_string()
                .contains("no writer of btrfs")
        );
        let unknown = made(|flags| flags.mkfs_options = Some("-Y".into()), "ext4");
        assert!(unknown.unwrap_err().to_string().contains("-Y"));
        let labelled = made(
            |flags| flags.mkfs_options = Some("-L other -i 16384".into()),
            "ext2",
        )
        .unwrap();
        assert!(labelled.label.starts_with(b"other\0"));
    }
}

//! The root file system's options: what was asked for, in the words of the planner.

use ext4_rs_writer::{Journal, Options, Profile, Size, mke2fs};
use image_core::Identity;

use crate::error::{Error, Result};
use crate::settings::{Settings, SizeRule};

/// Sizes of images are multiples of so many KiB: the largest cluster that old programs expect.
const GRAIN_KIB: u64 = 64;

/// The options of the root file system.
pub fn options(settings: &Settings, identity: Identity) -> Result<Options> {
    let profile = match settings.fs_type.as_str() {
        "ext4" => Profile::Default,
        "ext3" => Profile::Ext3,
        "ext2" => Profile::Ext2,
        other => {
            return Err(Error::usage(format!("FS_TYPE: there is no writer of {other}"))
                .hint("the types are ext4, ext3 and ext2"));
        }
    };
    let mut options = Options::new(profile, identity);
    options.label = label(&settings.root_label)?;
    options.size = size(settings.size);
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

/// The label that the options give, as fstab names it.
pub fn label_of(options: &Options) -> String {
    let end = options
        .label
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(options.label.len());
    String::from_utf8_lossy(&options.label[..end]).into_owned()
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
        let mut flags = Flags::default();
        change(&mut flags);
        let mut environment = Environment::default();
        environment.set("FS_TYPE", fs_type);
        let settings = Settings::new(flags, &environment)?;
        options(&settings, Identity::new(b"", Time::default(), false))
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
        assert_eq!(label_of(&labelled), "other");
    }
}

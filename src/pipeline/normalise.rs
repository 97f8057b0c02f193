//! What builds that shall repeat must not keep: files that packages write with the time, random bytes or the order of
//! a directory in them. One table, applied when `SOURCE_DATE_EPOCH` is set.
//!
//! What else differs from run to run is dealt with elsewhere, for every build: files below `var/log` are emptied and
//! `/tmp` too (`finalise`), times of files are clamped by whoever scans the tree, and an initramfs is the business of who
//! makes it: initramfs-tools and dracut take `SOURCE_DATE_EPOCH`, which every hook sees, for the times in theirs.

use std::io::{self, Read, Seek, Write};

use rustix::fs::FileType;

use crate::sandbox::rooted::Rooted;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// It goes: who needs it makes it anew.
    Remove,
    /// It stays, without an identity: as the element `sysprep` leaves it if it did, else empty.
    NoIdentity,
    /// Of passwords changed after the epoch, the third field says the epoch's day.
    Days,
}

/// Directory, name, act, and why. A name `*suffix` is every file that ends so.
const TABLE: &[(&str, &str, Act, &str)] = &[
    (
        "etc",
        "machine-id",
        Act::NoIdentity,
        "random; systemd makes one at the first boot",
    ),
    ("var/lib/dbus", "machine-id", Act::Remove, "a copy of it"),
    ("var/lib/systemd", "random-seed", Act::Remove, "random"),
    ("var/lib/systemd", "credential.secret", Act::Remove, "random"),
    ("var/lib/urandom", "random-seed", Act::Remove, "random"),
    (
        "var/cache/ldconfig",
        "aux-cache",
        Act::Remove,
        "inode numbers and times of libraries",
    ),
    (
        "var/cache/apt",
        "*.bin",
        Act::Remove,
        "a map of memory; apt makes it anew",
    ),
    (
        "var/cache/debconf",
        "*-old",
        Act::Remove,
        "backups, as old as the last change",
    ),
    (
        "var/lib/dpkg",
        "*-old",
        Act::Remove,
        "backups, as old as the last change",
    ),
    (
        "var/cache/man",
        "index.db",
        Act::Remove,
        "times of pages; mandb makes it anew",
    ),
    (
        "var/cache/fontconfig",
        "*.cache-9",
        Act::Remove,
        "times of directories",
    ),
    (
        "var/cache/fontconfig",
        "*.cache-8",
        Act::Remove,
        "times of directories",
    ),
    (
        "var/lib/apt/lists",
        "lock",
        Act::Remove,
        "left by whoever looked last",
    ),
    ("etc", "shadow", Act::Days, "the day of the build"),
    ("etc", "shadow-", Act::Days, "the day of the build"),
    (
        "etc",
        "passwd-",
        Act::Remove,
        "a backup, as old as the last change",
    ),
    (
        "etc",
        "group-",
        Act::Remove,
        "a backup, as old as the last change",
    ),
    (
        "etc",
        "gshadow-",
        Act::Remove,
        "a backup, as old as the last change",
    ),
    (
        "etc",
        "subuid-",
        Act::Remove,
        "a backup, as old as the last change",
    ),
    (
        "etc",
        "subgid-",
        Act::Remove,
        "a backup, as old as the last change",
    ),
];

/// Applies the table to a tree.
pub(super) fn normalise(tree: &Rooted, epoch: u64) -> io::Result<()> {
    for (dir, name, act, _) in TABLE {
        let Some(dir) = tree.dir(dir)? else {
            continue;
        };
        match name.strip_prefix('*') {
            Some(suffix) => dir.each_file(&mut |dir, name| {
                if name.ends_with(suffix.as_bytes()) {
                    apply(dir, name, *act, epoch)
                } else {
                    Ok(())
                }
            })?,
            None if dir.kind(*name)? == Some(FileType::RegularFile) => {
                apply(&dir, name.as_bytes(), *act, epoch)?;
            }
            None => {}
        }
    }
    Ok(())
}

fn apply(dir: &Rooted, name: &[u8], act: Act, epoch: u64) -> io::Result<()> {
    match act {
        Act::Remove => dir.remove(name).map(drop),
        Act::NoIdentity => {
            let mut file = dir.file(name, true)?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            // systemd tells an image that never ran by this word, and runs what waits for the first boot.
            if text == b"uninitialized\n" {
                Ok(())
            } else {
                file.set_len(0)
            }
        }
        Act::Days => {
            let mut file = dir.file(name, true)?;
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            let changed = clamp_days(&text, epoch / (24 * 60 * 60));
            if changed != text {
                file.rewind()?;
                file.set_len(0)?;
                file.write_all(&changed)?;
            }
            Ok(())
        }
    }
}

/// Clamps the third field of every line of a shadow file.
pub(crate) fn clamp_days(text: &[u8], day: u64) -> Vec<u8> {
    let line = |line: &[u8]| {
        let mut fields: Vec<Vec<u8>> = line.split(|byte| *byte == b':').map(<[u8]>::to_vec).collect();
        let later = |field: &Vec<u8>| {
            let number = std::str::from_utf8(field)
                .ok()
                .and_then(|text| text.parse::<u64>().ok());
            number.is_some_and(|number| number > day)
        };
        if let Some(field) = fields.get_mut(2).filter(|field| later(field)) {
            *field = day.to_string().into_bytes();
        }
        fields.join(&b':')
    };
    let lines: Vec<Vec<u8>> = text.split(|byte| *byte == b'\n').map(line).collect();
    lines.join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_later_days_are_clamped() {
        let text = b"root:*:20000:0:99999:7:::\nold:!:10:0::::\nodd\nnever:!::0\n";
        let clamped = clamp_days(text, 19_000);
        assert_eq!(
            clamped,
            b"root:*:19000:0:99999:7:::\nold:!:10:0::::\nodd\nnever:!::0\n"
        );
    }

    #[test]
    fn the_table_is_applied_to_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        for dir in ["etc", "var/cache/apt", "var/lib/dbus"] {
            fs::create_dir_all(root.path().join(dir)).unwrap();
        }
        let path = |name: &str| root.path().join(name);
        for name in [
            "etc/machine-id",
            "etc/passwd-",
            "etc/passwd",
            "var/cache/apt/pkgcache.bin",
        ] {
            fs::write(path(name), "text").unwrap();
        }
        std::os::unix::fs::symlink("/etc/machine-id", path("var/lib/dbus/machine-id")).unwrap();
        normalise(&Rooted::open(root.path()).unwrap(), 0).unwrap();
        assert_eq!(fs::read(path("etc/machine-id")).unwrap(), b"");
        fs::write(path("etc/machine-id"), "uninitialized\n").unwrap();
        normalise(&Rooted::open(root.path()).unwrap(), 0).unwrap();
        assert_eq!(fs::read(path("etc/machine-id")).unwrap(), b"uninitialized\n");
        assert!(path("etc/passwd").exists() && !path("etc/passwd-").exists());
        assert!(!path("var/cache/apt/pkgcache.bin").exists());
        assert!(fs::symlink_metadata(path("var/lib/dbus/machine-id")).is_ok());
    }
}

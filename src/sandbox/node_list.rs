//! The list of the files that stand for devices, for a program in the chroot that reads what hooks made there.
//!
//! What hooks make in place of nodes in a user namespace only the [`witness`](super::witness) knows, which is not of the
//! chroot. It adds a line for each before the hook goes on: the kind, the device, and what tells the file from others.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use image_core::scan::{FileKey, StandIn, StandIns};
use image_core::tree::Device;

use crate::given;

/// Its name in the directory of [`ramdisk::RECORDS`](crate::ramdisk::RECORDS).
pub const NAME: &str = "device-nodes";

/// Adds a line.
pub(super) fn add(mut list: &File, key: &FileKey, stands_for: &StandIn) -> io::Result<()> {
    let (kind, device) = match stands_for {
        StandIn::Char(device) => ('c', device),
        StandIn::Block(device) => ('b', device),
    };
    let born = key.born.map(|(secs, nanos)| format!(" {secs} {nanos}"));
    let line = format!(
        "{kind} {} {} {} {} {}{}\n",
        device.major,
        device.minor,
        key.device.0,
        key.device.1,
        key.inode,
        born.unwrap_or_default()
    );
    list.write_all(line.as_bytes())
}

/// Reads a list; where there is none, no file stands for a device.
pub fn read(path: &Path) -> io::Result<StandIns> {
    let text = match given::read_text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(StandIns::default()),
        text => text?,
    };
    let mut found = StandIns::default();
    for line in text.lines() {
        let (key, stands_for) = parsed(line).ok_or_else(|| {
            let message = format!("{}: '{line}' is no line of this list", path.display());
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        found.insert(key, stands_for);
    }
    Ok(found)
}

fn parsed(line: &str) -> Option<(FileKey, StandIn)> {
    let mut words = line.split(' ');
    let kind = match words.next()? {
        "c" => StandIn::Char,
        "b" => StandIn::Block,
        _ => return None,
    };
    let mut number = || words.next()?.parse::<u32>().ok();
    let device = Device {
        major: number()?,
        minor: number()?,
    };
    let on = (number()?, number()?);
    let inode = words.next()?.parse().ok()?;
    let born = match words.next() {
        Some(secs) => Some((secs.parse().ok()?, words.next()?.parse().ok()?)),
        None => None,
    };
    let key = FileKey {
        device: on,
        inode,
        born,
    };
    words.next().is_none().then(|| (key, kind(device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        assert_eq!(read(&path).unwrap(), StandIns::default());
        let list = File::create(&path).unwrap();
        let mut wanted = StandIns::default();
        for (inode, born, stands_for) in [
            (
                7,
                None,
                StandIn::Char(Device {
                    major: 10,
                    minor: 200,
                }),
            ),
            (
                u64::MAX,
                Some((-1, 999_999_999)),
                StandIn::Block(Device {
                    major: 8,
                    minor: 1 << 19,
                }),
            ),
        ] {
            let key = FileKey {
                device: (259, 3),
                inode,
                born,
            };
            add(&list, &key, &stands_for).unwrap();
            wanted.insert(key, stands_for);
        }
        assert_eq!(read(&path).unwrap(), wanted);
        for line in [
            "c 1 2 3 4",
            "d 1 2 3 4 5",
            "c 1 2 3 4 5 6",
            "c 1 2 3 4 5 6 7 8",
            "",
        ] {
            std::fs::write(&path, format!("{line}\n")).unwrap();
            assert!(read(&path).is_err(), "{line}");
        }
    }
}

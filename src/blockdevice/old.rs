//! `block-device.d` of old: hooks divide the disk themselves, with their own tools on a file, and name the partition for the root
//! file system. What they wrote is kept byte for byte; their partition is filled.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use image_core::ReadAt as _;
use image_core::map::Builder;
use image_core::read_at::ImageFile;
use rustix::fs::{SeekFrom, seek};
use uuid::Uuid;

use super::layout::{Disk, Layout, Partition, Place, Table, TableKind};
use super::placing::{Placed, PlacedDisk};
use super::sizes::Amount;
use crate::error::{Context, Error, Kind, Result};
use crate::given;
use crate::inspect::container::Bytes;
use crate::inspect::table::{self, Purpose};

/// What hooks may write outside the partition of the root: tables and boot loaders.
const KEPT_MAX: u64 = 64 << 20;

/// What hooks print before the name of the partition.
const LINE: &str = "IMAGE_BLOCK_DEVICE=";

/// A disk that hooks divided.
#[derive(Clone, Debug)]
pub struct Divided {
    /// What they made of the layout.
    pub layout: Layout,
    /// Where it lies.
    pub placed: Placed,
    /// What they wrote, outside the partition of the root.
    pub kept: Kept,
}

/// Runs of bytes of a disk, in order, with where they begin.
#[derive(Clone, Debug, Default)]
pub struct Kept(Vec<(u64, Vec<u8>)>);

impl Kept {
    /// Lays them into a disk, without what lies in `others`: boot code takes their place.
    pub(super) fn lay(&self, builder: &mut Builder, others: &[Range<u64>]) {
        for (start, bytes) in &self.0 {
            let end = start + bytes.len() as u64;
            let mut at = *start;
            let mut cuts: Vec<&Range<u64>> = others
                .iter()
                .filter(|cut| cut.start < end && cut.end > *start)
                .collect();
            cuts.sort_by_key(|cut| cut.start);
            let tail = end..end;
            for cut in cuts.into_iter().chain([&tail]) {
                let until = cut.start.max(at);
                if until > at {
                    let part = index(at - start)..index(until - start);
                    builder.bytes(at, bytes[part].to_vec(), "what block-device.d wrote");
                }
                at = at.max(cut.end);
            }
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("what lies in memory has such an index")
}

/// The name in the last line of what hooks printed that is about it. Quotes around it go; nothing is evaluated.
pub fn told(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let mut named = text.lines().filter_map(|line| {
        let line = line.trim();
        line.strip_prefix("export ").unwrap_or(line).strip_prefix(LINE)
    });
    let name = named.next_back()?.trim_matches(['\'', '"']).to_owned();
    (!name.is_empty()).then_some(name)
}

/// The number of the partition that a name means: `/dev/loop0p1`, `/dev/mapper/loop0p1`, `FILEp1`; `None`: the whole disk.
fn number(name: &str, file: &Path) -> Result<Option<u32>> {
    let whole = file.display().to_string();
    let rest = name.strip_prefix(&whole);
    let base = name.rsplit('/').next().unwrap_or_default();
    let digits = match rest {
        Some("") => return Ok(None),
        Some(rest) => rest.strip_prefix('p'),
        None => base.rsplit_once('p').and_then(|(disk, digits)| {
            let is_disk = disk.ends_with(|c: char| c.is_ascii_digit()) && !disk.ends_with("loo");
            is_disk.then_some(digits)
        }),
    };
    if let Some(Ok(number)) = digits.map(str::parse) {
        return Ok(Some(number));
    }
    let message = format!("block-device.d: '{name}' is no name of a partition of {whole}");
    Err(Error::new(Kind::Elements, message)
        .hint(format!("print {LINE}{whole}p1, say, for the first partition")))
}

/// Reads what hooks made of the file that stands for the first disk.
pub fn read(layout: &Layout, file: &Path, name: &str) -> Result<Divided> {
    if !layout.is_bare() {
        let message = format!(
            "block-device.d names {name} for the root file system, and {} describes disks with partitions",
            layout.origin
        );
        return Err(Error::new(Kind::Elements, message).hint("leave one of them out"));
    }
    let number = number(name, file)?;
    let tried = || format!("cannot read what block-device.d made of {}", file.display());
    let opened = given::open_itself(file).host(tried)?;
    let len = opened.metadata().host(tried)?.len();
    let image: Bytes = Arc::new(ImageFile::new(opened.try_clone().host(tried)?, file).host(tried)?);
    let table = table::of(&image).host(tried)?;
    let found = table.as_ref().map_or(&[][..], |table| &table.partitions);
    let index = match number {
        None => None,
        Some(number) => {
            let index = found.iter().position(|partition| partition.number == number);
            Some(index.ok_or_else(|| {
                let numbers: Vec<String> = found
                    .iter()
                    .map(|partition| partition.number.to_string())
                    .collect();
                let message = format!(
                    "block-device.d names {name}, and the partitions of {} are: {}",
                    file.display(),
                    if numbers.is_empty() {
                        "none".into()
                    } else {
                        numbers.join(", ")
                    }
                );
                Error::new(Kind::Elements, message)
            })?)
        }
    };
    let root = match index {
        Some(index) => found[index].range.clone(),
        None => 0..len,
    };
    let kept = kept(&opened, len, &root).host(tried)?;
    let ranges = found.iter().map(|partition| partition.range.clone()).collect();
    let table = table.as_ref().filter(|table| !table.partitions.is_empty());
    let table = table.map(|table| of_old(&image, table));
    let mut divided = layout.clone();
    divided.disks[0] = Disk {
        size: Some(len),
        table,
        ..divided.disks[0].clone()
    };
    divided.filesystems[0].place = index.map_or(Place::Disk(0), |index| Place::Partition(0, index));
    Ok(Divided {
        layout: divided,
        placed: Placed {
            disks: vec![PlacedDisk {
                len,
                partitions: ranges,
            }],
            volumes: Vec::new(),
        },
        kept: Kept(kept),
    })
}

/// The table as a layout has it: for who asks what there is. It is not written anew.
fn of_old(image: &Bytes, found: &table::Table) -> Table {
    let guid = found.label == "gpt";
    // An MBR's partitions have no UUIDs of their own.
    let uuid = |text: &str| Uuid::parse_str(text).unwrap_or_default();
    let mut id = [0; 4];
    // A disk that has partitions has this sector.
    let _ = image.read_exact_at(&mut id, 440);
    let partitions = found.partitions.iter().map(|partition| Partition {
        name: match partition.name.as_str() {
            "" => format!("p{}", partition.number),
            name => name.to_owned(),
        },
        number: partition.number,
        size: Amount::Bytes(partition.range.end - partition.range.start),
        code: match partition.purpose {
            Purpose::Type(kind) => format!("{kind:02x}"),
            Purpose::Guid(bytes) => Uuid::from_bytes_le(bytes).to_string(),
        },
        boot: false,
        logical: !guid && partition.number > 4,
        uuid: uuid(&partition.uuid),
    });
    Table {
        kind: if guid {
            TableKind::Gpt {
                uuid: uuid(&found.id),
            }
        } else {
            TableKind::Mbr {
                id: u32::from_le_bytes(id),
            }
        },
        align: 1 << 20,
        partitions: partitions.collect(),
    }
}

/// The data of a file outside a range.
fn kept(file: &File, len: u64, without: &Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
    let mut found = Vec::new();
    let (mut at, mut sum) = (0, 0);
    while at < len {
        if at >= without.start && at < without.end {
            at = without.end;
            continue;
        }
        // Beyond the last data there is none.
        let Ok(start) = seek(file, SeekFrom::Data(at)) else {
            break;
        };
        let mut end = seek(file, SeekFrom::Hole(start))?.min(len);
        if start >= without.start && start < without.end {
            at = without.end;
            continue;
        }
        if start < without.start {
            end = end.min(without.start);
        }
        sum += end - start;
        if sum > KEPT_MAX {
            let message = format!("more than {KEPT_MAX} bytes are written outside the partition of the root");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let mut bytes = vec![0; index(end - start)];
        file.read_exact_at(&mut bytes, start)?;
        found.push((start, bytes));
        at = end;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_names_the_partition_and_nothing_is_evaluated() {
        let named = |text: &str| told(text.as_bytes());
        assert_eq!(
            named("x\nIMAGE_BLOCK_DEVICE=/dev/loop0p1\n"),
            Some("/dev/loop0p1".into())
        );
        assert_eq!(
            named("IMAGE_BLOCK_DEVICE=a\nexport IMAGE_BLOCK_DEVICE=\"b\"\n"),
            Some("b".into())
        );
        assert_eq!(
            named("IMAGE_BLOCK_DEVICE=$(rm -rf /)"),
            Some("$(rm -rf /)".into())
        );
        assert_eq!(named("IMAGE_BLOCK_DEVICE=\n"), None);
        assert_eq!(named("MY_IMAGE_BLOCK_DEVICE=x"), None);
    }

    #[test]
    fn names_of_devices_mean_partitions() {
        let file = Path::new("/b/image0.raw");
        for (name, expected) in [
            ("/dev/loop0p1", Some(1)),
            ("/dev/loop17p2", Some(2)),
            ("/dev/mapper/loop3p5", Some(5)),
            ("/b/image0.rawp1", Some(1)),
            ("/b/image0.raw", None),
            ("/dev/dib/image0p3", Some(3)),
        ] {
            assert_eq!(number(name, file).unwrap(), expected, "{name}");
        }
        for name in [
            "/dev/loop0",
            "/dev/sda",
            "p1",
            "/b/image0.rawx1",
            "$(x)p1",
            "/dev/loop0p",
        ] {
            assert!(number(name, file).is_err(), "{name}");
        }
    }

    #[test]
    fn what_lies_outside_the_root_is_kept_but_for_boot_code() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        file.write_all_at(&[1; 8192], 0).unwrap();
        file.write_all_at(&[2; 4096], 2 << 20).unwrap();
        file.write_all_at(&[3; 4096], (8 << 20) - 4096).unwrap();
        let kept = Kept(kept(&file, 8 << 20, &((1 << 20)..(4 << 20))).unwrap());
        let starts: Vec<(u64, usize)> = kept
            .0
            .iter()
            .map(|(start, bytes)| (*start, bytes.len()))
            .collect();
        assert_eq!(starts, [(0, 8192), ((8 << 20) - 4096, 4096)]);
        let mut builder = image_core::Map::builder(8 << 20);
        kept.lay(&mut builder, &[0..440, 512..1024]);
        let map = builder.build().unwrap();
        let ranges: Vec<_> = map.extents().iter().map(image_core::Extent::range).collect();
        assert_eq!(ranges, [440..512, 1024..8192, (8 << 20) - 4096..8 << 20]);
    }
}

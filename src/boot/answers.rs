//! What `grub-probe` and `grub-mkrelpath` say of a planned disk: from the plan alone.
//!
//! Where the real tool would tell how today's firmware numbers the disks, nothing is said: a search by UUID finds the
//! file system whatever the disk will be called.

use std::path::{Component, Path, PathBuf};

use crate::blockdevice::facts::{DiskFacts, Facts, FileSystemFacts, PartitionFacts};

/// GUIDs and codes of a BIOS boot partition.
const BIOS_BOOT: [&str; 2] = ["ef02", "21686148-6449-6e6f-744e-656564454649"];

/// Hints of where firmware of some kind sees a file system.
const HINTS: [&str; 8] = [
    "hints_string",
    "bios_hints",
    "ieee1275_hints",
    "baremetal_hints",
    "efi_hints",
    "arc_hints",
    "zero_check",
    "cryptodisk_uuid",
];

impl Facts {
    /// The file system that holds a path, and the path in it.
    pub fn holding(&self, path: &Path) -> Option<(&FileSystemFacts, PathBuf)> {
        let mounted = self.filesystems.iter().filter_map(|filesystem| {
            let point = Path::new(filesystem.mount_point.as_deref()?);
            let inside = path.strip_prefix(point).ok()?;
            Some((
                point.components().count(),
                filesystem,
                Path::new("/").join(inside),
            ))
        });
        let (_, filesystem, inside) = mounted.max_by_key(|(depth, _, _)| *depth)?;
        Some((filesystem, inside))
    }

    /// The disk with a device of this name.
    pub fn disk(&self, device: &str) -> Option<&DiskFacts> {
        self.disks.iter().find(|disk| disk.device == device)
    }

    /// The disk that a file system lies on, and the partition, if it lies in one.
    pub fn place(&self, filesystem: &FileSystemFacts) -> Option<(&DiskFacts, Option<&PartitionFacts>)> {
        let disk = self.disks.iter().find(|disk| disk.name == filesystem.disk)?;
        let number = filesystem.partition;
        let partition = disk
            .partitions
            .iter()
            .find(|partition| Some(partition.number) == number);
        Some((disk, partition))
    }

    /// The file system that a word names, as kernels and GRUB's tools take it.
    fn named(&self, word: &str) -> Option<&FileSystemFacts> {
        let mut all = self.filesystems.iter();
        match word.split_once('=') {
            Some(("LABEL", label)) => all.find(|filesystem| filesystem.label == label),
            Some(("UUID", uuid)) => all.find(|filesystem| filesystem.uuid.eq_ignore_ascii_case(uuid)),
            _ => all.find(|filesystem| filesystem.device == word),
        }
    }
}

/// Whether a partition is where GRUB's core image goes on a disk with a GPT.
pub fn is_bios_boot(partition: &PartitionFacts) -> bool {
    BIOS_BOOT
        .iter()
        .any(|kind| partition.kind.eq_ignore_ascii_case(kind))
}

/// GRUB's module for a type of file systems.
pub fn module(kind: &str) -> &str {
    match kind {
        "ext2" | "ext3" | "ext4" => "ext2",
        "vfat" | "msdos" => "fat",
        other => other,
    }
}

/// GRUB's module for a partition table.
pub fn table_module(disk: &DiskFacts) -> Option<&'static str> {
    match disk.table.as_deref() {
        Some("gpt") => Some("part_gpt"),
        Some(_) => Some("part_msdos"),
        None => None,
    }
}

/// What is asked of a path, or of a device.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// A path of the image.
    Path(&'a Path),
    /// A device.
    Device(&'a str),
}

/// The answer to one question of `grub-probe --target=TARGET`; an error is what the tool says.
pub fn probe(facts: &Facts, target: &str, asked: Asked<'_>) -> Result<String, String> {
    let (filesystem, on_disk) = match asked {
        Asked::Path(path) => {
            let found = facts.holding(path);
            let none = || format!("cannot find a device for {} in the layout", path.display());
            (Some(found.ok_or_else(none)?.0), None)
        }
        Asked::Device(device) => {
            let (filesystem, disk) = (facts.named(device), facts.disk(device));
            let partition = facts.disks.iter().any(|disk| {
                let mut partitions = disk.partitions.iter();
                partitions.any(|partition| partition.device == device)
            });
            if filesystem.is_none() && disk.is_none() && !partition {
                return Err(format!("{device} is no device of the layout"));
            }
            (filesystem, disk)
        }
    };
    let place = filesystem.and_then(|filesystem| facts.place(filesystem));
    let disk = on_disk.or(place.map(|(disk, _)| disk));
    let partition = place.and_then(|(_, partition)| partition);
    let known = |what: Option<String>| what.ok_or_else(|| "unknown filesystem".to_owned());
    let address = || {
        let table = disk.and_then(|disk| disk.table.as_deref());
        match (table, partition) {
            (Some(table), Some(partition)) => format!("hd0,{table}{}", partition.number),
            _ => "hd0".to_owned(),
        }
    };
    match target {
        "device" => known(filesystem.map(|filesystem| filesystem.device.clone())),
        "disk" => known(disk.map(|disk| disk.device.clone())),
        "fs" => known(filesystem.map(|filesystem| module(&filesystem.kind).to_owned())),
        "fs_uuid" => known(filesystem.map(|filesystem| filesystem.uuid.clone())),
        "fs_label" => known(filesystem.map(|filesystem| filesystem.label.clone())),
        "partuuid" => Ok(partition
            .map(|partition| partition.uuid.clone())
            .unwrap_or_default()),
        "partmap" => Ok(disk.and_then(|disk| disk.table.clone()).unwrap_or_default()),
        "abstraction" => Ok(filesystem
            .map(|filesystem| filesystem.abstraction.clone())
            .unwrap_or_default()),
        "drive" => Ok(format!("({})", address())),
        "compatibility_hint" => Ok(address()),
        "msdos_parttype" | "gpt_parttype" => Ok(partition
            .map(|partition| partition.kind.clone())
            .unwrap_or_default()),
        hint if HINTS.contains(&hint) => Ok(String::new()),
        other => Err(format!("target '{other}' is not supported here")),
    }
}

/// A path without `.`, `..` and doubled slashes, and absolute: as it is where no name of it is a link.
pub fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => {
                plain.pop();
            }
            _ => {}
        }
    }
    plain
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::boot) fn facts() -> Facts {
        serde_json::from_str(include_str!("facts.json")).unwrap()
    }

    #[test]
    fn a_disk_that_is_only_planned_is_described() {
        let facts = facts();
        let root = Asked::Path(Path::new("/usr/share"));
        for (target, asked, answer) in [
            ("device", root, "/dev/dib/image0p3"),
            (
                "device",
                Asked::Path(Path::new("/boot/grub")),
                "/dev/dib/image0p4",
            ),
            ("device", Asked::Path(Path::new("/bootless")), "/dev/dib/image0p3"),
            ("disk", root, "/dev/dib/image0"),
            ("fs", root, "ext2"),
            ("fs", Asked::Path(Path::new("/boot/efi/EFI")), "fat"),
            (
                "fs_uuid",
                Asked::Device("/dev/dib/image0p3"),
                "a1b2c3d4-0000-4000-8000-000000000001",
            ),
            (
                "fs_uuid",
                Asked::Device("LABEL=cloudimg-rootfs"),
                "a1b2c3d4-0000-4000-8000-000000000001",
            ),
            (
                "fs_label",
                Asked::Device("UUID=A1B2C3D4-0000-4000-8000-000000000001"),
                "cloudimg-rootfs",
            ),
            ("partmap", Asked::Device("/dev/dib/image0"), "gpt"),
            ("partuuid", root, "33333333-0000-4000-8000-000000000003"),
            ("abstraction", root, ""),
            ("drive", root, "(hd0,gpt3)"),
            ("compatibility_hint", root, "hd0,gpt3"),
            ("hints_string", root, ""),
        ] {
            assert_eq!(
                probe(&facts, target, asked).as_deref(),
                Ok(answer),
                "{target} {asked:?}"
            );
        }
        let refused = probe(&facts, "device", Asked::Device("/dev/sda1")).unwrap_err();
        assert_eq!(refused, "/dev/sda1 is no device of the layout");
        assert_eq!(
            probe(&facts, "fs", Asked::Device("/dev/dib/image0")),
            Err("unknown filesystem".to_owned())
        );
        assert!(probe(&facts, "colour", root).is_err());
        let mut nothing = facts.clone();
        nothing.filesystems.clear();
        let none = probe(&nothing, "device", root).unwrap_err();
        assert_eq!(none, "cannot find a device for /usr/share in the layout");
    }

    #[test]
    fn paths_are_told_within_their_file_system() {
        let facts = facts();
        let inside = |path: &str| facts.holding(Path::new(path)).unwrap().1;
        assert_eq!(inside("/boot/vmlinuz"), Path::new("/vmlinuz"));
        assert_eq!(inside("/boot"), Path::new("/"));
        assert_eq!(inside("/usr/share/grub"), Path::new("/usr/share/grub"));
        assert_eq!(plain(Path::new("boot/./x/../grub//")), Path::new("/boot/grub"));
        assert_eq!(plain(Path::new("/../..")), Path::new("/"));
    }
}

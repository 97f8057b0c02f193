//! What the ids of partition tables are called: GUIDs as text, and the names of the types that images have.
//!
//! Spec: UEFI 2.10, appendix A; <https://uapi-group.org/specifications/specs/discoverable_partitions_specification/>

use std::fmt::Write as _;

use super::table::Purpose;

/// A GUID as text, in lower case: its first three parts stand with their last byte first.
pub fn guid_text(guid: &[u8; 16]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::new();
    for (place, from) in order.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{:02x}", guid[from]);
    }
    text
}

/// An UUID of a file system as text.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::new();
    for (place, byte) in uuid.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The type of a partition, as tables have it.
pub fn type_text(purpose: Purpose) -> String {
    match purpose {
        Purpose::Guid(guid) => guid_text(&guid),
        Purpose::Type(kind) => format!("{kind:#04x}"),
    }
}

const TYPES: [(&str, &str); 26] = [
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system"),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", "extended boot loader"),
    ("21686148-6449-6e6f-744e-656564454649", "BIOS boot"),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux"),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", "Linux swap"),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", "Linux LVM"),
    ("a19d880f-05fc-4d3b-a006-743f0f84911e", "Linux RAID"),
    ("933ac7e1-2eb4-4f13-b844-0e14e2aef915", "Linux home"),
    ("4d21b016-b534-45c2-a9fb-5c16e091fd2d", "Linux var"),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "Linux root (x86-64)"),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", "Linux root (ARM64)"),
    ("44479540-f297-41b2-9af7-d131d5f0458a", "Linux root (x86)"),
    ("69dad710-2ce4-4e3c-b16c-21a1d49abed3", "Linux root (ARM)"),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "Microsoft basic data"),
    ("9e1a2d38-c612-4316-aa26-8b49521e5a8b", "PReP boot"),
    ("0x06", "FAT16"),
    ("0x0b", "FAT32"),
    ("0x0c", "FAT32 (LBA)"),
    ("0x0e", "FAT16 (LBA)"),
    ("0x07", "NTFS or exFAT"),
    ("0x41", "PReP boot"),
    ("0x82", "Linux swap"),
    ("0x83", "Linux"),
    ("0x8e", "Linux LVM"),
    ("0xef", "EFI system"),
    ("0xee", "GPT"),
];

/// What a type is called, if it has a name here.
pub fn type_name(purpose: Purpose) -> Option<&'static str> {
    let text = type_text(purpose);
    TYPES.iter().find(|(id, _)| *id == text).map(|(_, name)| *name)
}

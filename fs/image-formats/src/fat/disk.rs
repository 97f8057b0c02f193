//! Structures as they stand on disk, read and written.
//!
//! Spec: Microsoft FAT Specification, sections 3.1 to 3.3, 5 and 6.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The attribute of the entry that holds the label.
pub(super) const VOLUME_ID: u8 = 0x08;
/// The attribute of a directory.
pub(super) const DIRECTORY: u8 = 0x10;
/// The attribute of a file that no backup has seen yet.
pub(super) const ARCHIVE: u8 = 0x20;
/// The attributes of an entry that holds a part of a long name.
pub(super) const LONG_NAME: u8 = 0x0f;
/// Marks the last part of a long name, which stands first.
pub(super) const LAST_LONG: u8 = 0x40;
/// The name is shown in small letters.
pub(super) const SMALL_NAME: u8 = 0x08;
/// The extension is shown in small letters.
pub(super) const SMALL_EXTENSION: u8 = 0x10;
/// Where the units of a part of a long name stand.
pub(super) const LONG_UNITS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// The last two bytes of a boot sector's first 512.
pub(super) const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// The start of the boot sector, which all widths share.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C, packed)]
pub(super) struct Bpb {
    pub(super) jmp_boot: [u8; 3],
    pub(super) oem_name: [u8; 8],
    pub(super) bytes_per_sec: U16,
    pub(super) sec_per_clus: u8,
    pub(super) rsvd_sec_cnt: U16,
    pub(super) num_fats: u8,
    /// 0 in FAT32, whose root directory is a chain.
    pub(super) root_ent_cnt: U16,
    pub(super) tot_sec16: U16,
    pub(super) media: u8,
    /// 0 in FAT32: this is how readers tell it.
    pub(super) fat_sz16: U16,
    pub(super) sec_per_trk: U16,
    pub(super) num_heads: U16,
    pub(super) hidd_sec: U32,
    pub(super) tot_sec32: U32,
}
const _: () = assert!(size_of::<Bpb>() == 36);

/// What FAT32 has behind the [`Bpb`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C, packed)]
pub(super) struct Bpb32 {
    pub(super) fat_sz32: U32,
    /// 0: the tables are copies of each other.
    pub(super) ext_flags: U16,
    pub(super) fs_ver: U16,
    pub(super) root_clus: U32,
    pub(super) fs_info: U16,
    pub(super) bk_boot_sec: U16,
    pub(super) reserved: [u8; 12],
}
const _: () = assert!(size_of::<Bpb32>() == 28);

/// What ends the fields of the boot sector.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C, packed)]
pub(super) struct Tail {
    pub(super) drv_num: u8,
    pub(super) reserved1: u8,
    /// 0x29: the fields below are there.
    pub(super) boot_sig: u8,
    pub(super) vol_id: U32,
    pub(super) vol_lab: [u8; 11],
    /// For people: no reader may believe it.
    pub(super) fil_sys_type: [u8; 8],
}
const _: () = assert!(size_of::<Tail>() == 26);

/// Sector 1 of FAT32: hints for who writes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C, packed)]
pub(super) struct FsInfo {
    pub(super) lead_sig: [u8; 4],
    pub(super) reserved1: [u8; 480],
    pub(super) struct_sig: [u8; 4],
    pub(super) free_count: U32,
    /// The cluster that was given out last.
    pub(super) nxt_free: U32,
    pub(super) reserved2: [u8; 12],
    pub(super) trail_sig: [u8; 4],
}
const _: () = assert!(size_of::<FsInfo>() == 512);

/// An entry of a directory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Short {
    pub(super) name: [u8; 11],
    pub(super) attr: u8,
    pub(super) nt_res: u8,
    pub(super) crt_time_tenth: u8,
    pub(super) crt_time: U16,
    pub(super) crt_date: U16,
    pub(super) lst_acc_date: U16,
    pub(super) fst_clus_hi: U16,
    pub(super) wrt_time: U16,
    pub(super) wrt_date: U16,
    pub(super) fst_clus_lo: U16,
    pub(super) file_size: U32,
}
const _: () = assert!(size_of::<Short>() == 32);

/// What every part of a long name says of the short name that it belongs to.
pub(super) fn checksum(short: &[u8; 11]) -> u8 {
    short
        .iter()
        .fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// What a field of four bytes holds: a number of sectors or clusters, or the length of a file.
pub(super) fn long(number: u64) -> u32 {
    u32::try_from(number).expect("what FAT counts was checked to fit its fields")
}

/// What a field of two bytes holds.
pub(super) fn short(number: u64) -> u16 {
    u16::try_from(number).expect("what FAT counts was checked to fit its fields")
}

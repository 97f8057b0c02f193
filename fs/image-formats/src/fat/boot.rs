//! The boot sector, and the hints and copies that FAT32 keeps near it.
//!
//! Spec: Microsoft FAT Specification, sections 3.1 to 3.3 and 5.

use std::sync::Arc;

use image_core::map::Builder;
use zerocopy::IntoBytes as _;

use super::clusters::Width;
use super::disk::{Bpb, Bpb32, FsInfo, SIGNATURE, Tail, long, short};
use super::geometry::{self, Geometry};
use super::plan::Options;

/// A disk that stays where it is.
pub(super) const MEDIA: u8 = 0xf8;
/// The sector of FAT32 where the copy of the boot sector is.
const BACKUP: u16 = 6;

/// Lays out the sectors before the tables.
pub(super) fn lay_out(
    map: &mut Builder,
    options: &Options,
    geometry: &Geometry,
    label: Option<[u8; 11]>,
    used: u64,
) {
    let sector = u64::from(options.sector);
    let boot = boot_sector(options, geometry, label);
    if geometry.shape.width != Width::Fat32 {
        return map.bytes(0, boot, "FAT boot sector");
    }
    let info = FsInfo {
        lead_sig: *b"RRaA",
        reserved1: [0; 480],
        struct_sig: *b"rrAa",
        free_count: long(geometry.clusters.saturating_sub(used)).into(),
        nxt_free: long(used.saturating_add(1)).into(),
        reserved2: [0; 12],
        trail_sig: [0, 0, SIGNATURE[0], SIGNATURE[1]],
    };
    let boot: Arc<[u8]> = boot.into();
    let info: Arc<[u8]> = info.as_bytes().into();
    for (first, what, info_what) in [
        (0_u64, "FAT boot sector", "FAT hints"),
        (BACKUP.into(), "FAT boot sector, backup", "FAT hints, backup"),
    ] {
        map.bytes(first.saturating_mul(sector), Arc::clone(&boot), what);
        map.bytes(
            first.saturating_add(1).saturating_mul(sector),
            Arc::clone(&info),
            info_what,
        );
    }
}

/// The first 512 bytes. What a BIOS would run asks it for the next disk.
fn boot_sector(options: &Options, geometry: &Geometry, label: Option<[u8; 11]>) -> Vec<u8> {
    /// `int 18h`, and `hlt` for ever.
    const NEXT_DISK: [u8; 5] = [0xcd, 0x18, 0xf4, 0xeb, 0xfd];
    let shape = geometry.shape;
    let wide = shape.width == Width::Fat32;
    let (total, table) = (long(geometry.total()), long(geometry.table));
    // The small fields hold what fits them, but for FAT32.
    let small_field = |number: u32| u16::try_from(number).ok().filter(|_| !wide);
    let code = size_of::<Bpb>()
        .saturating_add(size_of::<Tail>())
        .saturating_add(if wide { size_of::<Bpb32>() } else { 0 });
    let jump = u8::try_from(code.saturating_sub(2)).expect("fewer than 128 bytes are jumped over");
    let bpb = Bpb {
        jmp_boot: [0xeb, jump, 0x90],
        oem_name: *b"dib     ",
        bytes_per_sec: short(shape.sector).into(),
        sec_per_clus: u8::try_from(shape.per_cluster).expect("a cluster has 128 sectors at most"),
        rsvd_sec_cnt: short(geometry.reserved).into(),
        num_fats: 2,
        root_ent_cnt: if wide { 0 } else { short(geometry::ROOT_ENTRIES) }.into(),
        tot_sec16: small_field(total).unwrap_or(0).into(),
        media: MEDIA,
        fat_sz16: small_field(table).unwrap_or(0).into(),
        sec_per_trk: 63.into(),
        num_heads: 255.into(),
        hidd_sec: options.hidden_sectors.into(),
        tot_sec32: if small_field(total).is_some() { 0 } else { total }.into(),
    };
    let bpb32 = Bpb32 {
        fat_sz32: table.into(),
        ext_flags: 0.into(),
        fs_ver: 0.into(),
        root_clus: 2.into(),
        fs_info: 1.into(),
        bk_boot_sec: BACKUP.into(),
        reserved: [0; 12],
    };
    let tail = Tail {
        drv_num: 0x80,
        reserved1: 0,
        boot_sig: 0x29,
        vol_id: options.volume_id.into(),
        vol_lab: label.unwrap_or(*b"NO NAME    "),
        fil_sys_type: match shape.width {
            Width::Fat12 => *b"FAT12   ",
            Width::Fat16 => *b"FAT16   ",
            Width::Fat32 => *b"FAT32   ",
        },
    };
    let between = if wide { bpb32.as_bytes() } else { &[] };
    let mut boot = [bpb.as_bytes(), between, tail.as_bytes(), &NEXT_DISK].concat();
    boot.resize(510, 0);
    boot.extend(SIGNATURE);
    boot
}

//! What boots: the catalog, the image that a BIOS starts, the file system that UEFI reads, and the table and the code by
//! which the same image boots as a disk.
//!
//! Specs: El Torito 1.0 <https://pdos.csail.mit.edu/6.828/2018/readings/boot-cdrom.pdf>; UEFI 2.10, section 13.3.2.1.
//!
//! GRUB's image for discs begins with `cdboot.img`, one block, which reads by itself all that its table of boot information tells
//! of. What follows begins like the image for disks, with the sector that lists the others: so `boot_hybrid.img` in a
//! disk's first sector starts it from there, if that list and it itself are told where they lie.

use image_core::map::Builder;
use zerocopy::{FromZeros, IntoBytes};

use super::directory::{Place, block};
use super::disk::{BootInfo, Entry, Section, Validation};
use super::layout::PRIMARY;
use super::{Bios, Options, PlanError};
use crate::gpt::{self, Partition, Table};
use crate::grub;

/// The table of boot information in the image.
const INFO: usize = 8;
/// What the sum of its words begins with.
const SUMMED: usize = 64;
/// The least image with a list of sectors.
const LISTED: usize = 2048 + 512;
/// The most bytes of the image: far more than a BIOS has memory for.
const IMAGE_MAX: usize = 16 << 20;
/// UEFI, in the catalog.
const EFI: u8 = 0xef;

/// Where what boots lies; an empty place is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bootable {
    pub(super) catalog: Place,
    pub(super) bios: Place,
    pub(super) efi: Place,
}

/// Whether the image has a partition table.
pub(super) fn is_disk(options: &Options) -> bool {
    let hybrid = options.bios.as_ref().is_some_and(|bios| bios.hybrid.is_some());
    hybrid || options.efi.is_some()
}

/// Whether the image for a BIOS has room for what it must be told.
pub(super) fn check(bios: &Bios) -> Result<(), PlanError> {
    let len = bios.image.len();
    let least = if bios.hybrid.is_some() { LISTED } else { SUMMED };
    if !(least..=IMAGE_MAX).contains(&len) {
        return Err(PlanError::BiosImage { len, least });
    }
    Ok(())
}

impl Bootable {
    /// Lays out all that boots, in an image of so many bytes.
    pub(super) fn lay_out(&self, map: &mut Builder, options: &Options, len: u64) -> Result<(), PlanError> {
        if self.catalog.len > 0 {
            map.bytes(self.catalog.start, self.catalog(), "boot catalog");
        }
        if let Some(bios) = &options.bios {
            map.bytes(self.bios.start, self.image(bios), "boot image for the BIOS");
        }
        if let Some(efi) = &options.efi {
            map.map(self.efi.start, efi)?;
        }
        if !is_disk(options) {
            return Ok(());
        }
        let hybrid = options.bios.as_ref().and_then(|bios| bios.hybrid.as_ref());
        let start = sector(self.bios.start, 4);
        let boot_code = hybrid.map(|image| grub::hybrid(image, start)).transpose()?;
        let partition = options.efi.as_ref().map(|efi| Partition {
            range: self.efi.start..self.efi.start.saturating_add(efi.len()),
            kind: gpt::kind("EF00").expect("a type of partitions"),
            uuid: options.efi_uuid,
            name: "EFI boot partition".to_owned(),
            attributes: 0,
        });
        let table = Table {
            len,
            sector: 512,
            disk_uuid: options.disk_uuid,
            partitions: partition.into_iter().collect(),
            boot_code,
        };
        map.map(0, &gpt::plan(&table)?)?;
        Ok(())
    }

    fn catalog(&self) -> Vec<u8> {
        let efi = entry(self.efi, sectors(self.efi.len));
        let (platform, first) = match (self.bios.len, self.efi.len) {
            (0, _) => (EFI, efi),
            // As many sectors as are the first of GRUB's images: it reads the others.
            _ => (0, entry(self.bios, 4)),
        };
        let mut validation = Validation::new_zeroed();
        validation.header = 1;
        validation.platform = platform;
        validation.key = [0x55, 0xaa];
        let sum = words(validation.as_bytes());
        validation.checksum = 0_u16.wrapping_sub(sum).into();
        let mut catalog = [validation.as_bytes(), first.as_bytes()].concat();
        if self.bios.len > 0 && self.efi.len > 0 {
            let mut section = Section::new_zeroed();
            section.header = 0x91;
            section.platform = EFI;
            section.entries = 1.into();
            catalog.extend(section.as_bytes());
            catalog.extend(efi.as_bytes());
        }
        catalog
    }

    /// The image for a BIOS, told where it lies.
    fn image(&self, bios: &Bios) -> Vec<u8> {
        let mut image = bios.image.clone();
        if bios.hybrid.is_some() {
            let list = LISTED.saturating_sub(12);
            put(&mut image, list, &sector(self.bios.start, 5).to_le_bytes());
        }
        let summed = image.get(SUMMED..).unwrap_or_default().chunks(4);
        let checksum = summed.fold(0_u32, |sum, word| {
            let mut bytes = [0; 4];
            bytes.iter_mut().zip(word).for_each(|(to, byte)| *to = *byte);
            sum.wrapping_add(u32::from_le_bytes(bytes))
        });
        let info = BootInfo {
            primary: u32::try_from(PRIMARY).expect("16").into(),
            file: block(self.bios.start).into(),
            length: u32::try_from(image.len()).expect("its length was checked").into(),
            checksum: checksum.into(),
            reserved: [0; 40],
        };
        put(&mut image, INFO, info.as_bytes());
        image
    }
}

fn entry(place: Place, sectors: u16) -> Entry {
    let mut entry = Entry::new_zeroed();
    entry.boot_indicator = 0x88;
    entry.sector_count = sectors.into();
    entry.load_rba = block(place.start).into();
    entry
}

/// The sectors of a file system; 0 if they are too many to be counted, which UEFI takes for all there are to the end.
fn sectors(len: u64) -> u16 {
    u16::try_from(len / 512).unwrap_or(0)
}

/// The sector of 512 bytes so many behind a byte.
fn sector(at: u64, behind: u64) -> u64 {
    (at / 512).saturating_add(behind)
}

/// The sum of words of 16 bits.
fn words(bytes: &[u8]) -> u16 {
    let (words, _) = bytes.as_chunks::<2>();
    words
        .iter()
        .fold(0, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word)))
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    let place = into.iter_mut().skip(at);
    place.zip(bytes).for_each(|(byte, new)| *byte = *new);
}

const _: () = assert!(INFO + size_of::<BootInfo>() == SUMMED);

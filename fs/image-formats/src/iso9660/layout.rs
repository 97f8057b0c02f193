//! Where everything lies, and what is laid there.

use std::collections::HashMap;

use image_core::Tree;
use image_core::map::Builder;
use image_core::tree::{Content, NodeId};
use zerocopy::{FromZeros, IntoBytes};

use super::boot::{self, Bootable};
use super::directory::{self, Directory, Of, Place, block, index};
use super::disk::{BootRecord, Head, Primary, padded};
use super::{BLOCK, DIRECTORIES_MAX, Options, PlanError, time};

/// The block of the first descriptor.
pub(super) const PRIMARY: u64 = 16;
/// Bytes of a backup GPT, in whole blocks.
const BACKUP: u64 = (33 * 512_u64).next_multiple_of(BLOCK);

/// What all who write discs leave behind the last file: drives fail where they read ahead beyond the end, and `bsdtar` knows no
/// image that is shorter than 48 KiB.
const PADDING: u64 = 150 * BLOCK;

/// An image, laid out.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    tree: &'a Tree,
    options: &'a Options,
    /// Bytes of the image.
    pub(super) len: u64,
    directories: Vec<Directory>,
    /// Where each directory lies.
    places: Vec<Place>,
    /// Where each file lies that is not empty.
    files: HashMap<NodeId, Place>,
    /// The two tables of paths.
    paths: [Place; 2],
    bootable: Bootable,
}

/// What is laid out one after the other, in whole blocks.
struct Cursor(u64);

impl Cursor {
    fn take(&mut self, len: u64) -> Place {
        let start = self.0;
        self.0 = start
            .saturating_add(len)
            .checked_next_multiple_of(BLOCK)
            .unwrap_or(u64::MAX);
        Place { start, len }
    }
}

impl<'a> Layout<'a> {
    /// Lays out a tree.
    pub(super) fn of(tree: &'a Tree, options: &'a Options) -> Result<Self, PlanError> {
        let directories = directory::all(tree, options);
        if directories.len() > DIRECTORIES_MAX {
            let asked = directories.len();
            return Err(PlanError::Directories { asked });
        }
        let boots = options.bios.is_some() || options.efi.is_some();
        let descriptors = if boots { 3 } else { 2 };
        let mut cursor = Cursor(BLOCK.saturating_mul(PRIMARY.saturating_add(descriptors)));
        let paths_len = directories.iter().map(path_len).fold(0, u64::saturating_add);
        let paths = [(); 2].map(|()| cursor.take(paths_len));
        let mut places = Vec::with_capacity(directories.len());
        for directory in &directories {
            let start = cursor.take(directory.needed()).start;
            let len = directory.len;
            if u32::try_from(len).is_err() {
                return Err(PlanError::DirectoryTooLong { len });
            }
            places.push(Place { start, len });
        }
        let mut bootable = Bootable::default();
        if boots {
            bootable.catalog = cursor.take(BLOCK);
        }
        if let Some(bios) = &options.bios {
            bootable.bios = cursor.take(length(&bios.image));
        }
        if let Some(efi) = &options.efi {
            bootable.efi = cursor.take(efi.len());
        }
        let mut files = HashMap::new();
        for (id, node) in tree.iter() {
            if let Content::File(data) = &node.content
                && data.len > 0
            {
                files.insert(id, cursor.take(data.len));
            }
        }
        let backup = if boot::is_disk(options) { BACKUP } else { 0 };
        let len = cursor.0.saturating_add(PADDING).saturating_add(backup);
        let blocks = len / BLOCK;
        if u32::try_from(blocks).is_err() {
            return Err(PlanError::TooLong { blocks });
        }
        Ok(Self {
            tree,
            options,
            len,
            directories,
            places,
            files,
            paths,
            bootable,
        })
    }

    /// What stands from the sixteenth block on.
    pub(super) fn descriptors(&self, map: &mut Builder) {
        let mut at = BLOCK.saturating_mul(PRIMARY);
        let mut put = |bytes: &[u8], what| {
            map.bytes(at, bytes, what);
            at = at.saturating_add(BLOCK);
        };
        put(self.primary().as_bytes(), "primary volume descriptor");
        if self.bootable.catalog.len > 0 {
            let mut record = BootRecord::new_zeroed();
            record.head = Head::new(0);
            let name = b"EL TORITO SPECIFICATION";
            record.boot_system_identifier[..name.len()].copy_from_slice(name);
            record.catalog = block(self.bootable.catalog.start).into();
            put(record.as_bytes(), "boot record volume descriptor");
        }
        put(Head::new(255).as_bytes(), "volume descriptor set terminator");
    }

    fn primary(&self) -> Primary {
        let epoch = time::long(self.options.epoch);
        let [little, big] = self.paths;
        let paths_len = u32::try_from(little.len).expect("65535 paths of 42 bytes at most");
        Primary {
            head: Head::new(1),
            unused1: 0,
            system_identifier: padded("LINUX"),
            volume_identifier: padded(&self.options.label),
            unused2: [0; 8],
            volume_space_size: block(self.len).into(),
            unused3: [0; 32],
            volume_set_size: 1.into(),
            volume_sequence_number: 1.into(),
            logical_block_size: 2048.into(),
            path_table_size: paths_len.into(),
            type_l_path_table: block(little.start).into(),
            optional_type_l_path_table: 0.into(),
            type_m_path_table: block(big.start).into(),
            optional_type_m_path_table: 0.into(),
            root_directory_record: directory::root(self.places[0], self.options.epoch),
            volume_set_identifier: padded(""),
            publisher_identifier: padded(""),
            data_preparer_identifier: padded(""),
            application_identifier: padded("DISKIMAGE-BUILDER"),
            file_identifiers: [padded(""); 3],
            creation_date: epoch,
            modification_date: epoch,
            expiration_date: time::NONE,
            effective_date: epoch,
            file_structure_version: 1,
            reserved1: 0,
            application_use: [0; 512],
            reserved2: [0; 653],
        }
    }

    /// The tables of paths.
    pub(super) fn paths(&self, map: &mut Builder) {
        let [little, big] = self.paths;
        let table = |block_bytes: fn(u32) -> [u8; 4], number_bytes: fn(u16) -> [u8; 2]| {
            let mut bytes = Vec::with_capacity(index(little.len));
            for (directory, place) in self.directories.iter().zip(&self.places) {
                let name = &directory.identifier;
                bytes.extend([u8::try_from(name.len()).expect("31 at most"), 0]);
                bytes.extend(block_bytes(block(place.start)));
                let parent = u16::try_from(directory.parent.saturating_add(1));
                bytes.extend(number_bytes(parent.expect("the directories were counted")));
                bytes.extend(name);
                bytes.resize(bytes.len().next_multiple_of(2), 0);
            }
            bytes
        };
        map.bytes(
            little.start,
            table(u32::to_le_bytes, u16::to_le_bytes),
            "L path table",
        );
        map.bytes(
            big.start,
            table(u32::to_be_bytes, u16::to_be_bytes),
            "M path table",
        );
    }

    /// All directories.
    pub(super) fn directories(&self, map: &mut Builder) {
        for (directory, place) in self.directories.iter().zip(&self.places) {
            let bytes = directory.render(place.start, |of| self.place(of));
            map.bytes(place.start, bytes, "directory");
        }
    }

    fn place(&self, of: Of) -> Place {
        match of {
            Of::Directory(number) => self.places[number],
            Of::Node(node) => self.files.get(&node).copied().unwrap_or_default(),
        }
    }

    /// What boots.
    pub(super) fn boot(&self, map: &mut Builder) -> Result<(), PlanError> {
        self.bootable.lay_out(map, self.options, self.len)
    }

    /// All files.
    pub(super) fn files(&self, map: &mut Builder) {
        for (id, node) in self.tree.iter() {
            let (Content::File(data), Some(place)) = (&node.content, self.files.get(&id)) else {
                continue;
            };
            for range in data.ranges() {
                let at = place.start.saturating_add(range.start);
                let len = range.end.saturating_sub(range.start);
                map.file(at, data.file, range.start, len, "file");
            }
        }
    }
}

/// Bytes of a directory in the table of paths.
fn path_len(directory: &Directory) -> u64 {
    let name = length(&directory.identifier);
    name.next_multiple_of(2).saturating_add(8)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a buffer's length is a u64")
}

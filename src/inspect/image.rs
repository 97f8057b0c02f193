//! An image of any kind, opened: what contains it, its partitions, and what each holds; nothing of the files is read yet.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_core::read_at::Slice;
use image_core::scan;
use image_formats::btrfs;
use image_formats::oci::Choice;

use super::container::{self, Bytes};
use super::contents::{self, Contents, Files};
use super::kind::Wrapping;
use super::report::shown;
use super::subvolumes::{Subvolume, put_subvolumes};
use super::table::{self, Table};
use super::volumes::add_logical;
use super::{InspectError, about, layout};

/// What holds files or something else: a partition, a logical volume, or a whole disk without a table.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Which partition it is, if it is one, by its place in the table.
    pub partition: Option<usize>,
    /// Its name, with that of its group, if it is a logical volume: `GROUP/NAME`.
    pub logical: Option<String>,
    /// Which subvolume it is of the file system in its bytes, if that is Btrfs, or why that cannot be opened.
    pub btrfs: Option<Result<Subvolume, Arc<btrfs::Error>>>,
    /// Its bytes.
    pub bytes: Bytes,
    /// What they are.
    pub contents: Contents,
}

impl Volume {
    /// Whether it is a whole disk without a table, or one of the subvolumes that such a one has.
    pub fn is_whole(&self) -> bool {
        self.partition.is_none() && self.logical.is_none()
    }

    /// Whether it is all that the image has.
    pub fn is_alone(&self) -> bool {
        self.is_whole() && self.subvolume().is_none()
    }

    /// Which subvolume of Btrfs it is, if it is one.
    pub fn subvolume(&self) -> Option<&Subvolume> {
        self.btrfs.as_ref()?.as_ref().ok()
    }

    /// Which subvolume it is, or why the Btrfs that it holds cannot be opened.
    pub fn opened(&self) -> Result<&Subvolume, Arc<btrfs::Error>> {
        let opened = self.btrfs.as_ref();
        let opened = opened.expect("an image opens all Btrfs that it holds");
        opened.as_ref().map_err(Arc::clone)
    }
}

/// An image.
#[derive(Debug)]
pub struct Image {
    /// Where it is.
    pub path: PathBuf,
    /// What it is wrapped in.
    pub wrapping: Wrapping,
    /// Its disk, unless it is an archive or a directory.
    pub disk: Option<Bytes>,
    /// Its partition table, if it has one.
    pub table: Option<Table>,
    /// What is on the disk.
    pub volumes: Vec<Volume>,
    /// The files of an archive or a directory.
    pub packed: Option<Files>,
}

impl Image {
    /// Opens one. Of a container image the one of `choice` is taken; what has to be unpacked lies in `scratch`.
    pub fn open(path: &Path, choice: &Choice, scratch: &Path) -> Result<Self, InspectError> {
        if path.is_dir() {
            let wrapping = Wrapping::of(path)?;
            let packed = if path.join("oci-layout").is_file() {
                let (tree, store) = layout::of_dir(path, choice, scratch)?;
                Files::new(tree, store)
            } else {
                let (tree, store) = scan(path, &scan::Options::default())?;
                Files::new(tree, store)
            };
            let packed = Some(packed);
            return Ok(Self {
                packed,
                ..Self::empty(path, wrapping)
            });
        }
        let file = container::unpacked(path, scratch)?;
        Self::open_unpacked(file, path, choice, scratch)
    }

    /// Opens one that is no directory, and of which this is what it decompresses to.
    pub fn open_unpacked(
        file: File,
        path: &Path,
        choice: &Choice,
        scratch: &Path,
    ) -> Result<Self, InspectError> {
        let image = |wrapping| Self::empty(path, wrapping);
        let wrapping = Wrapping::of(path)?;
        let opened = container::open_unpacked(file, path)?;
        let whole = contents::of(&opened.bytes)?;
        if whole == Contents::Tar {
            let file = opened
                .file
                .ok_or(InspectError::Container("an archive in a disk image"))?;
            let (tree, store) = layout::of_archive(file, path, choice, scratch)?;
            let packed = Some(Files::new(tree, store));
            return Ok(Self {
                packed,
                ..image(wrapping)
            });
        }
        let (table, mut volumes) = on_disk(&opened.bytes, whole)?;
        add_logical(&mut volumes)?;
        put_subvolumes(&mut volumes);
        Ok(Self {
            disk: Some(opened.bytes),
            table,
            volumes,
            ..image(wrapping)
        })
    }

    fn empty(path: &Path, wrapping: Wrapping) -> Self {
        Self {
            path: path.to_owned(),
            wrapping,
            disk: None,
            table: None,
            volumes: Vec::new(),
            packed: None,
        }
    }

    /// What names a volume in messages.
    pub fn place(&self, volume: usize) -> String {
        let found = self.volumes.get(volume);
        let logical = found.and_then(|it| it.logical.as_ref());
        let whole = match (self.partition(volume), logical) {
            (Some(partition), _) => format!("partition {}", partition.number),
            (None, Some(name)) => format!("volume {name}"),
            (None, None) => "the image".to_owned(),
        };
        match found.and_then(Volume::subvolume) {
            Some(it) if !it.path.is_empty() => format!("subvolume {} of {whole}", shown(&it.path)),
            _ => whole,
        }
    }

    /// The partition that a volume is, if it is one.
    pub fn partition(&self, volume: usize) -> Option<&table::Partition> {
        let at = self.volumes.get(volume)?.partition?;
        self.table.as_ref()?.partitions.get(at)
    }
}

fn on_disk(disk: &Bytes, whole: Contents) -> Result<(Option<Table>, Vec<Volume>), InspectError> {
    let table = match whole {
        // A bootable ISO image, for one, may have a table, too.
        Contents::Unknown | Contents::Other(_) => table::of(disk)?,
        _ => None,
    };
    let Some(table) = table else {
        let volume = Volume {
            partition: None,
            logical: None,
            btrfs: None,
            bytes: Arc::clone(disk),
            contents: whole,
        };
        let known = whole != Contents::Unknown;
        return Ok((None, known.then_some(volume).into_iter().collect()));
    };
    let mut volumes = Vec::new();
    for (at, partition) in table.partitions.iter().enumerate() {
        let lies_outside = || about(Path::new("the image"))(io::ErrorKind::UnexpectedEof.into());
        let slice = Slice::new(Arc::clone(disk), partition.range.clone()).ok_or_else(lies_outside)?;
        let bytes: Bytes = Arc::new(slice);
        let contents = contents::of(&bytes)?;
        volumes.push(Volume {
            partition: Some(at),
            logical: None,
            btrfs: None,
            bytes,
            contents,
        });
    }
    Ok((Some(table), volumes))
}

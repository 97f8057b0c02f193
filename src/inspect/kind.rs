//! What a file is wrapped in: compressed wholly, a container of a disk, an archive or a directory, told from its first bytes
//! and its last.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use image_core::read_at::ImageFile;
use image_formats::{qcow2, vdi, vhd, vmdk};

use super::{InspectError, about};

/// What a file is wrapped in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapping {
    /// Its kind: `qcow2`, `raw`, `directory`, ...; of what is compressed wholly, how: `gzip`, `xz`, ...
    pub kind: &'static str,
    /// Bytes in the file.
    pub len: u64,
    /// Bytes that the file takes on its disk.
    pub allocated: u64,
    /// What a qcow2 image says of itself.
    pub qcow2: Option<qcow2::Facts>,
    /// What a VHD, VDI or VMDK image says of itself.
    pub blocks: Option<BlockFacts>,
}

/// What a container of blocks says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockFacts {
    /// Bytes of the guest.
    pub virtual_size: u64,
    /// Its form, in the words of its format.
    pub subformat: &'static str,
    /// Bytes in a block, or a grain, if it has any.
    pub block_size: Option<u64>,
    /// Who is said to have made it.
    pub creator: Option<Vec<u8>>,
}

/// Marks at the start, or so many bytes before the end.
const MARKS: [(Place, &[u8], &str); 11] = [
    (Place::Start(0), b"QFI\xfb", "qcow2"),
    (Place::Start(0), &[0x1f, 0x8b], "gzip"),
    (Place::Start(0), b"\xfd7zXZ\0", "xz"),
    (Place::Start(0), b"BZh", "bzip2"),
    (Place::Start(0), &[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    (Place::Start(0), b"KDMV", "vmdk"),
    (Place::Start(0), b"vhdxfile", "vhdx"),
    (Place::Start(64), &[0x7f, 0x10, 0xda, 0xbe], "vdi"),
    (Place::Start(257), b"ustar", "tar"),
    (Place::Start(0), b"conectix", "vhd"),
    (Place::End(512), b"conectix", "vhd"),
];

#[derive(Clone, Copy)]
enum Place {
    Start(u64),
    End(u64),
}

impl Wrapping {
    /// Looks at a file.
    pub fn of(path: &Path) -> Result<Self, InspectError> {
        let meta = fs::metadata(path).map_err(about(path))?;
        let mut wrapping = Self {
            kind: "directory",
            len: meta.len(),
            allocated: meta.blocks().saturating_mul(512),
            qcow2: None,
            blocks: None,
        };
        if meta.is_dir() {
            return Ok(wrapping);
        }
        let file = File::open(path).map_err(about(path))?;
        wrapping.kind = kind(&file, meta.len());
        if wrapping.kind == "qcow2" {
            let image = ImageFile::new(file, path).map_err(about(path))?;
            wrapping.qcow2 = Some(qcow2::Facts::of(&image)?);
        } else if ["vhd", "vdi", "vmdk"].contains(&wrapping.kind) {
            let image = ImageFile::new(file, path).map_err(about(path))?;
            // Who opens the image hears why it cannot be read.
            wrapping.blocks = block_facts(wrapping.kind, &image).ok();
        }
        Ok(wrapping)
    }
}

fn block_facts(kind: &str, image: &ImageFile) -> Result<BlockFacts, InspectError> {
    Ok(match kind {
        "vhd" => {
            let facts = vhd::Facts::of(image)?;
            BlockFacts {
                virtual_size: facts.virtual_size,
                subformat: facts.subformat,
                block_size: facts.block_size.map(u64::from),
                creator: Some(facts.creator.trim_ascii_end().to_vec()),
            }
        }
        "vdi" => {
            let facts = vdi::Facts::of(image)?;
            BlockFacts {
                virtual_size: facts.virtual_size,
                subformat: facts.subformat,
                block_size: Some(facts.block_size.into()),
                creator: Some(facts.creator),
            }
        }
        _ => {
            let facts = vmdk::Facts::of(image)?;
            BlockFacts {
                virtual_size: facts.virtual_size,
                subformat: facts.subformat,
                block_size: Some(facts.grain_size),
                creator: None,
            }
        }
    })
}

/// The kind of a regular file with so many bytes.
pub fn kind(file: &File, len: u64) -> &'static str {
    for (place, mark, kind) in MARKS {
        let at = match place {
            Place::Start(at) => Some(at),
            Place::End(before) => len.checked_sub(before),
        };
        let mut found = vec![0; mark.len()];
        let at = at.filter(|at| at.saturating_add(mark.len() as u64) <= len);
        if let Some(at) = at
            && file.read_exact_at(&mut found, at).is_ok()
            && found == mark
        {
            return kind;
        }
    }
    "raw"
}

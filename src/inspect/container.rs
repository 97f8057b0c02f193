//! A file → the bytes of a disk or an archive.
//!
//! The first bytes say what a file is, not its name: `image.qcow2.xz`, a qcow2 image that is called `image.img` and a raw
//! one are the same disk. What is compressed as a whole is decompressed once, into a file without a name; a container
//! stays as it is, and what it compresses is decompressed when it is read. Only a fixed VHD is known by its last bytes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use image_core::ReadAt;
use image_core::read_at::ImageFile;
use image_formats::guest::Guest;
use image_formats::{qcow2, vdi, vhd, vmdk};

use super::raw::RawDisk;
use super::{InspectError, about};
use crate::unpack::decompressed;

/// Bytes that can be read at any place.
pub type Bytes = Arc<dyn ReadAt>;

/// How often one thing may be wrapped in another.
const LAYERS_MAX: usize = 4;

/// Containers that are known and not read, by where their mark stands.
const OTHERS: [(u64, &[u8], &str); 3] = [
    (
        0,
        b"# Disk DescriptorFile",
        "a VMDK description, whose disk lies in other files",
    ),
    (0, b"COWD", "a VMDK image of an old ESX"),
    (0, b"vhdxfile", "a VHDX image"),
];

/// What a container is, by where its mark stands.
const CONTAINERS: [(u64, &[u8], Container); 4] = [
    (0, b"QFI\xfb", Container::Qcow2),
    (0, b"KDMV", Container::Vmdk),
    (0, b"conectix", Container::Vhd),
    (64, &[0x7f, 0x10, 0xda, 0xbe], Container::Vdi),
];

/// A container that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Qcow2,
    Vdi,
    Vhd,
    Vmdk,
}

/// An image that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes: the guest's, if it is a container.
    pub bytes: Bytes,
    /// The file that has the same bytes, unless it is a container.
    pub file: Option<File>,
}

/// Opens what [`unpacked`] gave.
pub fn open_unpacked(file: File, path: &Path) -> Result<Opened, InspectError> {
    Ok(match contained(&file, path)? {
        Some(guest) => Opened {
            bytes: guest,
            file: None,
        },
        None => Opened {
            bytes: Arc::new(image_of(&file, path)?),
            file: Some(file),
        },
    })
}

/// Opens an image as a disk that knows where it has holes. Also says whether it is a container.
pub fn guest(path: &Path, scratch: &Path) -> Result<(Arc<dyn Guest>, bool), InspectError> {
    let file = unpacked(path, scratch)?;
    if let Some(guest) = contained(&file, path)? {
        return Ok((guest, true));
    }
    let raw = RawDisk::new(image_of(&file, path)?).map_err(about(path))?;
    Ok((Arc::new(raw), false))
}

/// The file itself, or what it decompresses to, which lies in `scratch`, without a name.
pub fn unpacked(path: &Path, scratch: &Path) -> Result<File, InspectError> {
    let mut file = File::open(path).map_err(about(path))?;
    for _ in 0..LAYERS_MAX {
        if !is_compressed(&file).map_err(about(path))? {
            file.rewind().map_err(about(path))?;
            return Ok(file);
        }
        file = decompress(file, scratch)?;
    }
    let text = format!("{LAYERS_MAX} compressions around each other are too many");
    Err(InspectError::Compression(text))
}

fn is_compressed(file: &File) -> io::Result<bool> {
    const MARKS: [&[u8]; 4] = [&[0x1f, 0x8b], b"\xfd7zXZ\0", b"BZh", &[0x28, 0xb5, 0x2f, 0xfd]];
    let mut head = [0; 6];
    let len = read_up_to(file, &mut head, 0)?;
    Ok(MARKS.iter().any(|mark| head[..len].starts_with(mark)))
}

fn read_up_to(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

/// Decompresses a file into one without a name. Runs of zeros become holes: disks are mostly that.
fn decompress(file: File, scratch: &Path) -> Result<File, InspectError> {
    const BLOCK: usize = 64 * 1024;
    let damaged = |error: io::Error| InspectError::Compression(error.to_string());
    let mut from = decompressed(file).map_err(|error| InspectError::Compression(error.to_string()))?;
    let to = tempfile::tempfile_in(scratch).map_err(about(scratch))?;
    let mut block = vec![0; BLOCK];
    let mut len: u64 = 0;
    loop {
        let mut filled = 0;
        while filled < BLOCK {
            match from.read(&mut block[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(damaged(error)),
            }
        }
        let bytes = &block[..filled];
        if bytes.iter().any(|byte| *byte != 0) {
            to.write_all_at(bytes, len).map_err(about(scratch))?;
        }
        len += filled as u64;
        if filled < BLOCK {
            break;
        }
    }
    to.set_len(len).map_err(about(scratch))?;
    Ok(to)
}

/// A file's bytes, which `path` names.
pub fn image_of(file: &File, path: &Path) -> Result<ImageFile, InspectError> {
    let own = file.try_clone().map_err(about(path))?;
    ImageFile::new(own, path).map_err(about(path))
}

/// The guest of a container, if the file is one.
fn contained(file: &File, path: &Path) -> Result<Option<Arc<dyn Guest>>, InspectError> {
    let begins = |at, mark: &[u8]| {
        let mut found = vec![0; mark.len()];
        let len = read_up_to(file, &mut found, at).map_err(about(path))?;
        Ok::<_, InspectError>(found[..len] == *mark)
    };
    for (at, mark, what) in OTHERS {
        if begins(at, mark)? {
            return Err(InspectError::Container(what));
        }
    }
    let image = image_of(file, path)?;
    let mut found = None;
    for (at, mark, container) in CONTAINERS {
        if begins(at, mark)? {
            found = Some(container);
            break;
        }
    }
    if found.is_none() && vhd::Guest::is_fixed(&image).map_err(about(path))? {
        found = Some(Container::Vhd);
    }
    Ok(match found {
        Some(Container::Qcow2) => Some(Arc::new(qcow2::Guest::open(image)?)),
        Some(Container::Vdi) => Some(Arc::new(vdi::Guest::open(image)?)),
        Some(Container::Vhd) => Some(Arc::new(vhd::Guest::open(image)?)),
        Some(Container::Vmdk) => Some(Arc::new(vmdk::Guest::open(image)?)),
        None => None,
    })
}

//! A file → the bytes of a disk or an archive.
//!
//! The first bytes say what a file is, not its name: `image.qcow2.xz`, a qcow2 image that is called `image.img` and a raw
//! one are the same disk. What is compressed as a whole is decompressed once, into a file without a name; a qcow2 image
//! stays as it is, and its clusters are decompressed when they are read.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use image_core::ReadAt;
use image_core::read_at::ImageFile;
use image_formats::qcow2;

use super::{InspectError, about};
use crate::unpack::decompressed;

/// Bytes that can be read at any place.
pub type Bytes = Arc<dyn ReadAt>;

/// How often one thing may be wrapped in another.
const LAYERS_MAX: usize = 4;

/// Containers that are known and not read, by where their mark stands.
const OTHERS: [(u64, &[u8], &str); 4] = [
    (0, b"KDMV", "a VMDK image"),
    (0, b"conectix", "a VHD image"),
    (0, b"vhdxfile", "a VHDX image"),
    (64, &[0x7f, 0x10, 0xda, 0xbe], "a VDI image"),
];

/// An image that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Its bytes: the guest's, if it is a container.
    pub bytes: Bytes,
    /// The file that has the same bytes, unless it is a container.
    pub file: Option<File>,
}

/// Opens an image. What has to be decompressed lies in `scratch`, without a name.
pub fn open(path: &Path, scratch: &Path) -> Result<Opened, InspectError> {
    let mut file = File::open(path).map_err(about(path))?;
    for _ in 0..LAYERS_MAX {
        if !is_compressed(&file).map_err(about(path))? {
            return contained(file, path);
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

/// The guest of a container, or the file itself.
fn contained(mut file: File, path: &Path) -> Result<Opened, InspectError> {
    file.rewind().map_err(about(path))?;
    for (at, mark, what) in OTHERS {
        let mut found = vec![0; mark.len()];
        let len = read_up_to(&file, &mut found, at).map_err(about(path))?;
        if found[..len] == *mark {
            return Err(InspectError::Container(what));
        }
    }
    let mut magic = [0; 4];
    let len = read_up_to(&file, &mut magic, 0).map_err(about(path))?;
    let image = ImageFile::new(file.try_clone().map_err(about(path))?, path).map_err(about(path))?;
    if magic[..len] == *b"QFI\xfb" {
        return Ok(Opened {
            bytes: Arc::new(qcow2::Guest::open(image)?),
            file: None,
        });
    }
    Ok(Opened {
        bytes: Arc::new(image),
        file: Some(file),
    })
}

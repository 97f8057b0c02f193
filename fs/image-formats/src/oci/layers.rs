//! Blobs → archives that [`tar`](mod@crate::tar) reads: proven, and unpacked where need be.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use image_core::read_at::{Cursor, ImageFile, ReadAt, Slice};
use image_core::store::{Open, Store};
use sha2::{Digest as _, Sha256};

use super::Error;
use super::documents::Descriptor;
use super::layout::{Digest, Layout, Opened, judge};
use crate::tar::Archive;

/// Bytes that are moved at once.
const PIECE: usize = 256 * 1024;

/// A layer of an image.
#[derive(Debug)]
pub(super) struct Layer {
    /// Where in the layout it stands.
    pub(super) path: Vec<u8>,
    pub(super) proof: Proof,
}

/// Which bytes are to have which digest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof {
    /// Those of the file, as many as these.
    Packed(Digest, u64),
    /// Those of the archive in it.
    Unpacked(Digest),
}

impl Layer {
    /// The layer that a manifest names.
    pub(super) fn of_descriptor(descriptor: &Descriptor) -> Result<Self, Error> {
        if descriptor.media_type.ends_with("+encrypted") {
            return Err(Error::UnsupportedLayer(descriptor.media_type.clone()));
        }
        let digest = Digest::parse(&descriptor.digest)?;
        Ok(Self {
            path: digest.path(),
            proof: Proof::Packed(digest, descriptor.size),
        })
    }
}

/// How a layer is packed, which its first bytes say better than what names it: not every program tells the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

/// The archive of a layer, once its digest is proven.
pub(super) fn archive<S: Store>(
    layout: &Layout<'_, S>,
    layer: &Layer,
    scratch: &mut dyn FnMut() -> io::Result<File>,
) -> Result<Archive, Error> {
    let Opened { open, len } = layout.open(&layer.path)?;
    let found = len;
    if let Proof::Packed(_, expected) = layer.proof
        && found != expected
    {
        let path = layer.path.clone();
        return Err(Error::WrongSize {
            path,
            expected,
            found,
        });
    }
    let unpack = |source| Error::Unpack {
        path: layer.path.clone(),
        source,
    };
    let blob = part(&*open, &layer.path, len).map_err(unpack)?;
    let mut packed = Hashed::new(Cursor::new(blob.clone()));
    let mut head = BufReader::with_capacity(PIECE, &mut packed);
    let packing = packing(head.fill_buf().map_err(unpack)?);
    let (archive, unpacked) = match packing {
        Packing::None => {
            drop(head);
            io::copy(&mut packed, &mut io::sink()).map_err(unpack)?;
            (blob, packed.hash.clone())
        }
        Packing::Gzip => unpacked(MultiGzDecoder::new(&mut head), layer, scratch)?,
        #[cfg(feature = "zstd")]
        Packing::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(&mut head);
            unpacked(decoder.map_err(unpack)?, layer, scratch)?
        }
        #[cfg(not(feature = "zstd"))]
        Packing::Zstd => return Err(Error::UnsupportedLayer("zstd".to_owned())),
    };
    match layer.proof {
        Proof::Packed(expected, _) => {
            // What a decoder leaves belongs to the blob as well.
            io::copy(&mut packed, &mut io::sink()).map_err(unpack)?;
            judge(&layer.path, expected, Digest::of(packed.hash))?;
        }
        Proof::Unpacked(expected) => judge(&layer.path, expected, Digest::of(unpacked))?,
    }
    open.finish()?;
    Ok(archive)
}

fn packing(head: &[u8]) -> Packing {
    match head {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        _ => Packing::None,
    }
}

/// A file of the layout by its own descriptor, so that it outlives the layout.
fn part(open: &dyn Open, path: &[u8], len: u64) -> io::Result<Archive> {
    let (file, start) = open.descriptor().ok_or(io::ErrorKind::Unsupported)?;
    let file = File::from(file.try_clone_to_owned()?);
    let file = ImageFile::new(file, &shown(path))?;
    let end = start.checked_add(len).ok_or(io::ErrorKind::UnexpectedEof)?;
    Slice::new(Arc::new(file), start..end).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Unpacks a layer to a fresh file; gives it, and the hash of what it holds.
fn unpacked(
    decoder: impl Read,
    layer: &Layer,
    scratch: &mut dyn FnMut() -> io::Result<File>,
) -> Result<(Archive, Sha256), Error> {
    let failed = |source| Error::Scratch {
        path: layer.path.clone(),
        source,
    };
    let mut file = scratch().map_err(failed)?;
    let mut decoder = Hashed::new(decoder);
    let mut piece = vec![0; PIECE];
    loop {
        match decoder.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => file.write_all(&piece[..read]).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                let path = layer.path.clone();
                return Err(Error::Unpack { path, source });
            }
        }
    }
    let file = Arc::new(ImageFile::new(file, &shown(&layer.path)).map_err(failed)?);
    let len = file.len();
    let archive = Slice::new(file, 0..len).expect("a file holds all of itself");
    Ok((archive, decoder.hash))
}

fn shown(path: &[u8]) -> std::path::PathBuf {
    Path::new(&*String::from_utf8_lossy(path)).to_path_buf()
}

/// Hashes what is read.
struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R> Hashed<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
        }
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.hash.update(&buf[..read]);
        Ok(read)
    }
}

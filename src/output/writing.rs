//! What the writers of formats share: copies in order, digested, with room looked for before.

use std::fs::File;

use image_core::copy::{Options, copy_with};
use image_core::sink::{FileSink, StreamSink};
use image_core::{Map, Sink, Store};

use super::archive::Archival;
use super::counted::{self, Counted};
use super::digest::{self, DigestingSink, Digits};
use super::{ELSEWHERE_HINT, Rules, stdout};
use crate::error::{Context, Error, Kind, Result};
use crate::room::Room;
use crate::ui;

/// What fails when any of this does.
pub(super) const TRIED: &str = "cannot write the image";

/// What is written: the disk, and where the bytes of its files come from.
#[derive(Clone, Copy)]
pub(super) struct Image<'a> {
    pub(super) map: &'a Map,
    pub(super) store: &'a dyn Store,
    /// Whether files lie packed, so that reading them is work for all threads.
    pub(super) packed: bool,
    /// What formats need that hold no disk; none where there is no tree.
    pub(super) archival: Option<&'a Archival<'a>>,
}

impl<'a> Image<'a> {
    /// What formats need that hold no disk.
    pub(super) fn archival(&self) -> Result<&'a Archival<'a>> {
        self.archival.ok_or("there is no tree").image(|| TRIED.to_owned())
    }

    /// The same files in another arrangement.
    pub(super) fn with<'b>(&self, map: &'b Map) -> Image<'b>
    where
        'a: 'b,
    {
        Image { map, ..*self }
    }
}

/// Where an output goes.
#[derive(Debug)]
pub(super) enum Target<'a> {
    /// A fresh file.
    File(&'a File),
    /// Standard output, from the first byte to the last.
    Stdout,
}

impl Target<'_> {
    /// What is written in order.
    pub(super) fn writer(&self) -> Result<File> {
        let file = match self {
            Self::File(file) => file.try_clone(),
            Self::Stdout => stdout::claimed(),
        };
        file.image(|| TRIED.to_owned())
    }
}

/// What a planner made of the disk.
pub(super) fn planned<E: std::error::Error + Send + Sync + 'static>(map: Result<Map, E>) -> Result<Map> {
    map.image(|| TRIED.to_owned())
}

/// An option that cannot be followed.
pub(super) fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::usage("--qemu-img-options").because(error)
}

/// A length that a format cannot have.
pub(super) fn too_long(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::usage("no image of that size").because(error)
}

/// Copies an image into a sink of a format's own, whose bytes can be digested only when all are there.
pub(super) fn in_order(
    image: &Image<'_>,
    rules: &Rules,
    to: &Target<'_>,
    sink: impl Sink,
) -> Result<Vec<Digits>> {
    let tried = || TRIED.to_owned();
    copy(image, sink)?;
    let Target::File(file) = to else {
        return Ok(Vec::new());
    };
    std::thread::scope(|scope| {
        let synced = scope.spawn(|| file.sync_all());
        let digits = digest::of_file(file, rules.checksums).image(tried)?;
        synced
            .join()
            .map_err(|_| "the sync has died")
            .image(tried)?
            .image(tried)?;
        Ok(digits)
    })
}

/// Writes an image whose bytes are all known before, from the first to the last, and digests it on the way.
pub(super) fn ascending(image: &Image<'_>, rules: &Rules, to: &Target<'_>) -> Result<Vec<Digits>> {
    let tried = || TRIED.to_owned();
    let Target::File(_) = to else {
        copy(image, StreamSink(to.writer()?))?;
        return Ok(Vec::new());
    };
    let sink = FileSink::new(to.writer()?);
    // What is shared with the tree takes no room.
    if !sink.may_share().image(tried)? {
        require_room(image.map, sink.file())?;
    }
    let sink = DigestingSink::new(sink, rules.checksums).image(tried)?;
    copy(image, sink)?.into_digests().image(tried)
}

/// Copies an image, telling how far it is.
pub(super) fn copy<S: Sink>(image: &Image<'_>, sink: S) -> Result<S> {
    let mut sink = Counted::new(sink, counted::EVERY, ui::written);
    let options = Options {
        packed: image.packed,
        ..Options::default()
    };
    copy_with(image.map, &image.store, &mut sink, options).image(|| TRIED.to_owned())?;
    Ok(sink.into_inner())
}

/// Refuses to begin what cannot end.
fn require_room(map: &Map, file: &File) -> Result<()> {
    let room = Room::of(file).image(|| "cannot tell how much room there is".to_owned())?;
    let needed = data_bytes(map);
    if needed <= room.free {
        return Ok(());
    }
    let message = format!("no room: the image needs {needed} bytes, {} are free", room.free);
    Err(Error::new(Kind::Image, message).hint(ELSEWHERE_HINT))
}

/// The bytes of the blocks that hold something.
fn data_bytes(map: &Map) -> u64 {
    const BLOCK: u64 = 4096;
    let (mut bytes, mut done) = (0_u64, 0);
    for extent in map.extents() {
        let start = (extent.start - extent.start % BLOCK).max(done);
        let end = extent.end().next_multiple_of(BLOCK).max(start);
        bytes += end - start;
        done = end;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_hold_something_count_once() {
        let mut map = Map::builder(1 << 20);
        map.bytes(10, vec![1; 10], "in the first block");
        map.bytes(100, vec![1; 4096], "into the second");
        map.bytes(8192, vec![1; 1], "the third");
        map.bytes(100_000, vec![1; 1], "another");
        assert_eq!(data_bytes(&map.build().unwrap()), 4 * 4096);
    }
}

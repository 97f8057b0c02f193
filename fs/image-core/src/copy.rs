//! The one loop that moves the bytes of an image, from a store to a sink, as a map says.

use crate::map::{Map, Piece, Source};
use crate::sink::Sink;
use crate::store::{self, FileId, Open, Store};

/// Bytes moved at a time: half of a common L2 cache, so that what was read is still there to be written.
const CHUNK: usize = 64 * 1024;

/// Why an image could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, or changed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The sink refused.
    #[error("cannot write the {what} at byte {at}")]
    Sink {
        /// What was being written.
        what: &'static str,
        /// Where in the image.
        at: u64,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Copies an image: every byte of `map`, in ascending order, once.
pub fn copy(map: &Map, store: &impl Store, sink: &mut impl Sink) -> Result<(), Error> {
    let mut buf = vec![0; CHUNK];
    let mut opened: Option<(FileId, Box<dyn Open + '_>)> = None;
    for piece in map.pieces() {
        let extent = match piece {
            Piece::Hole(range) => {
                let at = range.start;
                sink.hole(range).map_err(|source| Error::Sink {
                    what: "hole",
                    at,
                    source,
                })?;
                continue;
            }
            Piece::Extent(extent) => extent,
        };
        let failed = |at| {
            move |source| Error::Sink {
                what: extent.what,
                at,
                source,
            }
        };
        if let Some(bytes) = extent.bytes() {
            sink.data(extent.start, bytes).map_err(failed(extent.start))?;
            continue;
        }
        let mut done = 0;
        while done < extent.len {
            let rest = extent.len.saturating_sub(done);
            let len = usize::try_from(rest).unwrap_or(CHUNK).min(CHUNK);
            let chunk = &mut buf[..len];
            match extent.source.advance(done) {
                Source::Bytes { .. } => {}
                Source::Rendered { table, offset } => map.table(table).render(offset, chunk),
                Source::File { file, offset } => {
                    if opened.as_ref().is_none_or(|(id, _)| *id != file) {
                        if let Some((_, open)) = opened.take() {
                            open.finish()?;
                        }
                        opened = Some((file, store.open(file)?));
                    }
                    if let Some((_, open)) = &opened {
                        open.read_exact_at(chunk, offset)?;
                    }
                }
            }
            let at = extent.start.saturating_add(done);
            sink.data(at, chunk).map_err(failed(at))?;
            done = done.saturating_add(u64::try_from(len).unwrap_or(rest));
        }
    }
    if let Some((_, open)) = opened {
        open.finish()?;
    }
    sink.finish(map.len()).map_err(|source| Error::Sink {
        what: "end",
        at: map.len(),
        source,
    })
}

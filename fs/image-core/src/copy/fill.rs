//! Filling a segment: reading, rendering, zeroing.

use super::desk::Claim;
use super::segment::Segment;
use crate::map::{Extent, Map, Source};
use crate::store::{Error, FileId, Open, Store};

/// Fills the segments of one thread.
pub(super) struct Reader<'a, S> {
    map: &'a Map,
    store: &'a S,
    /// The file read last: a long one fills many segments.
    open: Option<(FileId, Box<dyn Open + 'a>)>,
}

impl<'a, S: Store> Reader<'a, S> {
    pub(super) fn new(map: &'a Map, store: &'a S) -> Self {
        Self {
            map,
            store,
            open: None,
        }
    }

    /// Gets ready whatever the sink will be given.
    pub(super) fn fill(&mut self, claim: &mut Claim<'a>) -> Result<(), Error> {
        match &claim.segment {
            Segment::Hole(_) => {}
            Segment::File(run) => claim.open = Some(self.store.open(run.file)?),
            Segment::Bytes { range, extents } => {
                let len = length(range.start, range.end);
                claim.buf.resize(len, 0);
                let mut done = 0;
                for extent in *extents {
                    let start = extent.start.max(range.start);
                    let from = length(range.start, start);
                    let to = length(range.start, extent.end().min(range.end));
                    claim.buf[done..from].fill(0);
                    let skip = start.saturating_sub(extent.start);
                    self.extent(extent, skip, &mut claim.buf[from..to])?;
                    done = to;
                }
            }
        }
        Ok(())
    }

    /// Fills `buf` with an extent's bytes from its byte `skip` on.
    fn extent(&mut self, extent: &Extent, skip: u64, buf: &mut [u8]) -> Result<(), Error> {
        match extent.source.advance(skip) {
            Source::Bytes { bytes, offset } => {
                let end = offset.saturating_add(buf.len());
                buf.copy_from_slice(&bytes[offset..end]);
                Ok(())
            }
            Source::Rendered { table, offset } => {
                self.map.table(table).render(offset, buf);
                Ok(())
            }
            Source::File { file, offset } => self.file(file)?.read_exact_at(buf, offset),
        }
    }

    fn file(&mut self, file: FileId) -> Result<&dyn Open, Error> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != file) {
            self.finish()?;
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => (file, self.store.open(file)?),
        };
        Ok(&*self.open.insert(open).1)
    }

    /// Checks the file read last once more.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.open.take().map_or(Ok(()), |(_, open)| open.finish())
    }
}

/// Bytes between two places of one segment.
fn length(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).expect("a segment fits a buffer")
}

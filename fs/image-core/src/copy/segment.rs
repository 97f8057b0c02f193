//! Cutting a map into the segments that the threads claim.

use std::ops::Range;

use crate::map::{Extent, Map, Source};
use crate::store::FileId;

/// Bytes of a segment, at most: half a megabyte, which a processor's own caches hold until it is written again. With
/// less, waiting for turns costs; with more, memory does.
pub(super) const SEGMENT: u64 = 512 * 1024;

/// The shortest run of a file that is worth an offer to the sink.
const OFFER: u64 = 64 * 1024;

/// The longest that is offered at once. One thread reads what the sink refuses, while the others wait: that must not be
/// all of a large disk, which is one run. To a sink that shares blocks, more offers cost nothing that could be measured.
const OFFER_MAX: u64 = 4 * 1024 * 1024;

/// Gaps shorter than this are filled with zeros rather than left out: no file system has a hole there.
const BLOCK: u64 = 4096;

/// A stretch of the image that one thread takes at a time.
#[derive(Clone, Debug)]
pub(super) enum Segment<'a> {
    /// Bytes that are zero, however many.
    Hole(Range<u64>),
    /// A long run of a file: at most [`OFFER_MAX`] bytes, in whole blocks.
    File(Run),
    /// At most [`SEGMENT`] bytes, in order, with gaps of less than a block.
    Bytes {
        range: Range<u64>,
        /// The first may begin before the range, the last may end after it.
        extents: &'a [Extent],
    },
}

/// A run of a file, and where in the image it belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) file: FileId,
    pub(super) offset: u64,
    pub(super) what: &'static str,
}

/// Cuts a map, in ascending order. The segments tile it.
#[derive(Debug)]
pub(super) struct Segments<'a> {
    map: &'a Map,
    /// The first extent that is not cut off wholly.
    next: usize,
    /// The first byte that is not cut off.
    at: u64,
}

impl<'a> Segments<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        Self { map, next: 0, at: 0 }
    }

    /// Cuts the next segment off; `offer` says whether the sink may take long runs of files.
    pub(super) fn next(&mut self, offer: bool) -> Option<Segment<'a>> {
        let end = self
            .map
            .extents()
            .get(self.next)
            .map_or(self.map.len(), |e| e.start);
        if self.at < end {
            let hole = self.at..end;
            self.at = end;
            return Some(Segment::Hole(hole));
        }
        let extent = self.map.extents().get(self.next)?;
        if let (true, Source::File { file, offset }) = (self.is_offered(extent, offer), &extent.source) {
            let start = self.at;
            let done = start.saturating_sub(extent.start);
            let rest = extent.len.saturating_sub(done);
            let len = rest.saturating_sub(rest % BLOCK).min(OFFER_MAX);
            self.at = start.saturating_add(len);
            if len == rest {
                self.next = self.next.saturating_add(1);
            }
            return Some(Segment::File(Run {
                start,
                len,
                file: *file,
                offset: offset.saturating_add(done),
                what: extent.what,
            }));
        }
        Some(self.bytes(offer))
    }

    fn is_offered(&self, extent: &Extent, offer: bool) -> bool {
        let rest = extent.end().saturating_sub(self.at.max(extent.start));
        offer && rest >= OFFER && matches!(extent.source, Source::File { .. })
    }

    /// Cuts as many extents as fit, up to the next multiple of [`SEGMENT`]: so a segment meets the borders of whatever
    /// the image is cut into next, be it blocks, clusters or chunks of a compressor.
    fn bytes(&mut self, offer: bool) -> Segment<'a> {
        let limit = self.at.saturating_add(1).checked_next_multiple_of(SEGMENT);
        let limit = limit.unwrap_or(u64::MAX);
        let extents = self.map.extents();
        let (first, start) = (self.next, self.at);
        let mut last = first;
        while let Some(extent) = extents.get(self.next) {
            let gap = extent.start.saturating_sub(self.at);
            let is_first = self.next == first;
            if !is_first && (gap >= BLOCK || extent.start >= limit || self.is_offered(extent, offer)) {
                break;
            }
            last = self.next.saturating_add(1);
            self.at = extent.end().min(limit);
            if extent.end() > limit {
                break;
            }
            self.next = last;
        }
        Segment::Bytes {
            range: start..self.at,
            extents: &extents[first..last],
        }
    }
}

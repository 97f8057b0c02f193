//! An image as a map of extents: the value that planners return and [`copy`](mod@crate::copy) moves.
//!
//! Invariants of a [`Map`], checked once, in [`Builder::build`]:
//! - every extent is non-empty and lies inside `0..len`;
//! - `extent[i].end() <= extent[i + 1].start`: sorted and disjoint;
//! - extents are maximal: neighbours of one name whose sources continue each other are one extent, so that
//!   one layout has one form;
//! - what no extent covers is zero. There is no zero source: a gap says it.
//!
//! Why a value: overlap and cover are checked in one place; planners need no disk, root or clock; printing a map
//! *is* the layout document, the snapshot of a test and the bug report.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::store::FileId;

/// An immutable image: `len` bytes, zero except where an extent says otherwise.
#[derive(Clone)]
pub struct Map {
    len: u64,
    extents: Arc<[Extent]>,
    tables: Arc<[Arc<dyn Table>]>,
}

/// A run of bytes of the image that come from one source.
#[derive(Clone, Debug)]
pub struct Extent {
    /// First byte of the image that the extent covers.
    pub start: u64,
    /// Bytes covered, never 0.
    pub len: u64,
    /// Where the bytes come from.
    pub source: Source,
    /// What the bytes are, in the words of the format's specification: `"inode table"`.
    pub what: &'static str,
}

/// Where an extent's bytes come from.
#[derive(Clone)]
pub enum Source {
    /// Bytes in memory, from `offset` of a shared buffer on.
    Bytes {
        /// The buffer; several extents may share it.
        bytes: Arc<[u8]>,
        /// Where in the buffer the extent begins.
        offset: usize,
    },
    /// Bytes that a [`Table`] of the map renders when they are copied.
    Rendered {
        /// Which table.
        table: TableId,
        /// Where in the table the extent begins, in bytes.
        offset: u64,
    },
    /// Bytes of a file of the [`Store`](crate::Store).
    File {
        /// Which file.
        file: FileId,
        /// Where in the file the extent begins, in bytes.
        offset: u64,
    },
}

/// A table of a [`Map`], by its place in [`Map::table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(u32);

/// Metadata rendered in pieces, from compact records, when the image is copied.
///
/// Inode tables and directory blocks are large and mostly redundant; rendering them late keeps the memory of a plan
/// proportional to the number of entries, not to the bytes of metadata.
pub trait Table: Send + Sync {
    /// Bytes in the table.
    fn len(&self) -> u64;

    /// Whether the table holds no byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buf` with the table's bytes from `offset` on; `offset + buf.len()` never passes [`Table::len`].
    ///
    /// A pure function of `offset`: rendering a table in other pieces gives the same bytes.
    fn render(&self, offset: u64, buf: &mut [u8]);
}

/// A stretch of an image, as [`Map::pieces`] tiles it.
#[derive(Clone, Debug)]
pub enum Piece<'a> {
    /// Bytes that are zero.
    Hole(Range<u64>),
    /// Bytes that an extent describes.
    Extent(&'a Extent),
}

/// Why extents do not make a map. Each is a planner's mistake, never a user's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Two extents cover the same byte.
    #[error("{second} at byte {at} overlaps {first}, which ends at byte {first_end}")]
    Overlap {
        /// The extent that comes first.
        first: &'static str,
        /// The byte after its last.
        first_end: u64,
        /// The extent that begins inside the first.
        second: &'static str,
        /// Its first byte.
        at: u64,
    },
    /// An extent, or the range of a slice, passes the end of the image.
    #[error("{what} of {len} bytes at byte {start} passes the end of the image at byte {image_len}")]
    OutOfBounds {
        /// What passes the end.
        what: &'static str,
        /// Its first byte.
        start: u64,
        /// Its bytes.
        len: u64,
        /// Bytes in the image.
        image_len: u64,
    },
}

impl Extent {
    /// The byte after the extent's last.
    pub fn end(&self) -> u64 {
        self.start
            .checked_add(self.len)
            .expect("an extent lies inside its map, whose length is a u64")
    }

    /// The bytes of the image that the extent covers.
    pub fn range(&self) -> Range<u64> {
        self.start..self.end()
    }

    /// The bytes of an extent that lies in memory.
    pub fn bytes(&self) -> Option<&[u8]> {
        let Source::Bytes { bytes, offset } = &self.source else {
            return None;
        };
        let len = usize::try_from(self.len).ok()?;
        bytes.get(*offset..offset.checked_add(len)?)
    }

    /// The part of the extent inside `range`, if any.
    fn clip(&self, range: &Range<u64>) -> Option<Extent> {
        let start = self.start.max(range.start);
        let end = self.end().min(range.end);
        let len = end.checked_sub(start).filter(|len| *len > 0)?;
        let skip = start.checked_sub(self.start)?;
        Some(Extent {
            start,
            len,
            source: self.source.advance(skip),
            what: self.what,
        })
    }

    /// Whether `next` begins where this extent ends, on disk and in its source.
    fn continues_into(&self, next: &Extent) -> bool {
        self.end() == next.start && self.what == next.what && self.source.advance(self.len) == next.source
    }
}

impl Source {
    /// The same source, `by` bytes further on.
    #[must_use]
    pub fn advance(&self, by: u64) -> Source {
        const INSIDE: &str = "an extent lies inside its source";
        match self {
            Source::Bytes { bytes, offset } => {
                let by = usize::try_from(by).expect(INSIDE);
                Source::Bytes {
                    bytes: Arc::clone(bytes),
                    offset: offset.checked_add(by).expect(INSIDE),
                }
            }
            Source::Rendered { table, offset } => Source::Rendered {
                table: *table,
                offset: offset.checked_add(by).expect(INSIDE),
            },
            Source::File { file, offset } => Source::File {
                file: *file,
                offset: offset.checked_add(by).expect(INSIDE),
            },
        }
    }
}

impl PartialEq for Source {
    /// The same buffer counts, not equal bytes: this is what makes neighbours one extent.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Source::Bytes { bytes: a, offset: i }, Source::Bytes { bytes: b, offset: j }) => {
                Arc::ptr_eq(a, b) && i == j
            }
            (Source::Rendered { table: a, offset: i }, Source::Rendered { table: b, offset: j }) => {
                a == b && i == j
            }
            (Source::File { file: a, offset: i }, Source::File { file: b, offset: j }) => a == b && i == j,
            _ => false,
        }
    }
}

impl Map {
    /// Starts a map of `len` bytes.
    pub fn builder(len: u64) -> Builder {
        Builder {
            len,
            extents: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// Bytes in the image.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the image has no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The extents, in ascending order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The table that a [`Source::Rendered`] of this map names.
    pub fn table(&self, id: TableId) -> &Arc<dyn Table> {
        usize::try_from(id.0)
            .ok()
            .and_then(|i| self.tables.get(i))
            .expect("a table id comes from the map that it is used with")
    }

    /// Bytes that extents cover: what a sparse file of the image needs at least.
    pub fn data_len(&self) -> u64 {
        self.extents
            .iter()
            .fold(0, |sum, extent| sum.saturating_add(extent.len))
    }

    /// This image with `other` laid into it at byte `at`. The bytes that `other`'s extents cover must be a gap here.
    pub fn place(&self, at: u64, other: &Map) -> Result<Map, MapError> {
        let mut builder = Map::builder(self.len);
        builder.map(0, self)?;
        builder.map(at, other)?;
        builder.build()
    }

    /// The bytes of `range` as an image of their own.
    pub fn slice(&self, range: Range<u64>) -> Result<Map, MapError> {
        let len = range.end.saturating_sub(range.start);
        if range.start > range.end || range.end > self.len {
            return Err(MapError::OutOfBounds {
                what: "slice",
                start: range.start,
                len,
                image_len: self.len,
            });
        }
        let first = self.extents.partition_point(|extent| extent.end() <= range.start);
        let extents = self.extents[first..]
            .iter()
            .map_while(|extent| extent.clip(&range))
            .map(|extent| Extent {
                start: extent.start.saturating_sub(range.start),
                ..extent
            })
            .collect();
        Ok(Map {
            len,
            extents,
            tables: Arc::clone(&self.tables),
        })
    }

    /// Extents and the holes between them, in ascending order, tiling `0..len` exactly.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let hole = |range: Range<u64>| (!range.is_empty()).then_some(Piece::Hole(range));
        let ends = std::iter::once(0).chain(self.extents.iter().map(Extent::end));
        let last = self.extents.last().map_or(0, Extent::end);
        self.extents
            .iter()
            .zip(ends)
            .flat_map(move |(extent, end)| hole(end..extent.start).into_iter().chain([Piece::Extent(extent)]))
            .chain(hole(last..self.len))
    }
}

impl PartialEq for Map {
    /// The same layout of the same sources; buffers in memory compare by their bytes, tables by identity.
    fn eq(&self, other: &Self) -> bool {
        let same_source = |a: &Extent, b: &Extent| match (&a.source, &b.source) {
            (Source::Bytes { .. }, Source::Bytes { .. }) => a.bytes() == b.bytes(),
            (Source::Rendered { table: t, offset: i }, Source::Rendered { table: u, offset: j }) => {
                i == j && Arc::ptr_eq(self.table(*t), other.table(*u))
            }
            (a, b) => a == b,
        };
        self.len == other.len
            && self.extents.len() == other.extents.len()
            && self
                .extents
                .iter()
                .zip(other.extents.iter())
                .all(|(a, b)| a.range() == b.range() && a.what == b.what && same_source(a, b))
    }
}

/// One line an extent: where, how much, what, from where.
impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for extent in self.extents.iter() {
            writeln!(f, "{extent}")?;
        }
        writeln!(f, "{:>14} end", self.len)
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map:\n{self}")
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>14} +{:<12} {:<28} {:?}",
            self.start, self.len, self.what, self.source
        )
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Bytes { .. } => write!(f, "bytes"),
            Source::Rendered { table, offset } => write!(f, "table {}+{offset}", table.0),
            Source::File { file, offset } => write!(f, "file {}+{offset}", file.0),
        }
    }
}

/// Collects extents in any order; [`Builder::build`] sorts, checks and merges them.
#[derive(Clone)]
pub struct Builder {
    len: u64,
    extents: Vec<Extent>,
    tables: Vec<Arc<dyn Table>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("len", &self.len)
            .field("extents", &self.extents)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Makes room for `extents` more extents.
    pub fn reserve(&mut self, extents: usize) {
        self.extents.reserve(extents);
    }

    /// Lays a whole buffer at byte `at`. An empty one adds nothing.
    pub fn bytes(&mut self, at: u64, bytes: impl Into<Arc<[u8]>>, what: &'static str) {
        let bytes = bytes.into();
        let len = u64::try_from(bytes.len()).expect("a buffer's length is a u64");
        self.extent(Extent {
            start: at,
            len,
            source: Source::Bytes { bytes, offset: 0 },
            what,
        });
    }

    /// Adds a table, so that [`Builder::rendered`] can lay out parts of it.
    pub fn table(&mut self, table: Arc<dyn Table>) -> TableId {
        let known = self.tables.iter().position(|known| Arc::ptr_eq(known, &table));
        let index = known.unwrap_or_else(|| {
            self.tables.push(table);
            self.tables.len().saturating_sub(1)
        });
        TableId(u32::try_from(index).expect("a plan has fewer than 2^32 tables"))
    }

    /// Lays `range` of a table at byte `at`.
    pub fn rendered(&mut self, at: u64, table: TableId, range: Range<u64>, what: &'static str) {
        let len = range.end.saturating_sub(range.start);
        self.extent(Extent {
            start: at,
            len,
            source: Source::Rendered {
                table,
                offset: range.start,
            },
            what,
        });
    }

    /// Lays `len` bytes of a file, from its byte `offset` on, at byte `at`.
    pub fn file(&mut self, at: u64, file: FileId, offset: u64, len: u64, what: &'static str) {
        self.extent(Extent {
            start: at,
            len,
            source: Source::File { file, offset },
            what,
        });
    }

    /// Lays a whole map at byte `at`.
    pub fn map(&mut self, at: u64, map: &Map) -> Result<(), MapError> {
        let out_of_bounds = MapError::OutOfBounds {
            what: "placed image",
            start: at,
            len: map.len,
            image_len: self.len,
        };
        if at.checked_add(map.len).is_none_or(|end| end > self.len) {
            return Err(out_of_bounds);
        }
        let ids: Vec<TableId> = map
            .tables
            .iter()
            .map(|table| self.table(Arc::clone(table)))
            .collect();
        self.extents.extend(map.extents.iter().map(|extent| {
            let source = match &extent.source {
                Source::Rendered { table, offset } => {
                    let id = usize::try_from(table.0).ok().and_then(|i| ids.get(i));
                    Source::Rendered {
                        table: *id.expect("a map's extents name its own tables"),
                        offset: *offset,
                    }
                }
                other => other.clone(),
            };
            Extent {
                start: extent.start.saturating_add(at),
                source,
                ..*extent
            }
        }));
        Ok(())
    }

    /// Adds one extent; an empty one adds nothing.
    pub fn extent(&mut self, extent: Extent) {
        if extent.len > 0 {
            self.extents.push(extent);
        }
    }

    /// Sorts the extents, checks that they lie inside the image and apart, and merges neighbours.
    pub fn build(mut self) -> Result<Map, MapError> {
        // Planners mostly go upwards: a stable sort is linear on sorted runs.
        self.extents.sort_by_key(|extent| extent.start);
        let mut merged: Vec<Extent> = Vec::with_capacity(self.extents.len());
        for extent in self.extents {
            if extent
                .start
                .checked_add(extent.len)
                .is_none_or(|end| end > self.len)
            {
                let Extent { what, start, len, .. } = extent;
                return Err(MapError::OutOfBounds {
                    what,
                    start,
                    len,
                    image_len: self.len,
                });
            }
            match merged.last_mut() {
                Some(last) if last.end() > extent.start => {
                    let (first, first_end) = (last.what, last.end());
                    return Err(MapError::Overlap {
                        first,
                        first_end,
                        second: extent.what,
                        at: extent.start,
                    });
                }
                Some(last) if last.continues_into(&extent) => last.len = last.len.saturating_add(extent.len),
                _ => merged.push(extent),
            }
        }
        Ok(Map {
            len: self.len,
            extents: merged.into(),
            tables: self.tables.into(),
        })
    }
}

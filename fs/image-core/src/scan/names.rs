//! Names of one directory, in one piece of memory.

use std::ffi::CStr;
use std::ops::Range;

/// Names inspected at a time: enough to pay for the queue, few enough that a large directory is shared out.
const BATCH: usize = 512;

/// Names, each ended by NUL, one after the other.
#[derive(Default)]
pub(super) struct Names {
    pub(super) text: Vec<u8>,
    /// Each name in `text`, with its NUL.
    pub(super) names: Vec<Range<u32>>,
}

impl Names {
    pub(super) fn push(&mut self, name: &CStr) {
        let start = short(self.text.len());
        self.text.extend_from_slice(name.to_bytes_with_nul());
        self.names.push(start..short(self.text.len()));
    }

    /// Sorts the names by their bytes.
    pub(super) fn sort(&mut self) {
        let Names { text, names } = self;
        names.sort_unstable_by(|a, b| text[long(a)].cmp(&text[long(b)]));
    }

    /// The names in runs of [`BATCH`] at most, each with a text of its own.
    pub(super) fn runs(&self) -> impl Iterator<Item = Names> + '_ {
        self.names.chunks(BATCH).map(|chunk| {
            let mut run = Names::default();
            run.names.reserve_exact(chunk.len());
            for range in chunk {
                let start = short(run.text.len());
                run.text.extend_from_slice(&self.text[long(range)]);
                run.names.push(start..short(run.text.len()));
            }
            run
        })
    }
}

/// A count of bytes or sets, as the records hold it.
pub(super) fn short(i: usize) -> u32 {
    u32::try_from(i).expect("a directory's names and a tree's sets of xattrs stay below 4 GiB")
}

/// A range of a record, as slices want it.
pub(super) fn long(range: &Range<u32>) -> Range<usize> {
    let index = |i| usize::try_from(i).expect("a u32 fits usize on every target that builds images");
    index(range.start)..index(range.end)
}

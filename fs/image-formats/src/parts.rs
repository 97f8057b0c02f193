//! Whether the parts of a container lie in its file, and apart from each other.

use std::ops::Range;

/// Faults that are told.
pub const FAULTS_MAX: usize = 1000;

/// Something that is wrong in a container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A part lies past the end of the file.
    #[error("{what} at byte {at} lies past the end of the file")]
    Outside {
        /// Which.
        what: &'static str,
        /// Where it begins.
        at: u64,
    },
    /// A part lies over another.
    #[error("{what} at byte {at} lies over {other} at byte {other_at}")]
    Over {
        /// Which.
        what: &'static str,
        /// Where it begins.
        at: u64,
        /// Over which.
        other: &'static str,
        /// Where that begins.
        other_at: u64,
    },
    /// What must be the same is not.
    #[error("{one} and {other} differ")]
    Differ {
        /// Of what.
        one: &'static str,
        /// And what.
        other: &'static str,
    },
    /// A checksum is wrong.
    #[error("{0} has a wrong checksum")]
    Checksum(&'static str),
    /// A number is wrong.
    #[error("{what} is {says}, and must be {is}")]
    Number {
        /// Which.
        what: &'static str,
        /// What is written.
        says: u64,
        /// What it must be.
        is: u64,
    },
    /// A compressed part is not what its table says.
    #[error("the grain at byte {at} is not the one that its table says, or is damaged")]
    Grain {
        /// Where it begins.
        at: u64,
    },
    /// There are more.
    #[error("there are more faults than {FAULTS_MAX}")]
    More,
}

/// Blocks of one size, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    /// Where the first one begins, in units.
    at: u32,
    /// Units in each.
    each: u32,
    /// How many there are.
    blocks: u32,
}

/// The parts of a container, while they are found. A run of blocks takes 12 bytes.
#[derive(Debug)]
pub(crate) struct Parts {
    /// Bytes in the file.
    len: u64,
    /// What blocks are called.
    what: &'static str,
    /// Where places of blocks count from.
    base: u64,
    /// Bytes of what they count.
    unit: u64,
    areas: Vec<(Range<u64>, &'static str)>,
    runs: Vec<Run>,
    blocks: u64,
    faults: Vec<Fault>,
}

impl Parts {
    /// A file of so many bytes, whose blocks, which are called so, lie at multiples of a unit from a place on.
    pub(crate) fn new(len: u64, what: &'static str, base: u64, unit: u64) -> Self {
        Self {
            len,
            what,
            base,
            unit,
            areas: Vec::new(),
            runs: Vec::new(),
            blocks: 0,
            faults: Vec::new(),
        }
    }

    /// Adds a part that is no block.
    pub(crate) fn area(&mut self, what: &'static str, range: Range<u64>) {
        if range.end > self.len {
            let at = range.start;
            self.fault(Fault::Outside { what, at });
        }
        if !range.is_empty() {
            self.areas.push((range, what));
        }
    }

    /// Adds a block.
    pub(crate) fn block(&mut self, at: u32, units: u32) {
        let run = Run {
            at,
            each: units,
            blocks: 1,
        };
        let range = self.range(run);
        if range.end > self.len {
            let (what, at) = (self.what, range.start);
            self.fault(Fault::Outside { what, at });
        }
        self.blocks = self.blocks.saturating_add(1);
        let end = |run: Run| run.each.checked_mul(run.blocks)?.checked_add(run.at);
        match self.runs.last_mut() {
            Some(last) if last.each == units && end(*last) == Some(at) => {
                last.blocks = last.blocks.saturating_add(1);
            }
            _ => self.runs.push(run),
        }
    }

    /// Blocks so far.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Runs of blocks so far.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        match self.faults.len() {
            FAULTS_MAX => self.faults.push(Fault::More),
            told if told > FAULTS_MAX => {}
            _ => self.faults.push(fault),
        }
    }

    fn bytes(&self, units: u32) -> u64 {
        u64::from(units).saturating_mul(self.unit)
    }

    fn range(&self, run: Run) -> Range<u64> {
        let start = self.base.saturating_add(self.bytes(run.at));
        let len = self.bytes(run.each).saturating_mul(run.blocks.into());
        start..start.saturating_add(len)
    }

    /// The block of a run in which a byte lies, or the nearest one.
    fn block_at(&self, run: Run, at: u64) -> Range<u64> {
        let (start, each) = (self.range(run).start, self.bytes(run.each));
        let before = at.saturating_sub(start).checked_div(each).unwrap_or(0);
        let before = before.min(run.blocks.saturating_sub(1).into());
        let start = start.saturating_add(before.saturating_mul(each));
        start..start.saturating_add(each)
    }

    /// All that is wrong.
    pub(crate) fn finish(mut self) -> Vec<Fault> {
        let mut runs = std::mem::take(&mut self.runs);
        runs.sort_unstable();
        let mut areas = std::mem::take(&mut self.areas);
        areas.sort_by_key(|(area, _)| area.start);
        let what = self.what;
        for pair in runs.windows(2) {
            let two = self.range(pair[1]);
            let one = self.block_at(pair[0], two.start);
            self.apart((&one, what), (&two, what));
        }
        for pair in areas.windows(2) {
            let ((one, what), (two, other)) = (&pair[0], &pair[1]);
            self.apart((one, what), (two, other));
        }
        for (area, name) in &areas {
            // The first run that ends behind the start of the area.
            let first = runs.partition_point(|run| self.range(*run).end <= area.start);
            let there = runs.get(first).map(|run| self.block_at(*run, area.start));
            if let Some(block) = there.filter(|block| block.start < area.end) {
                self.over((area, name), (&block, what));
            }
        }
        self.faults
    }

    /// Two parts, of which the second begins no earlier than the first.
    fn apart(&mut self, one: (&Range<u64>, &'static str), two: (&Range<u64>, &'static str)) {
        if two.0.start < one.0.end {
            self.over(one, two);
        }
    }

    fn over(&mut self, one: (&Range<u64>, &'static str), two: (&Range<u64>, &'static str)) {
        self.fault(Fault::Over {
            what: two.1,
            at: two.0.start,
            other: one.1,
            other_at: one.0.start,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with blocks of two units of 512 bytes at these places, behind a header of a unit.
    fn faults(places: &[u32]) -> Vec<String> {
        let mut parts = Parts::new(1 << 20, "the block", 0, 512);
        parts.area("the header", 0..512);
        for at in places {
            parts.block(*at, 2);
        }
        assert_eq!(parts.blocks(), u64::try_from(places.len()).unwrap());
        parts.finish().iter().map(Fault::to_string).collect()
    }

    #[test]
    fn blocks_in_a_row_are_one_run_and_told_one_by_one() {
        let mut parts = Parts::new(1 << 20, "the block", 0, 512);
        for at in [9, 11, 13, 1, 3, 20] {
            parts.block(at, 2);
        }
        assert_eq!((parts.runs(), parts.blocks()), (3, 6));
        assert_eq!(parts.finish(), []);
        assert_eq!(
            faults(&[1, 3, 5, 7, 6]),
            ["the block at byte 3072 lies over the block at byte 2560"]
        );
        assert_eq!(
            faults(&[3, 5, 0]),
            ["the block at byte 0 lies over the header at byte 0"]
        );
        assert_eq!(
            faults(&[2044, 2046, 2048]),
            ["the block at byte 1048576 lies past the end of the file"]
        );
        assert_eq!(faults(&[u32::MAX, u32::MAX - 2]).len(), 2);
    }
}

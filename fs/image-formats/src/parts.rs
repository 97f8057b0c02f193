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

/// The parts of a container, while they are found. Blocks take 8 bytes each.
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
    /// Where blocks begin, and how many units they have.
    blocks: Vec<(u32, u32)>,
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
            blocks: Vec::new(),
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
        let range = self.range((at, units));
        if range.end > self.len {
            let (what, at) = (self.what, range.start);
            self.fault(Fault::Outside { what, at });
        }
        self.blocks.push((at, units));
    }

    /// Blocks so far.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        match self.faults.len() {
            FAULTS_MAX => self.faults.push(Fault::More),
            told if told > FAULTS_MAX => {}
            _ => self.faults.push(fault),
        }
    }

    fn range(&self, (at, units): (u32, u32)) -> Range<u64> {
        let bytes = |count: u32| u64::from(count).saturating_mul(self.unit);
        let start = self.base.saturating_add(bytes(at));
        start..start.saturating_add(bytes(units))
    }

    /// All that is wrong.
    pub(crate) fn finish(mut self) -> Vec<Fault> {
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.sort_unstable();
        let mut areas = std::mem::take(&mut self.areas);
        areas.sort_by_key(|(area, _)| area.start);
        let what = self.what;
        for pair in blocks.windows(2) {
            let (one, two) = (self.range(pair[0]), self.range(pair[1]));
            self.apart((&one, what), (&two, what));
        }
        for pair in areas.windows(2) {
            let ((one, what), (two, other)) = (&pair[0], &pair[1]);
            self.apart((one, what), (two, other));
        }
        for (area, name) in &areas {
            // The first block that ends behind the start of the area.
            let first = blocks.partition_point(|block| self.range(*block).end <= area.start);
            let there = blocks.get(first).map(|block| self.range(*block));
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

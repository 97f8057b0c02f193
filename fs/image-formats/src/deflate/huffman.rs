//! Canonical prefix codes of limited length.
//!
//! Lengths are those of Huffman's code; where one is too long, leaves are moved up to the limit, and as many others down
//! as that takes. The code is always complete: there are two words at least, though they be never used, since not every
//! decoder takes fewer.

use super::{index, low_byte};

/// The most symbols of an alphabet.
const SYMBOLS: usize = 288;

/// Bits of a key below the frequency: the symbol.
const SYMBOL_BITS: u32 = 9;

/// The longest word of any code.
const LONGEST: usize = 15;

/// What a code is made of, kept for the next.
#[derive(Debug)]
pub(super) struct Maker {
    /// Frequencies and symbols, ascending.
    leaves: Vec<u32>,
    /// What each inner node weighs, and then how deep it lies.
    weights: [u32; SYMBOLS],
    /// The inner nodes above leaves and above inner nodes.
    leaf_parents: [u16; SYMBOLS],
    parents: [u16; SYMBOLS],
}

impl Maker {
    pub(super) fn new() -> Self {
        Self {
            leaves: Vec::with_capacity(SYMBOLS),
            weights: [0; SYMBOLS],
            leaf_parents: [0; SYMBOLS],
            parents: [0; SYMBOLS],
        }
    }

    /// How long the words are, for these frequencies, none of which may be above 2^23.
    pub(super) fn lengths(&mut self, frequencies: &[u32], limit: usize, lengths: &mut [u8]) {
        lengths.fill(0);
        self.leaves.clear();
        for (frequency, symbol) in frequencies.iter().zip(0_u32..) {
            if *frequency > 0 {
                self.leaves.push(frequency.wrapping_shl(SYMBOL_BITS) | symbol);
            }
        }
        self.leaves.sort_unstable();
        if self.leaves.len() < 2 {
            let used = self.leaves.first().map_or(0, |leaf| symbol(*leaf));
            let other = usize::from(used == 0);
            for symbol in [used, other] {
                lengths[symbol] = 1;
            }
            return;
        }
        let counts = self.counts(limit);
        let mut leaves = self.leaves.iter();
        for (length, count) in (0_u8..=15).zip(counts).rev() {
            for leaf in leaves.by_ref().take(count) {
                lengths[symbol(*leaf)] = length;
            }
        }
    }

    /// How many words of each length there are.
    fn counts(&mut self, limit: usize) -> [usize; LONGEST + 1] {
        self.join();
        let inner = self.leaves.len().saturating_sub(1);
        // Weights are not needed any more: now they are depths.
        self.weights[inner.saturating_sub(1)] = 0;
        for node in (0..inner.saturating_sub(1)).rev() {
            self.weights[node] = self.weights[usize::from(self.parents[node])].wrapping_add(1);
        }
        let mut counts = [0_usize; LONGEST + 1];
        let mut kraft = 0_usize;
        for parent in &self.leaf_parents[..self.leaves.len()] {
            let depth = index(self.weights[usize::from(*parent)]).saturating_add(1);
            let depth = depth.min(limit);
            counts[depth] = counts[depth].wrapping_add(1);
            kraft = kraft.wrapping_add(1_usize << limit.wrapping_sub(depth));
        }
        // Each turn makes room for one word too many: a leaf goes down by one and takes it for its brother.
        while kraft > 1 << limit {
            let Some(above) = (1..limit).rev().find(|length| counts[*length] > 0) else {
                break;
            };
            counts[above] = counts[above].wrapping_sub(1);
            counts[above.wrapping_add(1)] = counts[above.wrapping_add(1)].wrapping_add(2);
            counts[limit] = counts[limit].wrapping_sub(1);
            kraft = kraft.wrapping_sub(1);
        }
        counts
    }

    /// Huffman's tree: the two lightest nodes, leaves or inner, go below a new one, until there is one left. Inner nodes
    /// become heavier and heavier, so that two queues do.
    fn join(&mut self) {
        let count = self.leaves.len();
        let (mut leaf, mut oldest) = (0_usize, 0_usize);
        for (node, name) in (0..count.saturating_sub(1)).zip(0_u16..) {
            let mut weight = 0_u32;
            for _ in 0..2 {
                let lightest = self.leaves.get(leaf).map(|leaf| leaf.wrapping_shr(SYMBOL_BITS));
                match lightest {
                    Some(light) if oldest == node || light <= self.weights[oldest] => {
                        self.leaf_parents[leaf] = name;
                        weight = weight.wrapping_add(light);
                        leaf = leaf.wrapping_add(1);
                    }
                    _ => {
                        self.parents[oldest] = name;
                        weight = weight.wrapping_add(self.weights[oldest]);
                        oldest = oldest.wrapping_add(1);
                    }
                }
            }
            self.weights[node] = weight;
        }
    }
}

fn symbol(leaf: u32) -> usize {
    index(leaf % (1 << SYMBOL_BITS))
}

/// The words of lengths, with their first bit lowest.
pub(super) fn words(lengths: &[u8], words: &mut [u16]) {
    let mut counts = [0_u16; LONGEST + 1];
    for length in lengths {
        let length = usize::from(*length);
        counts[length] = counts[length].wrapping_add(1);
    }
    counts[0] = 0;
    let mut next = [0_u16; LONGEST + 1];
    for length in 1..=LONGEST {
        let before = length.wrapping_sub(1);
        next[length] = next[before].wrapping_add(counts[before]).wrapping_shl(1);
    }
    for (word, length) in words.iter_mut().zip(lengths) {
        let place = &mut next[usize::from(*length)];
        *word = match length {
            0 => 0,
            length => place
                .reverse_bits()
                .wrapping_shr(16_u32.wrapping_sub((*length).into())),
        };
        *place = place.wrapping_add(1);
    }
}

/// The bits that symbols take.
pub(super) fn cost(frequencies: &[u32], lengths: &[u8]) -> u64 {
    frequencies
        .iter()
        .zip(lengths)
        .map(|(frequency, length)| u64::from(*frequency).wrapping_mul((*length).into()))
        .sum()
}

/// Lengths, counted in runs, as a dynamic block lists them: symbols of the code of lengths, and what follows each.
#[derive(Debug)]
pub(super) struct Runs {
    /// Symbols with the bits behind them.
    pub(super) list: Vec<(u8, u8)>,
    pub(super) frequencies: [u32; 19],
}

impl Runs {
    pub(super) fn new() -> Self {
        Self {
            list: Vec::with_capacity(320),
            frequencies: [0; 19],
        }
    }

    /// The bits behind a symbol.
    pub(super) fn extra(symbol: u8) -> u32 {
        match symbol {
            16 => 2,
            17 => 3,
            18 => 7,
            _ => 0,
        }
    }

    pub(super) fn count(&mut self, lengths: &[u8]) {
        self.list.clear();
        self.frequencies = [0; 19];
        for run in lengths.chunk_by(|a, b| a == b) {
            let length = run[0];
            let mut left = run.len();
            if length > 0 {
                self.push(length, 0);
                left = left.wrapping_sub(1);
            }
            while left > 0 {
                let (symbol, least, most) = match (length, left) {
                    (0, 11..) => (18, 11, 138),
                    (0, 3..) => (17, 3, 10),
                    (1.., 3..) => (16, 3, 6),
                    _ => (length, 1, 1),
                };
                let taken = left.min(most);
                self.push(
                    symbol,
                    low_byte(u64::try_from(taken.wrapping_sub(least)).unwrap_or(0)),
                );
                left = left.wrapping_sub(taken);
            }
        }
    }

    fn push(&mut self, symbol: u8, extra: u8) {
        self.list.push((symbol, extra));
        let frequency = &mut self.frequencies[usize::from(symbol)];
        *frequency = frequency.wrapping_add(1);
    }
}

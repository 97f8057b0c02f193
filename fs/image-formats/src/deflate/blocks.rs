//! Literals and copies, collected into blocks, and how a block is written.
//!
//! They come in segments. A segment joins the block before it unless codes of its own would save more than their
//! description takes: then the block ends before it. So a block ends where what comes changes, and not much later.

use super::bits::Bits;
use super::huffman::{self, Maker, Runs};
use super::matches::{Match, SHORTEST};
use super::symbols::{self, Counts, END, LENGTH_EXTRA, LITERALS, Logarithms, PARTS};
use super::{index, low_byte, low_word};

/// Literals and copies of a segment.
const SEGMENT: usize = 1024;

/// The most of them in a block, but for one segment. So as many literals fit into one stored block.
const BLOCK: usize = 62 * 1024;

/// Bits that separate codes must save: their description, and what so few symbols seem to save by chance.
const DESCRIPTION: u64 = 700;

/// Bits of a token that say what it is: a byte, or 256 and a length less 3. Above is a copy's distance.
const KIND_BITS: u32 = 9;

/// The most bytes in a stored block.
const STORED: usize = 65_535;

/// The order in which a block lists the lengths of the code of lengths.
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// What is collected, and the buffers to write it.
#[derive(Debug)]
pub(super) struct Blocks {
    tokens: Vec<u32>,
    /// Tokens of the block, before those of the segment.
    joined: usize,
    block: Counts,
    segment: Counts,
    entropy: u64,
    /// The first byte of the block, and of the segment.
    start: usize,
    middle: usize,
    length_symbols: [(u8, u8); 256],
    logarithms: Logarithms,
    maker: Maker,
    runs: Runs,
    code: Code,
    fixed: Code,
    prices: Prices,
}

/// The lengths of a block's words. The fixed code has two more literals than may be used.
#[derive(Clone, Debug)]
struct Code {
    literals: [u8; 288],
    distances: [u8; 30],
}

/// The bits that bytes and copies took in the block before.
#[derive(Clone, Debug)]
struct Prices {
    literals: [u8; 256],
    /// By length less 3, for short ones.
    lengths: [u8; 8],
    distances: [u8; 32],
}

impl Blocks {
    pub(super) fn new() -> Self {
        let mut fixed = Code {
            literals: [8; 288],
            distances: [5; 30],
        };
        fixed.literals[144..256].fill(9);
        fixed.literals[256..280].fill(7);
        Self {
            tokens: Vec::with_capacity(BLOCK.saturating_add(SEGMENT.saturating_mul(2))),
            joined: 0,
            block: Counts::new(),
            segment: Counts::new(),
            entropy: 0,
            start: 0,
            middle: 0,
            length_symbols: symbols::lengths(),
            logarithms: Logarithms::new(),
            maker: Maker::new(),
            runs: Runs::new(),
            code: fixed.clone(),
            prices: Prices::of(&fixed),
            fixed,
        }
    }

    /// Begins with a byte of what is compressed.
    pub(super) fn clear(&mut self, start: usize) {
        self.tokens.clear();
        self.joined = 0;
        self.block.clear();
        self.segment.clear();
        self.start = start;
        self.middle = start;
        self.prices = Prices::of(&self.fixed);
    }

    #[inline]
    pub(super) fn literal(&mut self, byte: u8) {
        self.segment.literal(byte);
        self.tokens.push(byte.into());
    }

    #[inline]
    pub(super) fn copy(&mut self, copy: Match) {
        let length = low_byte(low_word(copy.len.wrapping_sub(SHORTEST)).into());
        let distance = low_word(copy.distance);
        let (symbol, ..) = symbols::distance(distance);
        let (length_symbol, _) = self.length_symbols[usize::from(length)];
        self.segment.copy(length_symbol, symbol);
        let kind = 256 | u32::from(length);
        self.tokens.push(kind | distance.wrapping_shl(KIND_BITS));
    }

    /// Whether a copy takes fewer bits than its bytes.
    #[inline]
    pub(super) fn is_worth(&self, bytes: &[u8], copy: Match) -> bool {
        let Some(length) = self.prices.lengths.get(copy.len.wrapping_sub(SHORTEST)) else {
            return copy.len > SHORTEST;
        };
        let (distance, _, extra) = symbols::distance(low_word(copy.distance));
        let price = u32::from(*length)
            .wrapping_add(self.prices.distances[usize::from(distance % 32)].into())
            .wrapping_add(extra);
        let literals = bytes
            .iter()
            .take(copy.len)
            .map(|byte| u32::from(self.prices.literals[usize::from(*byte)]));
        price < literals.sum()
    }

    /// Whether a segment is whole.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.tokens.len() >= self.joined.wrapping_add(SEGMENT)
    }

    /// Ends a segment at byte `at`, and writes the block before it if it does not belong to that.
    pub(super) fn cut(&mut self, bytes: &[u8], at: usize, bits: &mut Bits<'_>) {
        let apart = self.segment.entropy(&self.logarithms);
        if self.joined > 0 {
            let mut both = self.block.clone();
            both.add(&self.segment);
            let joined = both.entropy(&self.logarithms);
            let saved = joined.saturating_sub(self.entropy).saturating_sub(apart);
            if saved > DESCRIPTION.wrapping_mul(PARTS) || self.joined >= BLOCK {
                self.write(bytes, false, bits);
                self.block.clear();
                self.block.add(&self.segment);
                self.entropy = apart;
                self.tokens.drain(..self.joined);
                self.start = self.middle;
            } else {
                self.block = both;
                self.entropy = joined;
            }
        } else {
            self.block.add(&self.segment);
            self.entropy = apart;
        }
        self.segment.clear();
        self.joined = self.tokens.len();
        self.middle = at;
    }

    /// Writes what is left, if it is anything or must be the last block.
    pub(super) fn end(&mut self, bytes: &[u8], last: bool, bits: &mut Bits<'_>) {
        if self.joined < self.tokens.len() {
            self.cut(bytes, bytes.len(), bits);
        }
        if last || self.joined > 0 {
            self.write(bytes, last, bits);
        }
        self.tokens.clear();
        self.joined = 0;
    }

    /// Writes the block in the way that takes the fewest bits.
    fn write(&mut self, bytes: &[u8], last: bool, bits: &mut Bits<'_>) {
        let bytes = &bytes[self.start..self.middle];
        self.block.end();
        let counts = &self.block;
        self.maker.lengths(counts.literals(), 15, &mut self.code.literals);
        self.maker
            .lengths(counts.distances(), 15, &mut self.code.distances);
        let used = |lengths: &[u8], least: usize| {
            let last = lengths.iter().rposition(|length| *length > 0);
            last.map_or(least, |last| last.wrapping_add(1).max(least))
        };
        let literals = used(&self.code.literals, 257);
        let distances = used(&self.code.distances, 1);
        let mut lengths = [0; LITERALS + 30];
        let lengths = &mut lengths[..literals.wrapping_add(distances)];
        lengths[..literals].copy_from_slice(&self.code.literals[..literals]);
        lengths[literals..].copy_from_slice(&self.code.distances[..distances]);
        self.runs.count(lengths);
        let mut run_lengths = [0; 19];
        self.maker.lengths(&self.runs.frequencies, 7, &mut run_lengths);
        let listed = ORDER.iter().rposition(|symbol| run_lengths[*symbol] > 0);
        let listed = listed.map_or(4, |last| last.wrapping_add(1).max(4));
        let head = head_cost(&self.runs, &run_lengths, listed);

        let extra = counts.extra().wrapping_add(3);
        let dynamic = self.code.cost(counts).wrapping_add(extra).wrapping_add(head);
        let fixed = self.fixed.cost(counts).wrapping_add(extra);
        let stored = stored_cost(bytes.len(), bits.padding_after(3));
        self.prices = Prices::of(&self.code);
        if stored < dynamic && stored < fixed {
            return store(bytes, last, bits);
        }
        bits.reserve(fixed.min(dynamic));
        bits.put(last.into(), 1);
        let code = if fixed <= dynamic {
            bits.put(1, 2);
            &self.fixed
        } else {
            bits.put(2, 2);
            let number = |count: usize, least: usize| u64::from(low_word(count.wrapping_sub(least)));
            bits.put(number(literals, 257), 5);
            bits.put(number(distances, 1), 5);
            bits.put(number(listed, 4), 4);
            bits.flush();
            describe(&self.runs, &run_lengths, listed, bits);
            &self.code
        };
        bits.flush();
        let words = Words::of(code, &self.length_symbols);
        words.write(&self.tokens[..self.joined], bits);
    }
}

/// What the code of lengths, and lengths in it, take, with the three numbers before.
fn head_cost(runs: &Runs, lengths: &[u8; 19], listed: usize) -> u64 {
    let extra = runs.list.iter().map(|(symbol, _)| Runs::extra(*symbol));
    let extra = u64::from(extra.sum::<u32>());
    let listed = u64::from(low_word(listed)).wrapping_mul(3);
    huffman::cost(&runs.frequencies, lengths)
        .wrapping_add(extra)
        .wrapping_add(listed)
        .wrapping_add(14)
}

/// Writes the code of lengths, and lengths in it.
fn describe(runs: &Runs, lengths: &[u8; 19], listed: usize, bits: &mut Bits<'_>) {
    for symbol in &ORDER[..listed] {
        bits.put(lengths[*symbol].into(), 3);
        bits.flush();
    }
    let mut words = [0; 19];
    huffman::words(lengths, &mut words);
    for (symbol, extra) in &runs.list {
        let symbol_at = usize::from(*symbol);
        bits.put(words[symbol_at].into(), lengths[symbol_at].into());
        bits.put((*extra).into(), Runs::extra(*symbol));
        bits.flush();
    }
}

/// What stored blocks take, with so much padding in the first.
fn stored_cost(len: usize, padding: u32) -> u64 {
    let blocks = u64::from(low_word(len.div_ceil(STORED).max(1)));
    u64::from(low_word(len))
        .wrapping_mul(8)
        .wrapping_add(blocks.wrapping_mul(40))
        .wrapping_add(padding.into())
        .wrapping_sub(5)
}

/// Writes stored blocks. None has no bytes, unless there are none at all.
pub(super) fn store(bytes: &[u8], last: bool, bits: &mut Bits<'_>) {
    let mut rest = bytes;
    loop {
        let (piece, behind) = rest.split_at(rest.len().min(STORED));
        bits.reserve(64);
        bits.put((last && behind.is_empty()).into(), 3);
        bits.align();
        let len = u64::from(low_word(piece.len()));
        bits.put(len | (len ^ 0xffff).wrapping_shl(16), 32);
        bits.flush();
        bits.bytes(piece);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
}

impl Code {
    fn cost(&self, counts: &Counts) -> u64 {
        let distances = huffman::cost(counts.distances(), &self.distances);
        huffman::cost(counts.literals(), &self.literals).wrapping_add(distances)
    }
}

impl Prices {
    fn of(code: &Code) -> Self {
        // What did not come is dear, but may come.
        let price = |length: &u8| if *length == 0 { 13 } else { *length };
        let mut prices = Self {
            literals: [0; 256],
            lengths: [0; 8],
            distances: [13; 32],
        };
        for (price_of, length) in prices.literals.iter_mut().zip(&code.literals) {
            *price_of = price(length);
        }
        for (price_of, length) in prices.lengths.iter_mut().zip(&code.literals[257..]) {
            *price_of = price(length);
        }
        for (price_of, length) in prices.distances.iter_mut().zip(&code.distances) {
            *price_of = price(length).min(10);
        }
        prices
    }
}

/// The words of a block, with the bits behind those of lengths, as they are written.
struct Words {
    /// By the kind of a token: bits, and above the lowest five, how many.
    kinds: [u32; 512],
    distances: [u32; 32],
    end: u32,
}

/// Bits of an entry of [`Words`] that count the others.
const COUNT_BITS: u32 = 5;

impl Words {
    fn of(code: &Code, length_symbols: &[(u8, u8); 256]) -> Self {
        let literals = &code.literals;
        let mut words = [0; 288];
        huffman::words(literals, &mut words);
        let entry = |word: u16, length: u8| u32::from(word).wrapping_shl(COUNT_BITS) | u32::from(length);
        let mut kinds = [0; 512];
        for ((kind, word), length) in kinds.iter_mut().zip(words).zip(*literals).take(256) {
            *kind = entry(word, length);
        }
        for ((kind, (symbol, base)), nth) in kinds[256..].iter_mut().zip(length_symbols).zip(0_u8..=255) {
            let at = usize::from(*symbol).wrapping_add(257);
            let (word, length) = (words[at], literals[at]);
            let behind = u32::from(nth.wrapping_sub(*base)).wrapping_shl(length.into());
            let extra = LENGTH_EXTRA[usize::from(*symbol)];
            *kind =
                (u32::from(word) | behind).wrapping_shl(COUNT_BITS) | u32::from(length.wrapping_add(extra));
        }
        let mut distance_words = [0; 30];
        huffman::words(&code.distances, &mut distance_words);
        let mut distances = [0; 32];
        for ((distance, word), length) in distances.iter_mut().zip(distance_words).zip(code.distances) {
            *distance = entry(word, length);
        }
        Self {
            kinds,
            distances,
            end: entry(words[END], literals[END]),
        }
    }

    fn put(entry: u32, bits: &mut Bits<'_>) {
        bits.put(entry.wrapping_shr(COUNT_BITS).into(), entry % (1 << COUNT_BITS));
    }

    fn write(&self, tokens: &[u32], bits: &mut Bits<'_>) {
        for token in tokens {
            Self::put(self.kinds[index(*token) % 512], bits);
            let distance = token.wrapping_shr(KIND_BITS);
            if distance > 0 {
                let (symbol, below, extra) = symbols::distance(distance);
                Self::put(self.distances[usize::from(symbol % 32)], bits);
                bits.put(below.into(), extra);
            }
            bits.flush();
        }
        Self::put(self.end, bits);
        bits.flush();
    }
}

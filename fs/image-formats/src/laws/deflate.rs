//! The law of the encoder of deflate, and a decoder that keeps to a window.

use flate2::{Decompress, FlushDecompress, Status};
use image_core::laws::{Draw, filler};

use crate::deflate::{Encoder, End};

/// What was encoded in pieces, each with the end of what came before as its dictionary, is what is decoded with a window
/// no larger than told; and what an encoder did before changes nothing.
pub fn deflate_encoder(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let level = 1 + draw.byte() % 9;
    let window = 9 + draw.byte() % 7;
    let cuts: Vec<u64> = (0..draw.below(4)).map(|_| draw.below(1 << 16)).collect();
    let content = content(&mut draw, 1 << window);
    let len = u64::try_from(content.len()).unwrap();
    let mut ends: Vec<usize> = cuts
        .iter()
        .map(|cut| usize::try_from((cut * len) >> 16).unwrap())
        .collect();
    ends.sort_unstable();
    ends.push(content.len());

    let mut used = Encoder::new(level, window);
    let mut stream = Vec::new();
    let mut start = 0;
    for (nth, end) in ends.iter().enumerate() {
        let dictionary = start.min(1 << 15);
        let last = if nth + 1 == ends.len() {
            End::Stream
        } else {
            End::Piece
        };
        let piece = &content[start - dictionary..*end];
        let before = stream.len();
        used.encode(piece, dictionary, last, &mut stream);
        let mut again = Vec::new();
        Encoder::new(level, window).encode(piece, dictionary, last, &mut again);
        assert!(again == stream[before..]);
        // Blocks that do not compress are stored: a few bytes for each.
        let len = end - start;
        assert!(again.len() <= len + len / 128 + 16);
        start = *end;
    }
    assert!(inflated(&stream, window) == content);
}

/// Bytes that were drawn, noise, runs, and copies of what came before, of which some begin a window or so earlier.
fn content(draw: &mut Draw<'_>, window: usize) -> Vec<u8> {
    let mut content = Vec::new();
    while !draw.is_empty() && content.len() < 200_000 {
        let len = usize::try_from(draw.below(600)).unwrap();
        let seed = draw.byte();
        match draw.below(5) {
            0 => content.extend(filler(len, seed)),
            1 => content.extend(noise(len * 40, seed.into())),
            2 => content.extend(std::iter::repeat_n(seed, len * 8)),
            3 => content.push(seed),
            _ => {
                let back = match seed {
                    0..128 => usize::from(seed) * usize::from(seed),
                    128..192 => window - 32 + usize::from(seed - 128),
                    _ => (1 << 15) - 32 + usize::from(seed - 192),
                };
                let from = content.len().saturating_sub(back.max(1));
                for at in from..(from + len) {
                    content.push(content.get(at).copied().unwrap_or(0));
                }
            }
        }
    }
    content
}

/// Bytes that do not compress.
pub(crate) fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// What a decoder makes of a whole stream, which must end. It is given so little room at a time that it has to look into
/// its window, where what is farther away cannot be.
pub(crate) fn inflated(stream: &[u8], window: u8) -> Vec<u8> {
    let mut decoder = Decompress::new_with_window_bits(false, window);
    let mut bytes = Vec::new();
    let mut room = [0; 61];
    loop {
        let (took, gave) = (decoder.total_in(), decoder.total_out());
        let rest = &stream[usize::try_from(took).unwrap()..];
        let status = decoder
            .decompress(rest, &mut room, FlushDecompress::None)
            .unwrap();
        let gave = usize::try_from(decoder.total_out() - gave).unwrap();
        bytes.extend_from_slice(&room[..gave]);
        if status == Status::StreamEnd {
            break;
        }
        assert!(
            gave > 0 || decoder.total_in() > took,
            "a stream that does not end"
        );
    }
    assert_eq!(decoder.total_in(), u64::try_from(stream.len()).unwrap());
    bytes
}

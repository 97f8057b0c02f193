//! Rendering block by block, whatever pieces a reader asks for.

use crate::units::{BlockSize, to_u64};

/// Renders the bytes of a table of blocks from `offset` on: `render` fills one zeroed block, by its number.
pub(crate) fn each_block(
    block_size: BlockSize,
    offset: u64,
    buf: &mut [u8],
    mut render: impl FnMut(u32, &mut [u8]),
) {
    let whole = block_size.buffer();
    let mut scratch = Vec::new();
    let (mut at, mut buf) = (offset, buf);
    while !buf.is_empty() {
        let log = block_size.bytes().trailing_zeros();
        let block = u32::try_from(at >> log).expect("a table of blocks has at most 2^32");
        let skip = usize::try_from(at & block_size.bytes().saturating_sub(1)).expect("within a block");
        let len = buf.len().min(whole.saturating_sub(skip));
        let (piece, rest) = buf.split_at_mut(len);
        if len == whole {
            piece.fill(0);
            render(block, piece);
        } else {
            scratch.clear();
            scratch.resize(whole, 0);
            render(block, &mut scratch);
            piece.copy_from_slice(&scratch[skip..skip.saturating_add(len)]);
        }
        buf = rest;
        at = at.saturating_add(to_u64(len));
    }
}

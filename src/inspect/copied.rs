//! The bytes of a file of an image, in order: read in pieces, so that a file of any length takes little memory, and by
//! several threads, since what is compressed takes its time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use image_core::store::Error;

use super::view::{Spot, View};

/// Bytes read at once.
const PIECE: u64 = 512 << 10;
/// Threads at most: more than read a disk in parallel.
const THREADS_MAX: usize = 4;
/// Pieces that each thread is ahead.
const AHEAD: usize = 2;

/// Bytes that are a hole where they are zero.
const BLOCK: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

type Piece = Result<Vec<u8>, Error>;

/// Reads a regular file to its end, or until `to` wants no more. Gives what `to` said last, or its failure.
pub fn copied<E>(
    view: &View,
    spot: Spot,
    len: u64,
    mut to: impl FnMut(&[u8]) -> Result<bool, E>,
) -> Result<Result<bool, E>, Error> {
    let pieces = len.div_ceil(PIECE);
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores
        .min(THREADS_MAX)
        .min(usize::try_from(pieces).unwrap_or(THREADS_MAX));
    thread::scope(|scope| {
        let mut readers: Vec<Receiver<Piece>> = Vec::new();
        for first in 0..threads as u64 {
            let (sender, receiver) = sync_channel(AHEAD);
            scope.spawn(move || read(view, spot, len, (first..pieces).step_by(threads), &sender));
            readers.push(receiver);
        }
        for (_, reader) in (0..pieces).zip((0..threads).cycle()) {
            let piece = readers[reader]
                .recv()
                .expect("a thread sends all of its pieces, or why not")?;
            match to(&piece) {
                Ok(true) => {}
                other => return Ok(other),
            }
        }
        Ok(Ok(true))
    })
}

/// Writes a regular file into a new one, where what is zero stays a hole: a few bytes of an image may claim a file that
/// no disk has room for.
pub fn copied_into(view: &View, spot: Spot, len: u64, to: &File) -> Result<io::Result<()>, Error> {
    let mut at = 0;
    let copied = copied(view, spot, len, |piece| {
        for block in piece.chunks(BLOCK) {
            if *block != ZEROS[..block.len()] {
                to.write_all_at(block, at)?;
            }
            at += block.len() as u64;
        }
        Ok(true)
    });
    Ok(copied?.and_then(|_| to.set_len(len)))
}

/// Reads some of the pieces of a file.
fn read(view: &View, spot: Spot, len: u64, pieces: impl Iterator<Item = u64>, to: &SyncSender<Piece>) {
    let read = || -> Result<(), Error> {
        let Some(opened) = view.open(spot) else {
            return Ok(());
        };
        let file = opened?;
        for piece in pieces {
            let at = piece * PIECE;
            let here = usize::try_from(PIECE.min(len - at)).expect("a piece fits memory");
            let mut bytes = vec![0; here];
            file.read_exact_at(&mut bytes, at)?;
            file.finish()?;
            // Who reads may have enough.
            if to.send(Ok(bytes)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    };
    if let Err(error) = read() {
        let _ = to.send(Err(error));
    }
}

//! Threads that work on blocks, whose results come back in the order in which the blocks were given.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What a thread hands back: the block itself, and what it became.
type Done<I, O> = io::Result<(I, O)>;
type Job<I, O> = (I, SyncSender<Done<I, O>>);

/// The threads. Blocks go in and come out in one order.
pub(crate) struct Pool<I, O> {
    jobs: Option<SyncSender<Job<I, O>>>,
    threads: Vec<JoinHandle<()>>,
    under_way: VecDeque<Receiver<Done<I, O>>>,
    under_way_max: usize,
}

impl<I, O> fmt::Debug for Pool<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads.len())
            .field("under_way", &self.under_way.len())
            .finish_non_exhaustive()
    }
}

impl<I: Send + 'static, O: Send + 'static> Pool<I, O> {
    /// Starts threads, each with what `make` makes for it. For each of them `ahead` blocks may wait besides the one that
    /// it works on.
    pub(crate) fn start<F>(
        name: &str,
        threads: NonZero<usize>,
        ahead: usize,
        make: impl Fn() -> io::Result<F>,
    ) -> io::Result<Self>
    where
        F: FnMut(&mut I) -> io::Result<O> + Send + 'static,
    {
        let count = threads.get().min(256);
        let under_way_max = count.saturating_mul(ahead.saturating_add(1));
        let (jobs, queue) = sync_channel::<Job<I, O>>(under_way_max);
        let queue = Arc::new(Mutex::new(queue));
        let mut pool = Self {
            jobs: Some(jobs),
            threads: Vec::with_capacity(count),
            under_way: VecDeque::with_capacity(under_way_max),
            under_way_max,
        };
        for _ in 0..count {
            let queue = Arc::clone(&queue);
            let mut work = make()?;
            let run = move || {
                while let Some((mut block, reply)) = next(&queue) {
                    let done = work(&mut block).map(|result| (block, result));
                    // Nobody waits for it only where the output has been given up.
                    let _ = reply.send(done);
                }
            };
            let thread = std::thread::Builder::new().name(name.into()).spawn(run)?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }
}

impl<I, O> Pool<I, O> {
    /// Hands a block to the threads, who must not be full: see [`Pool::next`].
    pub(crate) fn submit(&mut self, block: I) -> io::Result<()> {
        let (reply, done) = sync_channel(1);
        self.under_way.push_back(done);
        let jobs = self.jobs.as_ref().ok_or_else(died)?;
        jobs.send((block, reply)).map_err(|_| died())
    }

    /// Whether a result must be taken before another block is handed in.
    pub(crate) fn is_full(&self) -> bool {
        self.under_way.len() >= self.under_way_max
    }

    /// Waits for the oldest block; `None` when none is under way.
    pub(crate) fn next(&mut self) -> io::Result<Option<(I, O)>> {
        match self.under_way.pop_front() {
            Some(done) => done.recv().map_err(|_| died())?.map(Some),
            None => Ok(None),
        }
    }
}

fn next<T>(queue: &Mutex<Receiver<T>>) -> Option<T> {
    queue.lock().ok()?.recv().ok()
}

fn died() -> io::Error {
    io::Error::other("a thread that compresses has died")
}

impl<I, O> Drop for Pool<I, O> {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A panic was told on its own thread already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_blocks_and_a_failure_in_its_place() {
        let work = |block: &mut u64| {
            // The later ones are done first.
            (0..(20 - *block) * 50).for_each(|_| std::thread::yield_now());
            if *block == 13 {
                Err(io::Error::other("unlucky"))
            } else {
                Ok(*block * 2)
            }
        };
        let mut pool = Pool::start("test", NonZero::new(4).unwrap(), 4, || Ok(work)).unwrap();
        for block in 0..20 {
            assert!(!pool.is_full());
            pool.submit(block).unwrap();
        }
        assert!(pool.is_full());
        for block in 0..20 {
            match pool.next() {
                Ok(done) => assert_eq!(done, Some((block, block * 2))),
                Err(error) => assert_eq!((block, error.to_string().as_str()), (13, "unlucky")),
            }
        }
        assert_eq!(pool.next().unwrap(), None);
    }
}

//! A stack of jobs that several threads work on, and add to.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that wait. It is a stack, since going deep first bounds how much waits.
pub(super) struct Jobs<J> {
    state: Mutex<State<J>>,
    wake: Condvar,
}

struct State<J> {
    waiting: Vec<J>,
    /// Threads at work, which may still add jobs.
    busy: usize,
    stopped: bool,
}

impl<J> Jobs<J> {
    pub(super) fn new(first: J) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: vec![first],
                busy: 0,
                stopped: false,
            }),
            wake: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on jobs until there are none and nobody can add one.
    pub(super) fn work(&self, mut work: impl FnMut(J)) {
        while let Some(job) = self.begin() {
            let end = End(self);
            work(job);
            drop(end);
        }
    }

    fn begin(&self) -> Option<J> {
        let waits = |state: &mut State<J>| state.waiting.is_empty() && state.busy > 0;
        let state = self.wake.wait_while(self.lock(), waits);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        let job = state.waiting.pop()?;
        state.busy = state.busy.saturating_add(1);
        Some(job)
    }

    pub(super) fn add(&self, jobs: Vec<J>) {
        if jobs.is_empty() {
            return;
        }
        let mut state = self.lock();
        if !state.stopped {
            state.waiting.extend(jobs);
        }
        drop(state);
        self.wake.notify_all();
    }

    /// Drops all jobs that wait, and takes no more.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
    }
}

/// Ends a job, be it by a panic, so that the other threads do not wait for its thread for ever.
struct End<'a, J>(&'a Jobs<J>);

impl<J> Drop for End<'_, J> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
        let mut state = self.0.lock();
        state.busy = state.busy.saturating_sub(1);
        let over = state.busy == 0 && state.waiting.is_empty();
        drop(state);
        if over {
            self.0.wake.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn all_jobs_are_done_once_by_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let jobs = Jobs::new(12_u32);
            let done = AtomicU32::new(0);
            let work = || {
                jobs.work(|depth| {
                    done.fetch_add(1, Ordering::Relaxed);
                    if depth > 0 {
                        jobs.add(vec![depth - 1; 2]);
                    }
                });
            };
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            });
            assert_eq!(done.into_inner(), (1 << 13) - 1);
        }
    }

    #[test]
    fn a_panic_ends_all_threads() {
        let jobs = Jobs::new(3_u32);
        let work = || {
            jobs.work(|depth| {
                assert!(depth > 0, "the deepest job");
                jobs.add(vec![depth - 1; 4]);
            });
        };
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            std::thread::scope(|scope| {
                scope.spawn(work);
                scope.spawn(work);
            });
        }));
        ended.unwrap_err();
    }
}

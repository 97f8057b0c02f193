//! All printing: results on standard output, the log of a build, errors.
//!
//! | module | what it is |
//! |---|---|
//! | [`notice`] | what a build says about its own course: the way from the build to the builder |
//! | [`log`] | the lines that hooks and this program write, and where they go |
//! | [`reporter`] | makes of output and notices what the operator sees |

pub mod log;
pub mod notice;
pub mod reporter;

use std::fmt::Display;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use crate::error::Error;
use notice::{Notice, tell};

/// Prints a result: what the command was called for.
pub fn print(text: impl Display) {
    let mut out = io::stdout().lock();
    // A reader that went away wants no more.
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// Says something about the build's course. Inside a build this goes the same way as the output of hooks.
pub fn note(text: impl Display) {
    let mut out = io::stderr().lock();
    let _ = writeln!(out, "{text}");
}

/// Says that something is odd, though the build goes on.
pub fn warn(text: impl Display) {
    let text = text.to_string();
    if !tell(&Notice::Warning { text: text.clone() }) {
        note(format_args!("warning: {text}"));
    }
}

/// Says why the command failed.
pub fn error(error: &Error) {
    note(format_args!("error: {error}"));
}

/// Something that takes time, up to where this value is dropped.
#[derive(Debug)]
#[must_use = "what is dropped at once took no time"]
pub struct Under(Notice);

impl Drop for Under {
    fn drop(&mut self) {
        tell(&self.0);
    }
}

/// Says that a phase of hooks begins, or what is like one.
pub fn phase(name: &str, heading: impl Display) -> Under {
    tell(&Notice::PhaseStarted {
        phase: name.to_owned(),
        heading: heading.to_string(),
    });
    Under(Notice::PhaseEnded)
}

/// Says that the builder itself works at something: `scan the tree`.
pub fn work(name: &str) -> Under {
    tell(&Notice::WorkStarted {
        work: name.to_owned(),
    });
    Under(Notice::WorkEnded)
}

/// Says that a shell takes the terminal: nothing is drawn meanwhile.
pub fn shell() -> Under {
    tell(&Notice::ShellOpened);
    Under(Notice::ShellClosed)
}

/// A hook that runs.
#[derive(Debug)]
#[must_use = "what began must end"]
pub struct Running {
    since: Instant,
}

/// Says that a hook of the phase begins.
pub fn hook(name: &[u8]) -> Running {
    tell(&Notice::HookStarted {
        hook: String::from_utf8_lossy(name).into_owned(),
    });
    Running {
        since: Instant::now(),
    }
}

impl Running {
    /// Says how it ended, if not well with its status, and returns how long it took.
    pub fn ended(self, failure: Option<(u8, impl Display)>) -> Duration {
        let took = self.since.elapsed();
        let (status, ending) = failure.map_or((0, String::new()), |(status, ending)| {
            (status, ending.to_string())
        });
        tell(&Notice::HookEnded {
            seconds: took.as_secs_f64(),
            status,
            ending,
        });
        took
    }
}

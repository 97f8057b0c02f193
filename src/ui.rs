//! All printing: results on standard output, the log of a build, errors.
//!
//! | module | what it is |
//! |---|---|
//! | [`notice`] | what a build says about its own course: the way from the build to the builder |
//! | [`log`] | the lines that hooks and this program write, and where they go |
//! | [`reporter`] | makes of output and notices what the operator sees: the modules below |
//! | [`course`], [`screen`] | what runs now; the last line of a terminal that shows it |
//! | [`card`], [`hints`] | what is known about a hook that failed; what its last lines mean |
//! | [`profile`] | where the time went |
//! | [`usage`] | what in the image takes room |
//! | [`events`] | the course of a build for programs; its documentation is the schema's |
//! | [`colour`], [`units`] | whether there is colour; times and bytes for people |

pub mod card;
pub mod colour;
pub mod course;
pub mod events;
pub mod hints;
pub mod log;
pub mod notice;
pub mod profile;
pub mod reporter;
pub mod screen;
pub mod units;
pub mod usage;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use image_core::Tree;
use image_core::tree::Content;

use crate::error::{Context as _, Error, Result};
use colour::{Paint, Part};
use notice::{Failure, Notice, tell};

/// Prints a result: what the command was called for. A reader that went away wants no more; any other loss is a failure,
/// lest half a plan on a full disk pass for a whole one.
pub fn print(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).host(|| "cannot write to standard output".to_owned())
        }
        _ => Ok(()),
    }
}

/// Prints bytes of a result. Gives whether the reader wants more.
pub fn print_bytes(bytes: &[u8]) -> Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).host(|| "cannot write to standard output".to_owned()),
    }
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
        let label = Paint::stderr().part(Part::Warning, "warning:");
        note(format_args!("{label} {text}"));
    }
}

/// Says why the command failed.
pub fn error(error: &Error) {
    let paint = Paint::stderr();
    let text = error.to_string();
    let lines = text.lines().map(|line| match line.strip_prefix("hint:") {
        Some(rest) => format!("\n{}{rest}", paint.part(Part::Hint, "hint:")),
        None => format!("\n{line}"),
    });
    let text: String = lines.collect();
    note(format_args!(
        "{} {}",
        paint.part(Part::Error, "error:"),
        text.trim_start()
    ));
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

/// Says that the build's directory is a tmpfs.
pub fn in_memory() {
    tell(&Notice::InMemory);
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
    /// Says how it ended, and returns how long it took.
    pub fn ended(self, failure: Option<Failure>) -> Duration {
        let took = self.since.elapsed();
        tell(&Notice::HookEnded {
            seconds: took.as_secs_f64(),
            failure,
        });
        took
    }
}

/// An output that is written.
#[derive(Debug)]
#[must_use = "what began must end"]
pub struct Writing(());

/// Says that an output begins: its format, and the bytes in the image.
pub fn output(path: &Path, format: impl Display, bytes: u64) -> Writing {
    tell(&Notice::OutputStarted {
        path: path.display().to_string(),
        format: format.to_string(),
        bytes,
    });
    Writing(())
}

/// Says how many bytes of the image were written so far.
pub fn written(bytes: u64) {
    tell(&Notice::OutputProgress { bytes });
}

impl Writing {
    /// Says that the output is complete: the bytes in its file, and its digests by algorithm.
    pub fn finished(self, bytes: u64, digests: Vec<(&'static str, String)>) {
        let digests = digests
            .into_iter()
            .map(|(name, digest)| (name.to_owned(), digest));
        tell(&Notice::OutputFinished {
            bytes,
            digests: digests.collect(),
        });
    }
}

/// Says what a scan of the finished tree found.
pub fn scanned(tree: &Tree) {
    let bytes = tree.nodes().iter().map(|node| match &node.content {
        Content::File(data) => data.len,
        _ => 0,
    });
    tell(&Notice::TreeScanned {
        entries: tree.nodes().len() as u64,
        bytes: bytes.sum(),
    });
}

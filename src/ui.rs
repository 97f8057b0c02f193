//! All printing: results on standard output, the log of a build, errors.
//!
//! A build's log is what hooks and this program write, line by line, in the order in which they write it. It goes
//! through one [`Log`], which runs outside the build's namespaces: whatever ends the build, the log is complete.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};

use crate::clock::Moment;
use crate::error::Error;

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
    note(format_args!("warning: {text}"));
}

/// Says why the command failed.
pub fn error(error: &Error) {
    note(format_args!("error: {error}"));
}

/// Where a build's log goes.
#[derive(Debug)]
pub struct Log {
    /// Whether standard output gets nothing.
    pub quiet: bool,
    /// Whether lines on standard output have the time before them. Those of the file always have.
    pub timestamps: bool,
    /// The file that gets every line too.
    pub file: Option<File>,
    line: Vec<u8>,
}

impl Log {
    /// A log with no line yet.
    pub fn new(quiet: bool, timestamps: bool, file: Option<File>) -> Self {
        Self {
            quiet,
            timestamps,
            file,
            line: Vec::new(),
        }
    }

    /// Takes what was written to the log, in pieces of any size.
    pub fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.flush();
            }
        }
    }

    /// Ends the log: a last line without a line end gets one.
    pub fn finish(&mut self) {
        if !self.line.is_empty() {
            self.line.push(b'\n');
            self.flush();
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        // Hooks switch tracing off and on by these words; the traces of that are noise.
        let traces = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
        if traces(b"set +o") || traces(b"xtrace") {
            return;
        }
        let stamp = format!("{} | ", Moment::now());
        if !self.quiet {
            let mut out = io::stdout().lock();
            let stamp = if self.timestamps { stamp.as_bytes() } else { b"" };
            let _ = out.write_all(&[stamp, &line].concat()).and_then(|()| out.flush());
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(&[stamp.as_bytes(), &line].concat());
        }
    }
}

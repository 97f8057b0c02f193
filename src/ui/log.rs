//! The log of a build: what hooks and this program write, line by line, in the order in which they write it.
//!
//! It runs outside the build's namespaces: whatever ends the build, the log is complete.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};

use super::colour::{Paint, Part};
use crate::clock::Moment;

/// Bytes after which a line counts as one though it has not ended: a hook must not fill the builder's memory.
const LINE_MAX: usize = 1 << 20;

/// How many lines of a hook's output are kept for when it fails.
pub const TAIL: usize = 20;

/// Where a build's log goes.
#[derive(Debug)]
pub struct Log {
    /// Whether standard output gets nothing.
    quiet: bool,
    /// Whether lines on standard output have the time before them. Those of the file always have.
    timestamps: bool,
    /// The file that gets every line too.
    file: Option<File>,
    paint: Paint,
    line: Vec<u8>,
    tail: VecDeque<Vec<u8>>,
}

impl Log {
    /// A log with no line yet.
    pub fn new(quiet: bool, timestamps: bool, file: Option<File>) -> Self {
        Self {
            quiet,
            timestamps,
            file,
            paint: Paint::stdout(),
            line: Vec::new(),
            tail: VecDeque::new(),
        }
    }

    /// Closes the file.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// Takes what was written to the log, in pieces of any size.
    pub fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= LINE_MAX {
                self.flush();
            }
        }
    }

    /// Ends a line that has no line end yet.
    pub fn end_line(&mut self) {
        if !self.line.is_empty() {
            self.flush();
        }
    }

    /// Writes lines of the builder itself.
    pub fn say(&mut self, text: &str) {
        self.end_line();
        for line in text.lines() {
            self.write(line.as_bytes(), line.as_bytes(), !self.quiet);
        }
    }

    /// Writes a line that begins something.
    pub fn heading(&mut self, text: &str) {
        self.end_line();
        let shown = self.paint.part(Part::Heading, text).to_string();
        self.write(text.as_bytes(), shown.as_bytes(), !self.quiet);
    }

    /// Writes that something is odd.
    pub fn warn(&mut self, text: &str) {
        self.end_line();
        let shown = format!("{} {text}", self.paint.part(Part::Warning, "warning:"));
        let text = format!("warning: {text}");
        for (line, shown) in text.lines().zip(shown.lines()) {
            self.write(line.as_bytes(), shown.as_bytes(), !self.quiet);
        }
    }

    /// Writes lines to the file only.
    pub fn file_only(&mut self, text: &str) {
        self.end_line();
        for line in text.lines() {
            self.write(line.as_bytes(), line.as_bytes(), false);
        }
    }

    /// Forgets the lines kept so far.
    pub fn forget_tail(&mut self) {
        self.end_line();
        self.tail.clear();
    }

    /// The last lines taken since they were forgotten, [`TAIL`] at most.
    pub fn tail(&mut self) -> Vec<String> {
        self.end_line();
        let text = |line: &Vec<u8>| String::from_utf8_lossy(line).into_owned();
        self.tail.iter().map(text).collect()
    }

    fn flush(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if line.ends_with(b"\n") {
            line.pop();
        }
        // Hooks switch tracing off and on by these words; the traces of that are noise.
        let traces = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
        if traces(b"set +o") || traces(b"xtrace") {
            return;
        }
        self.write(&line, &line, !self.quiet);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// Writes a line, which may look different where it is shown.
    fn write(&mut self, line: &[u8], shown: &[u8], on_screen: bool) {
        let stamp = format!("{} | ", Moment::now());
        if on_screen {
            let mut out = io::stdout().lock();
            let stamp = if self.timestamps { stamp.as_bytes() } else { b"" };
            // A reader that went away wants no more.
            let _ = out
                .write_all(&[stamp, shown, b"\n"].concat())
                .and_then(|()| out.flush());
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(&[stamp.as_bytes(), line, b"\n"].concat());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Seek as _};

    #[test]
    fn lines_are_put_together_and_noise_is_dropped() {
        let mut file = tempfile::tempfile().unwrap();
        let mut log = Log::new(true, false, Some(file.try_clone().unwrap()));
        log.take(b"on");
        log.take(b"e\n+ set +o xtrace\n+ set -o xtrace\ntwo\nthr");
        log.say("said\ntwice");
        log.take(b"four");
        log.end_line();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let lines: Vec<_> = text
            .lines()
            .map(|line| line.split_once(" | ").unwrap().1)
            .collect();
        assert_eq!(lines, ["one", "two", "thr", "said", "twice", "four"]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_the_tail_is_short() {
        let mut log = Log::new(true, false, None);
        for _ in 0..3 {
            log.take(&vec![b'x'; LINE_MAX]);
        }
        assert_eq!(log.tail().len(), 3);
        log.forget_tail();
        for number in 0..30 {
            log.take(format!("{number}\n").as_bytes());
        }
        let tail = log.tail();
        assert_eq!(
            (tail.len(), tail[0].as_str(), tail[19].as_str()),
            (TAIL, "10", "29")
        );
    }
}

//! The reporter: outside the build's namespaces it turns the build's output and its notices into what the operator sees.
//!
//! It has no thread and no clock of its own: the builder's one loop gives it what has come in.

use super::log::Log;
use super::notice::{Notice, Outcome};
use crate::error::{Error, Result};

/// What tells the operator about one build.
#[derive(Debug)]
pub struct Reporter {
    log: Log,
    outcome: Option<Outcome>,
}

impl Reporter {
    /// For a build that is about to start.
    pub fn new(log: Log) -> Self {
        Self { log, outcome: None }
    }

    /// Takes what was written to the log, in pieces of any size.
    pub fn output(&mut self, bytes: &[u8]) {
        self.log.take(bytes);
    }

    /// Takes note of something. Everything that was written before it has been taken.
    pub fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::PhaseStarted { heading, .. } => self.log.say(&heading),
            Notice::Warning { text } => self.log.say(&format!("warning: {text}")),
            Notice::Ended(outcome) => self.outcome = Some(outcome),
            _ => {}
        }
    }

    /// How the build said that it ended, if it did.
    pub fn outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Tells how the build ended; nothing more will come.
    pub fn end(&mut self, result: &Result<(), Error>) {
        self.log.end_line();
        match result {
            Ok(()) => self.log.say("Build completed successfully"),
            // The caller prints it.
            Err(error) => self.log.file_only(&format!("error: {error}")),
        }
    }
}

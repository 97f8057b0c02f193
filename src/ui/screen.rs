//! The last line of a terminal: what runs, and for how long. Everything else scrolls above it.
//!
//! It is there only where both streams are the operator's terminal and the terminal can go back in a line. It is drawn
//! when the builder's loop says so: a thread that draws would forbid to fork.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::colour::dumb;
use crate::environment::Environment;

/// How often the line is drawn though nothing happens: often enough that no second is left out.
pub const TICK: Duration = Duration::from_millis(500);

/// The last line, if there is one.
#[derive(Debug, Default)]
pub struct Screen {
    line: Option<ProgressBar>,
}

impl Screen {
    /// The line of the terminal, if it is `wanted` and if there is a terminal.
    pub fn open(wanted: bool, environment: &Environment) -> Self {
        let terminal = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self {
            line: (wanted && terminal && !dumb(environment)).then(fresh),
        }
    }

    /// Whether there is a line.
    pub fn is_open(&self) -> bool {
        self.line.is_some()
    }

    /// Prints something above the line.
    pub fn above<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.line {
            Some(line) => line.suspend(print),
            None => print(),
        }
    }

    /// Draws the line anew: a text, and after it perhaps a bar that shows how much is done of how much.
    pub fn draw(&self, text: &str, bar: Option<(u64, u64)>) {
        let Some(line) = &self.line else { return };
        let template = if bar.is_some() {
            "{msg} [{wide_bar}] {percent} %"
        } else {
            "{wide_msg}"
        };
        let style = ProgressStyle::with_template(template).expect("the templates are constants");
        line.set_style(style.progress_chars("=> "));
        if let Some((done, of)) = bar {
            line.set_length(of);
            line.set_position(done);
        }
        line.set_message(text.to_owned());
        line.tick();
    }

    /// Takes the line away until it is drawn again.
    pub fn clear(&mut self) {
        if let Some(line) = &mut self.line {
            line.finish_and_clear();
            *line = fresh();
        }
    }
}

fn fresh() -> ProgressBar {
    ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

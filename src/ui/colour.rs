//! Colour: whether, and which. Only labels and headings have any; nothing is told by colour alone.
//!
//! `--color` decides. Without it `NO_COLOR` (<https://no-color.org>) forbids colour, else `CLICOLOR_FORCE`
//! (<https://bixense.com/clicolors/>) demands it, else it is there where a terminal that can show it is.

use std::fmt::{self, Display};
use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering};

use anstyle::{AnsiColor, Style};

use crate::environment::Environment;

/// When there is colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Whatever reads it.
    Always,
    /// Not at all.
    Never,
}

impl When {
    /// The words for it on the command line.
    pub const WORDS: [&'static str; 3] = ["auto", "always", "never"];

    /// What the option, or else the environment, says.
    fn decided(option: Option<When>, environment: &Environment) -> When {
        let set = |name: &str| environment.non_empty(name).is_some();
        match option {
            Some(when) if when != When::Auto => when,
            _ if set("NO_COLOR") => When::Never,
            _ if environment
                .non_empty("CLICOLOR_FORCE")
                .is_some_and(|force| force != "0") =>
            {
                When::Always
            }
            _ if dumb(environment) => When::Never,
            _ => When::Auto,
        }
    }
}

impl FromStr for When {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "auto" => Ok(When::Auto),
            "always" => Ok(When::Always),
            "never" => Ok(When::Never),
            _ => Err(()),
        }
    }
}

/// Whether the terminal can do no more than print lines.
pub fn dumb(environment: &Environment) -> bool {
    environment
        .non_empty("TERM")
        .is_none_or(|terminal| terminal == "dumb")
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Decides for this program, once, before it prints anything.
pub fn choose(option: Option<When>, environment: &Environment) {
    CHOSEN.store(When::decided(option, environment) as u8, Ordering::Relaxed);
}

/// What may be coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The word before an error.
    Error,
    /// The word before a warning.
    Warning,
    /// The word before a hint.
    Hint,
    /// A line that begins something.
    Heading,
}

/// Whether one stream is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// Standard output's.
    pub fn stdout() -> Self {
        Self::of(std::io::stdout().is_terminal())
    }

    /// Standard error's.
    pub fn stderr() -> Self {
        Self::of(std::io::stderr().is_terminal())
    }

    fn of(terminal: bool) -> Self {
        let chosen = CHOSEN.load(Ordering::Relaxed);
        Self {
            on: chosen == When::Always as u8 || (chosen == When::Auto as u8 && terminal),
        }
    }

    /// A text in the colours of a part.
    pub fn part<T: Display>(self, part: Part, text: T) -> impl Display {
        let style = match part {
            _ if !self.on => Style::new(),
            Part::Error => AnsiColor::Red.on_default().bold(),
            Part::Warning => AnsiColor::Yellow.on_default().bold(),
            Part::Hint => AnsiColor::Cyan.on_default().bold(),
            Part::Heading => Style::new().bold(),
        };
        Painted { style, text }
    }
}

struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:#}", self.style, self.text, self.style)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_beats_the_variables() {
        let decide = |option, variables: &[(&str, &str)]| {
            let mut environment = Environment::default();
            for (name, value) in variables {
                environment.set(*name, *value);
            }
            When::decided(option, &environment)
        };
        let xterm = ("TERM", "xterm");
        for (option, variables, when) in [
            (None, &[xterm][..], When::Auto),
            (None, &[xterm, ("NO_COLOR", "")], When::Auto),
            (
                None,
                &[xterm, ("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")],
                When::Never,
            ),
            (None, &[("CLICOLOR_FORCE", "1")], When::Always),
            (None, &[xterm, ("CLICOLOR_FORCE", "0")], When::Auto),
            (None, &[("TERM", "dumb")], When::Never),
            (None, &[], When::Never),
            (Some(When::Always), &[("NO_COLOR", "1")], When::Always),
            (Some(When::Never), &[("CLICOLOR_FORCE", "1")], When::Never),
            (Some(When::Auto), &[xterm, ("NO_COLOR", "1")], When::Never),
        ] {
            assert_eq!(decide(option, variables), when, "{option:?} {variables:?}");
        }
    }

    #[test]
    fn only_what_is_on_is_painted() {
        let label = |on| Paint { on }.part(Part::Error, "error:").to_string();
        assert_eq!(label(false), "error:");
        assert_eq!(label(true), "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m");
    }
}

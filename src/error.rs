//! What a user is told when something fails: what, why, what may help; and the one table of exit statuses.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ui::card::Card;

/// The result of everything in this crate that a user can make fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, ready to be shown.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hints: Vec<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    card: Option<Box<Card>>,
}

/// What kind of failure it is: this alone decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The command line or a variable makes no sense.
    Usage,
    /// The elements do not fit together.
    Elements,
    /// The host lacks something, or refuses it.
    Host,
    /// A hook failed; its status becomes the build's.
    Hook {
        /// What the hook ended with, or 128 and the number of the signal that ended it.
        status: u8,
    },
    /// The image cannot be planned or written.
    Image,
    /// Images were compared, checked or tested, and what was found is printed: there is nothing to add.
    Found,
    /// Images could not be compared or checked.
    Trouble,
    /// The build was ended by a signal.
    Interrupted {
        /// Which.
        signal: u8,
    },
}

/// The table of exit statuses, as `--help` and the manual print it; [`Kind::status`] is the same table for programs.
pub const STATUSES: [(&str, &str); 5] = [
    ("0", "everything succeeded"),
    (
        "1",
        "the command line, the elements, the host or the image: a message says what is wrong; dib diff: the images \
         differ; dib check: something is wrong; dib test-element: a case failed",
    ),
    ("2", "dib diff and dib check: trouble, as 1 for the others"),
    (
        "N",
        "a hook ended with status N; 126 or 127: it could not be started; 1: a hook of block-device.d failed",
    ),
    ("128+N", "signal N ended the build or a hook"),
];

impl Kind {
    /// The table of exit statuses. Callers of the original program know 1 for everything that is not a hook's.
    pub fn status(self) -> u8 {
        match self {
            Kind::Usage | Kind::Elements | Kind::Host | Kind::Image | Kind::Found => 1,
            Kind::Trouble => 2,
            Kind::Hook { status } => status,
            Kind::Interrupted { signal } => signal.saturating_add(128),
        }
    }
}

impl Error {
    /// A failure of the given kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hints: Vec::new(),
            source: None,
            card: None,
        }
    }

    /// The command line or a variable makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The same failure of a command whose status 1 means something else.
    #[must_use]
    pub fn into_trouble(mut self) -> Self {
        self.kind = Kind::Trouble;
        self
    }

    /// Adds what a user may do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds what caused it, whose hints become this failure's.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let mut source = source.into();
        if let Some(error) = source.downcast_mut::<Error>() {
            self.hints.append(&mut error.hints);
        }
        self.source = Some(source);
        self
    }

    /// What the system said, if it was the system that refused.
    pub fn system(&self) -> Option<&std::io::Error> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(self);
        let mut found = None;
        while let Some(error) = next {
            found = error.downcast_ref().or(found);
            next = error.source();
        }
        found
    }

    /// Adds what is known about the hook that failed.
    #[must_use]
    pub fn with_card(mut self, card: Card) -> Self {
        self.card = Some(Box::new(card));
        self
    }

    /// What is known about the hook that failed, if one did.
    pub fn card(&self) -> Option<&Card> {
        self.card.as_deref()
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What may help.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The message and its causes, without hints.
    pub fn message(&self) -> String {
        let cause = self.source.as_deref().map(|source| source as _);
        cause.map_or_else(
            || self.message.clone(),
            |cause| format!("{}: {}", self.message, told(cause)),
        )
    }
}

/// What an error says, and its causes after colons.
pub fn told(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    // One of ours has told its own causes.
    let mut last = error;
    while let Some(cause) = last.source().filter(|_| !last.is::<Error>()) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        last = cause;
    }
    text
}

/// The message, its causes after colons, what is known about the hook, then one line for each hint.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        if let Some(card) = &self.card {
            write!(f, "\n{card}")?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Adds the message to a failure of the system.
pub trait Context<T> {
    /// The host refused: says what was tried.
    fn host(self, tried: impl FnOnce() -> String) -> Result<T>;
    /// The image could not be written: says what was tried.
    fn image(self, tried: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Context<T> for std::result::Result<T, E> {
    fn host(self, tried: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(Kind::Host, tried()).because(error))
    }

    fn image(self, tried: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::new(Kind::Image, tried()).because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reads_as_message_causes_and_hints() {
        let error = std::fs::read("/nowhere/at/all").host(|| "cannot read it".into());
        let error = error.unwrap_err().hint("create it");
        assert_eq!(
            error.to_string(),
            "cannot read it: No such file or directory (os error 2)\nhint: create it"
        );
        assert_eq!(error.kind().status(), 1);
        let outer = Error::usage("outer").because(error).hint("later");
        assert_eq!(outer.hints(), ["create it", "later"]);
        assert_eq!(
            outer.message(),
            "outer: cannot read it: No such file or directory (os error 2)"
        );
        let system = outer.system().map(std::io::Error::kind);
        assert_eq!(system, Some(std::io::ErrorKind::NotFound));
        assert_eq!(Kind::Hook { status: 7 }.status(), 7);
        assert_eq!(Kind::Interrupted { signal: 15 }.status(), 143);
    }
}

//! Events: the course of a build for programs, as JSON Lines. This is the documentation of the schema.
//!
//! `--events FILE`, or the variable `DIB_EVENTS`, writes them to a file, which is created or replaced; a number is a
//! descriptor that the program inherits. Hooks do not inherit it.
//!
//! Each line is one JSON object with
//!
//! - `schema`: 1. It changes when what is told here changes its meaning or goes; new events and new fields may come at
//!   any time, and readers pass over those that they do not know;
//! - `at`: the time in UTC, `2026-11-22T23:59:01.123Z`;
//! - `event`, and the fields that it has:
//!
//! | event | fields |
//! |---|---|
//! | `build-started` | `version`, `architecture`, `elements` (names, in order), `outputs` (of `path`, `format`) |
//! | `phase-started` | `phase`: `install.d`, or `packages` for those of `-p` |
//! | `hook-started` | `phase`, `hook`, `element`, `path`; the last two are null where no element brought it |
//! | `hook-ended` | the same, `seconds`, `status`: 0, or as a shell tells it |
//! | `phase-ended` | `phase`, `seconds` |
//! | `warning` | `text` |
//! | `tree-scanned` | `entries`, `bytes` of the finished tree |
//! | `output-started` | `path`, `format`, `bytes` of the image |
//! | `output-progress` | `path`, `bytes` so far; each second at most |
//! | `output-finished` | `path`, `format`, `bytes` of the file, `seconds`, `digests` (by algorithm) |
//! | `build-finished` | `seconds` |
//! | `build-failed` | `seconds`, `status` that the program ends with, `message`, `hints`, `hook`: null, or a [`Card`] |
//!
//! A `hook` is the name of a file in the phase's directory; or `environment.d`, all of which one shell sources before
//! the hooks; or, in `packages`, `install-packages`.
//!
//! The last line is `build-finished` or `build-failed`, whatever ends the build, kill -9 of any of its processes
//! included, since the builder outside of it writes the events; only the builder's own death leaves them without an
//! end. After a failure, what had started may lack its end. A build that cannot start, say for an unknown element,
//! has `build-failed` alone. Lines of the log are no events: `--logfile` keeps those.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::card::Card;
use crate::clock::Moment;
use crate::error::{Context, Error, Result};
use crate::sandbox::{self, caller};

/// The version of the schema.
pub const SCHEMA: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When it happened.
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the table above says what the fields are")]
pub enum Event {
    BuildStarted {
        version: String,
        architecture: String,
        elements: Vec<String>,
        outputs: Vec<Target>,
    },
    PhaseStarted {
        phase: String,
    },
    HookStarted {
        #[serde(flatten)]
        hook: Hook,
    },
    HookEnded {
        #[serde(flatten)]
        hook: Hook,
        seconds: f64,
        status: u8,
    },
    PhaseEnded {
        phase: String,
        seconds: f64,
    },
    Warning {
        text: String,
    },
    TreeScanned {
        entries: u64,
        bytes: u64,
    },
    OutputStarted {
        #[serde(flatten)]
        output: Target,
        bytes: u64,
    },
    OutputProgress {
        path: String,
        bytes: u64,
    },
    OutputFinished {
        #[serde(flatten)]
        output: Target,
        bytes: u64,
        seconds: f64,
        digests: BTreeMap<String, String>,
    },
    BuildFinished {
        seconds: f64,
    },
    BuildFailed {
        seconds: f64,
        status: u8,
        message: String,
        hints: Vec<String>,
        hook: Option<Card>,
    },
}

/// A hook, and where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the table above says what the fields are")]
pub struct Hook {
    pub phase: String,
    pub hook: String,
    pub element: Option<String>,
    pub path: Option<String>,
}

/// An output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the table above says what the fields are")]
pub struct Target {
    pub path: String,
    pub format: String,
}

/// Where events go, if anywhere.
#[derive(Debug)]
pub struct Events {
    file: Option<File>,
    start: Instant,
}

impl Events {
    /// Opens a file, or takes over a descriptor.
    pub fn open(place: Option<&OsStr>) -> Result<Self> {
        let place = place.filter(|place| !place.is_empty());
        let file = place.map(|place| match place.to_str().map(str::parse::<i32>) {
            Some(Ok(number)) => sandbox::inherited(number)
                .map(File::from)
                .host(|| format!("cannot write events to descriptor {number}")),
            _ => File::create(place)
                .and_then(|file| caller::own(&file).map(|()| file))
                .host(|| format!("cannot write events to {}", Path::new(place).display())),
        });
        Ok(Self {
            file: file.transpose()?,
            start: Instant::now(),
        })
    }

    /// Closes the file.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// The time since they were opened, which is when the command began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The same in seconds.
    pub fn seconds(&self) -> f64 {
        millis(self.elapsed().as_secs_f64())
    }

    /// Writes an event.
    pub fn tell(&mut self, event: Event) {
        let Some(file) = &mut self.file else { return };
        let line = Line {
            schema: SCHEMA,
            at: Moment::now().rfc3339(),
            event,
        };
        let mut bytes = serde_json::to_vec(&line).expect("an event is numbers, texts and lists of them");
        bytes.push(b'\n');
        if let Err(error) = file.write_all(&bytes) {
            self.file = None;
            super::warn(format_args!("no more events are written: {error}"));
        }
    }

    /// Writes the last event.
    pub fn end(&mut self, result: &Result<(), Error>) {
        let seconds = self.seconds();
        self.tell(match result {
            Ok(()) => Event::BuildFinished { seconds },
            Err(error) => Event::BuildFailed {
                seconds,
                status: error.kind().status(),
                message: error.message(),
                hints: error.hints().to_vec(),
                hook: error.card().cloned(),
            },
        });
    }
}

/// Seconds to the millisecond: what is finer is noise.
pub fn millis(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_files_or_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        let mut events = Events::open(Some(path.as_os_str())).unwrap();
        events.tell(Event::Warning {
            text: "one\ntwo".into(),
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let line: Line = serde_json::from_str(&text).unwrap();
        assert_eq!((line.schema, text.lines().count()), (1, 1));
        assert_eq!(
            line.event,
            Event::Warning {
                text: "one\ntwo".into()
            }
        );
        let nowhere = Events::open(Some(OsStr::new("/no/such/dir/events"))).unwrap_err();
        assert!(
            nowhere
                .message()
                .starts_with("cannot write events to /no/such/dir/events: ")
        );
        let closed = Events::open(Some(OsStr::new("987"))).unwrap_err();
        assert!(
            closed
                .message()
                .starts_with("cannot write events to descriptor 987: ")
        );
        Events::open(None)
            .unwrap()
            .tell(Event::Warning { text: String::new() });
    }
}

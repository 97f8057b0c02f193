//! Notices: what a build says about its own course, on a way of its own, so that no hook can pretend to be the build.
//!
//! The log of a build is a pipe that every hook writes to, so nothing in it can be believed. Notices go through a
//! socket instead. It is closed in every process that the build starts, and, unlike a pipe, it cannot be opened again
//! through `/proc/PID/fd`. (A hook is root, and could take the build itself over; this is against accidents and
//! against text that looks like ours, not against root.)
//!
//! A notice is one line of JSON. The build waits until it was taken note of, so that the order of notices and log is
//! the order in which things happened: what a hook wrote stands in the log before the end of that hook is known, and
//! what the next one writes comes after. Only progress is not waited for, as threads that copy tell it.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};

/// Something that happened in the build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Notice {
    /// A phase, or what is like one, began.
    PhaseStarted {
        /// Its directory: `install.d`.
        phase: String,
        /// The line of the log that says so.
        heading: String,
    },
    /// It ended, well or not.
    PhaseEnded,
    /// A hook of the phase began.
    HookStarted {
        /// Its file name.
        hook: String,
    },
    /// It ended.
    HookEnded {
        /// How long it took.
        seconds: f64,
        /// How it failed, if it did.
        failure: Option<Failure>,
    },
    /// Work of the builder itself began.
    WorkStarted {
        /// Which: `scan the tree`.
        work: String,
    },
    /// It ended.
    WorkEnded,
    /// The finished tree was scanned.
    TreeScanned {
        /// Names in it.
        entries: u64,
        /// Bytes in its files.
        bytes: u64,
    },
    /// An output began.
    OutputStarted {
        /// Its path.
        path: String,
        /// Its format.
        format: String,
        /// Bytes in the image.
        bytes: u64,
    },
    /// So far an output was written.
    OutputProgress {
        /// Bytes of the image.
        bytes: u64,
    },
    /// An output is complete and has its name.
    OutputFinished {
        /// Bytes in the file.
        bytes: u64,
        /// Algorithms and hexadecimal digests.
        digests: Vec<(String, String)>,
    },
    /// Something is odd.
    Warning {
        /// What.
        text: String,
    },
    /// The build's directory is a tmpfs.
    InMemory,
    /// A shell takes the terminal.
    ShellOpened,
    /// It is gone again.
    ShellClosed,
    /// The build is over.
    Ended(Outcome),
}

/// How a hook failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its status, as a shell tells it.
    pub status: u8,
    /// The signal that ended it, if one did.
    pub signal: Option<u8>,
    /// The same in words that follow its name: `ended with status 7`.
    pub ending: String,
    /// The file in the tree of hooks that made it fail, if that is not the hook's own.
    pub file: Option<String>,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Well.
    Finished,
    /// Not well.
    Failed {
        /// The kind of the error.
        kind: Kind,
        /// What failed, and its causes.
        message: String,
        /// What may help.
        hints: Vec<String>,
    },
}

impl Outcome {
    /// How a result ends a build.
    pub fn of(result: &Result<(), Error>) -> Self {
        match result {
            Ok(()) => Outcome::Finished,
            Err(error) => Outcome::Failed {
                kind: error.kind(),
                message: error.message(),
                hints: error.hints().to_vec(),
            },
        }
    }

    /// The result that ended it so.
    pub fn into_result(self) -> Result<(), Error> {
        match self {
            Outcome::Finished => Ok(()),
            Outcome::Failed { kind, message, hints } => {
                Err(hints.into_iter().fold(Error::new(kind, message), Error::hint))
            }
        }
    }
}

/// The end of the build, once there is a build.
static TELLER: Mutex<Option<Teller>> = Mutex::new(None);

/// The end that the build tells through.
#[derive(Debug)]
pub struct Teller(UnixStream);

/// The end that the builder listens at.
#[derive(Debug)]
pub struct Listener {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

/// Makes both ends.
pub fn channel() -> io::Result<(Teller, Listener)> {
    let (teller, listener) = UnixStream::pair()?;
    listener.set_nonblocking(true)?;
    let listener = Listener {
        stream: BufReader::new(listener),
        line: Vec::new(),
    };
    Ok((Teller(teller), listener))
}

impl Teller {
    /// Makes this the end that [`tell`] uses in this process.
    pub fn install(self) {
        *TELLER.lock().unwrap_or_else(PoisonError::into_inner) = Some(self);
    }

    fn tell(&self, notice: &Notice) -> io::Result<()> {
        let mut line = serde_json::to_vec(notice)?;
        line.push(b'\n');
        (&self.0).write_all(&line)?;
        if waits(notice) {
            (&self.0).read_exact(&mut [0])?;
        }
        Ok(())
    }
}

/// Whether the build waits until a notice was taken note of.
fn waits(notice: &Notice) -> bool {
    !matches!(notice, Notice::OutputProgress { .. })
}

/// Tells the builder; returns whether there is one that listens. Outside a build there is none.
pub fn tell(notice: &Notice) -> bool {
    let teller = TELLER.lock().unwrap_or_else(PoisonError::into_inner);
    teller.as_ref().is_some_and(|teller| teller.tell(notice).is_ok())
}

impl Listener {
    /// The next notice that has come in whole; `WouldBlock` if none has, `None` when no more will come.
    pub fn hear(&mut self) -> io::Result<Option<Notice>> {
        loop {
            match self.stream.read_until(b'\n', &mut self.line) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What has come in of a line stays in `line`.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
                Ok(_) if !self.line.ends_with(b"\n") => return Ok(None),
                Ok(_) => break,
            }
        }
        let notice = serde_json::from_slice(&std::mem::take(&mut self.line))?;
        Ok(Some(notice))
    }

    /// Lets the build go on after a notice.
    pub fn taken(&self, notice: &Notice) {
        if waits(notice) {
            // A build that is gone needs no answer.
            let _ = self.stream.get_ref().write_all(b"\n");
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.get_ref().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_come_one_by_one_and_the_teller_waits() {
        let (teller, mut listener) = channel().unwrap();
        let blocked = listener.hear().unwrap_err();
        assert_eq!(blocked.kind(), ErrorKind::WouldBlock);
        let notices = [
            Notice::HookStarted {
                hook: "10-two\nlines".into(),
            },
            Notice::OutputProgress { bytes: 7 },
            Notice::Ended(Outcome::Failed {
                kind: Kind::Hook { status: 7 },
                message: "m".into(),
                hints: vec!["h".into()],
            }),
        ];
        let told = notices.clone();
        let thread = std::thread::spawn(move || {
            for notice in told {
                teller.tell(&notice).unwrap();
            }
        });
        let mut heard = Vec::new();
        loop {
            match listener.hear() {
                Ok(Some(notice)) => {
                    if waits(&notice) {
                        assert!(!thread.is_finished(), "the teller waits for an answer");
                    }
                    listener.taken(&notice);
                    heard.push(notice);
                }
                Ok(None) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
        thread.join().unwrap();
        assert_eq!(heard, notices);
    }

    #[test]
    fn an_error_survives_the_way_to_the_builder() {
        let error = Error::new(Kind::Hook { status: 9 }, "phase x").because(Error::usage("cause"));
        let error = error.hint("one").hint("two");
        let (text, kind) = (error.to_string(), error.kind());
        let back = Outcome::of(&Err(error)).into_result().unwrap_err();
        assert_eq!((back.to_string(), back.kind()), (text, kind));
    }
}

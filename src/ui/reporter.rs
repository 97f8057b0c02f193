//! The reporter: outside the build's namespaces it turns the build's output and its notices into what the operator sees:
//! the log, the last line of the terminal, the heartbeat, the card of a failed hook, the profile, the events.
//!
//! It has no thread: the builder's one loop gives it what has come in, and calls it when time has passed.
//!
//! `_DIB_HEARTBEAT_MS` replaces the 30 seconds of the heartbeat. It is there for tests, and no option.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::card::{Card, shell_command};
use super::course::{Course, Writing};
use super::events::{Event, Events, Hook, Target, millis};
use super::hints::{Scene, hints};
use super::log::Log;
use super::notice::{Failure, Notice, Outcome};
use super::profile::Profile;
use super::screen::{Screen, TICK};
use crate::environment::Environment;
use crate::error::{Error, Kind, Result};
use crate::phase::{Phase, Place};

/// How long nothing is printed before a line says what runs.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// How often events tell how far an output is.
const PROGRESS_EVENT: Duration = Duration::from_secs(1);

/// What is known about a build before it starts.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// The element that brought a hook and where it keeps it, by the hook's path in the tree of hooks.
    pub hooks: BTreeMap<String, (String, String)>,
    /// Where the build's directory is made.
    pub dir: PathBuf,
    /// The words of the command that builds.
    pub command: Vec<OsString>,
}

/// What tells the operator about one build.
#[derive(Debug)]
pub struct Reporter<'a> {
    subject: Subject,
    log: Log,
    screen: Screen,
    events: &'a mut Events,
    heartbeat: Duration,
    course: Course,
    profile: Profile,
    /// The build is in a tmpfs.
    in_memory: bool,
    /// A shell has the terminal.
    lent: bool,
    /// When something was printed last.
    printed: Instant,
    failed: Option<(Card, Vec<String>)>,
    outcome: Option<Outcome>,
}

impl<'a> Reporter<'a> {
    /// For a build that is about to start.
    pub fn new(
        subject: Subject,
        log: Log,
        screen: Screen,
        events: &'a mut Events,
        environment: &Environment,
    ) -> Self {
        let heartbeat = environment.non_empty("_DIB_HEARTBEAT_MS");
        let heartbeat = heartbeat.and_then(|text| text.to_str()?.parse().ok());
        Self {
            subject,
            log,
            screen,
            events,
            heartbeat: heartbeat.map_or(HEARTBEAT, Duration::from_millis),
            course: Course::default(),
            profile: Profile::default(),
            in_memory: false,
            lent: false,
            printed: Instant::now(),
            failed: None,
            outcome: None,
        }
    }

    /// Takes what was written to the log, in pieces of any size.
    pub fn output(&mut self, bytes: &[u8]) {
        self.print(|log| log.take(bytes));
    }

    /// How long there is nothing to do if nothing comes in; `None`: for ever.
    pub fn patience(&self) -> Option<Duration> {
        if self.lent {
            return None;
        }
        let beat = self.heartbeat.saturating_sub(self.printed.elapsed());
        Some(if self.screen.is_open() {
            beat.min(TICK)
        } else {
            beat
        })
    }

    /// Does what time demands.
    pub fn tick(&mut self) {
        if self.lent {
            return;
        }
        if self.printed.elapsed() >= self.heartbeat {
            let line = self.course.heartbeat(self.events.elapsed());
            if self.screen.is_open() {
                // The terminal shows it already.
                self.log.file_only(&line);
                self.printed = Instant::now();
            } else {
                self.print(|log| log.say(&line));
            }
        }
        self.draw();
    }

    /// Takes note of something. Everything that was written before it has been taken.
    pub fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::PhaseStarted { phase, heading } => self.phase_started(phase, &heading),
            Notice::PhaseEnded => self.phase_ended(),
            Notice::HookStarted { hook } => self.hook_started(hook),
            Notice::HookEnded { seconds, failure } => self.hook_ended(seconds, failure),
            Notice::WorkStarted { work } => self.course.work = Some((work, Instant::now())),
            Notice::WorkEnded => {
                if let Some((work, since)) = self.course.work.take() {
                    self.profile.whole(work, millis(since.elapsed().as_secs_f64()));
                }
            }
            Notice::TreeScanned { entries, bytes } => self.events.tell(Event::TreeScanned { entries, bytes }),
            Notice::OutputStarted { path, format, bytes } => {
                self.output_started(Target { path, format }, bytes);
            }
            Notice::OutputProgress { bytes } => self.output_progress(bytes),
            Notice::OutputFinished { bytes, digests } => {
                self.output_finished(bytes, digests.into_iter().collect());
            }
            Notice::Warning { text } => {
                self.print(|log| log.warn(&text));
                self.events.tell(Event::Warning { text });
            }
            Notice::InMemory => self.in_memory = true,
            Notice::ShellOpened => {
                self.screen.clear();
                self.lent = true;
            }
            Notice::ShellClosed => {
                self.lent = false;
                self.printed = Instant::now();
            }
            Notice::Ended(outcome) => self.outcome = Some(outcome),
        }
        self.draw();
    }

    /// Closes what the build itself must not hold open, after it was forked off: a hook could write to it through
    /// `/proc`.
    pub fn leave(&mut self) {
        self.log.close();
        self.events.close();
    }

    /// How the build said that it ended, if it did.
    pub fn outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// Tells how the build ended, and returns it with what is known about a failed hook; nothing more will come.
    pub fn end(mut self, result: Result<()>) -> Result<()> {
        self.screen.clear();
        let mut error = match result {
            Ok(()) => {
                self.log
                    .say(&self.profile.table(self.events.seconds()).to_string());
                self.log.say("Build completed successfully");
                return Ok(());
            }
            Err(error) => error,
        };
        if let (Kind::Hook { .. }, Some((card, hints))) = (error.kind(), self.failed) {
            error = hints.into_iter().fold(error.with_card(card), Error::hint);
        }
        // The caller prints it.
        self.log.file_only(&format!("error: {error}"));
        Err(error)
    }

    fn print(&mut self, print: impl FnOnce(&mut Log)) {
        let log = &mut self.log;
        if self.lent {
            print(log);
        } else {
            self.screen.above(|| print(log));
        }
        self.printed = Instant::now();
    }

    fn draw(&mut self) {
        if !self.lent && self.screen.is_open() {
            let bar = self.course.output.as_ref();
            let bar = bar.map(|writing| (writing.done, writing.of));
            self.screen.draw(&self.course.line(self.events.elapsed()), bar);
        }
    }

    fn phase_started(&mut self, phase: String, heading: &str) {
        self.print(|log| log.heading(heading));
        self.log.forget_tail();
        self.events.tell(Event::PhaseStarted { phase: phase.clone() });
        self.course.phase = Some((phase, Instant::now()));
    }

    fn phase_ended(&mut self) {
        if let Some((phase, since)) = self.course.phase.take() {
            let seconds = millis(since.elapsed().as_secs_f64());
            self.profile.whole(&phase, seconds);
            self.events.tell(Event::PhaseEnded { phase, seconds });
        }
    }

    fn hook_started(&mut self, hook: String) {
        self.log.forget_tail();
        let phase = self.course.phase.as_ref().map(|(phase, _)| phase.clone());
        let phase = phase.unwrap_or_default();
        let origin = self.subject.hooks.get(&format!("{phase}/{hook}"));
        let (element, path) = origin.cloned().unzip();
        let hook = Hook {
            phase,
            hook,
            element,
            path,
        };
        self.events.tell(Event::HookStarted { hook: hook.clone() });
        self.course.hook = Some((hook, Instant::now()));
    }

    fn hook_ended(&mut self, seconds: f64, failure: Option<Failure>) {
        let Some((hook, _)) = self.course.hook.take() else {
            return;
        };
        let seconds = millis(seconds);
        let element = hook.element.as_ref();
        let element = element.map_or(String::new(), |element| format!("  ({element})"));
        self.profile.part(format!("{}{element}", hook.hook), seconds);
        let status = failure.as_ref().map_or(0, |failure| failure.status);
        if let Some(failure) = failure {
            self.failed = Some(self.failure(hook.clone(), seconds, failure));
        }
        self.events.tell(Event::HookEnded {
            hook,
            seconds,
            status,
        });
    }

    /// All about a failed hook, and what may help.
    fn failure(&mut self, mut hook: Hook, seconds: f64, failure: Failure) -> (Card, Vec<String>) {
        let on_host = Phase::ALL
            .iter()
            .any(|phase| phase.dir() == hook.phase && phase.place() == Place::Host);
        let scene = Scene::look(!on_host, failure.signal, &self.subject.dir, self.in_memory);
        let output = self.log.tail();
        let end = format!("{} {}", hook.hook, failure.ending);
        let lines: Vec<String> = output.iter().cloned().chain([end]).collect();
        let hints = hints(&lines, &scene);
        if let Some(file) = failure.file {
            (hook.element, hook.path) = self.subject.hooks.get(&file).cloned().unzip();
            hook.hook = file;
        }
        let card = Card {
            phase: hook.phase,
            hook: hook.hook,
            element: hook.element,
            path: hook.path,
            status: failure.status,
            ending: failure.ending,
            seconds,
            output,
            shell: shell_command(&self.subject.command),
        };
        (card, hints)
    }

    fn output_started(&mut self, output: Target, of: u64) {
        let now = Instant::now();
        self.events.tell(Event::OutputStarted {
            output: output.clone(),
            bytes: of,
        });
        self.course.output = Some(Writing {
            output,
            of,
            done: 0,
            since: now,
            told: now,
        });
    }

    fn output_progress(&mut self, bytes: u64) {
        let Some(writing) = &mut self.course.output else {
            return;
        };
        writing.done = bytes;
        if writing.told.elapsed() >= PROGRESS_EVENT {
            writing.told = Instant::now();
            let path = writing.output.path.clone();
            self.events.tell(Event::OutputProgress { path, bytes });
        }
    }

    fn output_finished(&mut self, bytes: u64, digests: BTreeMap<String, String>) {
        if let Some(writing) = self.course.output.take() {
            let seconds = millis(writing.since.elapsed().as_secs_f64());
            self.profile
                .whole(format!("write {}", writing.output.path), seconds);
            self.events.tell(Event::OutputFinished {
                output: writing.output,
                bytes,
                seconds,
                digests,
            });
        }
    }
}

//! The builder outside the namespaces: starts the build as their first process, logs what it writes, outlives it.
//!
//! The build cannot outlive the builder: its first process asks for SIGKILL when its parent dies, and with the first
//! process of a pid namespace all others die. Where there is no such namespace a keeper stands between
//! the two. The builder needs no thread: it waits for the log, the build's notices and end, and the signals that ask it
//! to end, in one loop.

use std::fs;
use std::io;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, pidfd_open, waitpid};

use super::sys::{self, Side};
use super::terminal::Modes;
use super::tier::Grant;
use super::{caller, keeper, offspring, plain, unshared};
use crate::error::{Context, Error, Kind, Result};
use crate::ui::notice::{self, Listener, Notice, Outcome};
use crate::ui::reporter::Reporter;

/// The signal that stands for whatever ended the process of the user who called: SIGTERM.
const ASKED_BY_CALLER: u8 = 15;

/// How a build ended that did not report it.
const SILENT: &str = "the build ended without a word";

/// The signals that ask the builder to end, held back as long as this value lives: whatever the build needs done at its
/// end is done, by whomever and how often it is asked.
#[derive(Debug)]
pub struct Endings {
    signals: OwnedFd,
    mask: sys::Mask,
}

impl Endings {
    /// Holds them back from now on.
    pub fn hold() -> Result<Self> {
        let (signals, mask) = sys::catch_endings().host(|| "cannot hold signals back".to_owned())?;
        Ok(Self { signals, mask })
    }

    /// Takes the signal that came first.
    fn take(&self) -> io::Result<u8> {
        let mut record = [0; 128];
        let len = rustix::io::read(&self.signals, &mut record)?;
        Ok(sys::signal_of(&record[..len]))
    }
}

impl Drop for Endings {
    fn drop(&mut self) {
        // What came meanwhile is obeyed already.
        while is_ready(&self.signals) && self.take().is_ok() {}
        let _ = sys::restore(&self.mask);
    }
}

/// Runs `build` as the first process of new namespaces, or under a keeper; what it and its children write and tell goes
/// to `reporter`.
pub fn supervise(
    reporter: &mut Reporter<'_>,
    grant: &Grant,
    endings: &Endings,
    build: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let tried = || "cannot start the build".to_owned();
    let pipe = || pipe_with(PipeFlags::CLOEXEC).host(tried);
    let ((log_end, log_start), (life, alive)) = (pipe()?, pipe()?);
    let (teller, listener) = notice::channel().host(tried)?;
    let terminal = Modes::save();
    // Processes that were there before the build are none of its own.
    let spared = if grant.tier.has_namespaces() {
        sys::new_pid_namespace().host(|| "cannot make the namespaces that hold a build".to_owned())?;
        None
    } else {
        keeper::adopt().host(tried)?;
        Some(offspring::children().host(tried)?)
    };
    match sys::fork().host(tried)? {
        Side::Child => {
            drop((log_end, listener, alive));
            reporter.leave();
            let build = |tied: Result<()>| {
                teller.install();
                let ready = tied.and_then(|()| prepare(grant, &endings.mask, &life, &log_start));
                let result = ready.and_then(|()| build());
                notice::tell(&Notice::Ended(Outcome::of(&result)));
                result.map_or_else(|error| error.kind().status(), |()| 0)
            };
            let status = if spared.is_none() {
                let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
                build(tied.host(|| "cannot tie the build to its builder".to_owned()))
            } else {
                keeper::keep(&life, build)
            };
            std::process::exit(i32::from(status));
        }
        Side::Parent(child) => {
            drop((log_start, teller, life));
            let ended = watch(child, reporter, log_end, listener, endings, spared.as_deref());
            if let Some(terminal) = terminal {
                terminal.restore();
            }
            drop(alive);
            conclude(reporter.outcome(), &ended?)
        }
    }
}

/// Becomes what the build runs in.
fn prepare(grant: &Grant, mask: &sys::Mask, life: &OwnedFd, log: &OwnedFd) -> Result<()> {
    let tried = || "cannot set up the build".to_owned();
    if hung_up(life) {
        // The builder died before it could be asked to take this process along.
        return Err(Error::new(Kind::Host, "the builder is gone"));
    }
    sys::restore(mask).host(tried)?;
    if grant.tier.has_namespaces() {
        let mut step = unshared::Step::default();
        unshared::enter(grant.tier, grant.network, &mut step)
            .host(|| format!("cannot set up the namespaces of the build: {step}"))?;
    } else {
        plain::give_up_capabilities().host(|| "cannot give up capabilities".to_owned())?;
    }
    // Hooks may open their standard output anew.
    caller::own(log).host(tried)?;
    rustix::stdio::dup2_stdout(log).host(tried)?;
    rustix::stdio::dup2_stderr(log).host(tried)
}

fn hung_up(fd: &OwnedFd) -> bool {
    state(fd).contains(PollFlags::HUP)
}

fn is_ready(fd: &OwnedFd) -> bool {
    state(fd).contains(PollFlags::IN)
}

/// What can be said of a descriptor now.
fn state(fd: &OwnedFd) -> PollFlags {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&now)) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// How the build's first process ended, and the signal that asked the builder to end it, if one did.
struct Ended {
    status: WaitStatus,
    signal: Option<u8>,
}

/// Reports until nobody can write to the log any more, which is when the last process of the build is gone.
///
/// Where no namespace takes them along, what the child leaves is killed, but for the processes that are `spared`.
fn watch(
    child: Pid,
    reporter: &mut Reporter<'_>,
    output: OwnedFd,
    mut listener: Listener,
    endings: &Endings,
    spared: Option<&[Pid]>,
) -> Result<Ended> {
    let tried = || "cannot watch the build".to_owned();
    let mut output = Output::new(output).host(tried)?;
    let build = pidfd_open(child, PidfdFlags::empty()).host(tried)?;
    let (mut asked, mut status, mut listening) = (None, None, true);
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(output.pipe.as_fd(), PollFlags::IN),
            PollFd::new(&endings.signals, PollFlags::IN),
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(build.as_fd(), PollFlags::IN),
            PollFd::new(&endings.signals, PollFlags::empty()),
        ];
        if let (Some(leash), None) = (caller::leash(), asked) {
            fds[4] = PollFd::from_borrowed_fd(leash, PollFlags::empty());
        }
        // A notice that nobody can send any more, or an end that is known, would wake the loop for ever.
        if !listening {
            fds[2] = PollFd::new(&endings.signals, PollFlags::empty());
        }
        if status.is_some() {
            fds[3] = PollFd::new(&endings.signals, PollFlags::empty());
        }
        let patience = reporter.patience().and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut fds, patience.as_ref()) {
            Err(Errno::INTR) => continue,
            other => other.host(tried)?,
        };
        let come = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (written, signalled, told, ended) = (come(0), come(1), come(2), come(3));
        if signalled {
            let signal = endings.take().host(tried)?;
            asked = asked.or(Some(signal));
            let _ = kill_process(child, Signal::KILL);
        }
        if come(4) && asked.is_none() {
            asked = Some(ASKED_BY_CALLER);
            let _ = kill_process(child, Signal::KILL);
        }
        if ended {
            status = Some(wait(child)?);
            if let Some(spared) = spared {
                offspring::kill_descendants(spared).host(tried)?;
            }
        }
        if told {
            listening = hear_all(&mut listener, &mut output, reporter).host(tried)?;
        }
        if written && output.read(reporter).host(tried)? == Read::End {
            break;
        }
        reporter.tick();
    }
    hear_all(&mut listener, &mut output, reporter).host(tried)?;
    let status = status.map_or_else(|| wait(child), Ok)?;
    Ok(Ended {
        status,
        signal: asked,
    })
}

/// Waits for the end of a child.
fn wait(child: Pid) -> Result<WaitStatus> {
    let status = loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            other => break other.host(|| "cannot watch the build".to_owned())?,
        }
    };
    let (_, status) = status.ok_or_else(|| Error::new(Kind::Host, SILENT))?;
    Ok(status)
}

/// Hears all notices that have come in, each after what was written before it; whether more may come.
fn hear_all(listener: &mut Listener, output: &mut Output, reporter: &mut Reporter<'_>) -> io::Result<bool> {
    loop {
        match listener.hear() {
            Ok(Some(notice)) => {
                output.catch_up(reporter)?;
                reporter.notice(notice.clone());
                listener.taken(&notice);
            }
            Ok(None) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

/// The reading end of the pipe that the build writes its log to.
struct Output {
    pipe: fs::File,
    buf: Vec<u8>,
}

/// What reading the log came to.
#[derive(PartialEq, Eq)]
enum Read {
    /// So many bytes were there.
    Some(u64),
    /// Nothing is there now.
    Nothing,
    /// Nobody can write any more.
    End,
}

impl Output {
    fn new(pipe: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Self {
            pipe: fs::File::from(pipe),
            buf: vec![0; 64 * 1024],
        })
    }

    /// Reads what is there now, and with it all that was written before a notice that has come in, though not all
    /// that a process may go on to write.
    fn catch_up(&mut self, reporter: &mut Reporter<'_>) -> io::Result<()> {
        let mut rest = rustix::io::ioctl_fionread(&self.pipe)?;
        while rest > 0 {
            match self.read(reporter)? {
                Read::Some(len) => rest = rest.saturating_sub(len),
                Read::Nothing | Read::End => break,
            }
        }
        Ok(())
    }

    fn read(&mut self, reporter: &mut Reporter<'_>) -> io::Result<Read> {
        loop {
            match self.pipe.read(&mut self.buf) {
                Ok(0) => return Ok(Read::End),
                Ok(len) => {
                    reporter.output(&self.buf[..len]);
                    return Ok(Read::Some(len as u64));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Nothing),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Turns how the build said that it ended, or that it said nothing, into the builder's own result.
fn conclude(outcome: Option<Outcome>, ended: &Ended) -> Result<()> {
    if let Some(signal) = ended.signal {
        return Err(Error::new(
            Kind::Interrupted { signal },
            format!("ended by signal {signal}"),
        ));
    }
    if let Some(outcome) = outcome {
        return outcome.into_result();
    }
    let how = match (ended.status.terminating_signal(), ended.status.exit_status()) {
        (Some(signal), _) => format!("{SILENT}, by signal {signal}"),
        (None, Some(status)) => format!("{SILENT}, with status {status}"),
        (None, None) => SILENT.to_owned(),
    };
    let error = Error::new(Kind::Host, how);
    Err(error.hint("the kernel ends processes when memory runs out: try --no-tmpfs"))
}

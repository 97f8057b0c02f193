//! The builder outside the namespaces: starts the build as their first process, logs what it writes, outlives it.
//!
//! The build cannot outlive the builder: its first process asks for SIGKILL when its parent dies, and with the first
//! process of a pid namespace all others die. The builder needs no thread: it waits for the log, the build's end and
//! the signals that ask it to end, in one loop.

use std::fs;
use std::io;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use super::sys::{self, Side};
use crate::error::{Context, Error, Kind, Result};
use crate::sandbox::mounts;
use crate::ui::Log;

/// How a build ended that did not report it.
const SILENT: &str = "the build ended without a word";

/// Runs `build` as the first process of new namespaces; what it and its children write goes to `log`.
pub fn supervise(log: &mut Log, build: impl FnOnce() -> Result<()>) -> Result<()> {
    let tried = || "cannot start the build".to_owned();
    let pipe = || pipe_with(PipeFlags::CLOEXEC).host(tried);
    let ((log_end, log_start), (report_end, report_start), (life, alive)) = (pipe()?, pipe()?, pipe()?);
    let (signals, mask) = sys::catch_endings().host(tried)?;
    sys::new_pid_namespace()
        .host(|| "cannot make the namespaces that hold a build".to_owned())
        .map_err(|error| error.hint("run as root, with the right to mount (CAP_SYS_ADMIN)"))?;
    match sys::fork().host(tried)? {
        Side::Child => {
            drop((log_end, report_end, alive, signals));
            let status = first_process(&mask, &life, log_start, &report_start, build);
            std::process::exit(i32::from(status));
        }
        Side::Parent(child) => {
            drop((log_start, report_start, life));
            let ended = watch(child, log, log_end, &signals);
            log.finish();
            let _ = sys::restore(&mask);
            drop(alive);
            conclude(log, report_end, &ended?)
        }
    }
}

/// Becomes the first process of the namespaces, builds, and reports how it went.
fn first_process(
    mask: &sys::Mask,
    life: &OwnedFd,
    log: OwnedFd,
    report: &OwnedFd,
    build: impl FnOnce() -> Result<()>,
) -> u8 {
    let ready = || -> Result<()> {
        let tried = || "cannot set up the namespaces of the build".to_owned();
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).host(tried)?;
        if hung_up(life) {
            // The builder died before it could be asked to take this process along.
            return Err(Error::new(Kind::Host, "the builder is gone"));
        }
        sys::restore(mask).host(tried)?;
        sys::new_namespaces().host(tried)?;
        mounts::make_private().host(tried)?;
        rustix::stdio::dup2_stdout(&log).host(tried)?;
        rustix::stdio::dup2_stderr(&log).host(tried)?;
        drop(log);
        Ok(())
    };
    match ready().and_then(|()| build()) {
        Ok(()) => {
            let _ = rustix::io::write(report, b"\0");
            0
        }
        Err(error) => {
            let status = error.kind().status();
            let text = error.to_string();
            let _ = rustix::io::write(report, &[&[status], text.as_bytes()].concat());
            status
        }
    }
}

fn hung_up(fd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// How the build's first process ended, and the signal that asked the builder to end it, if one did.
struct Ended {
    status: WaitStatus,
    signal: Option<u8>,
}

/// Logs until nobody can write to the log any more, which is when the last process of the build is gone.
fn watch(child: Pid, log: &mut Log, output: OwnedFd, signals: &OwnedFd) -> Result<Ended> {
    let tried = || "cannot watch the build".to_owned();
    let mut output = fs::File::from(output);
    let mut asked = None;
    let mut buf = vec![0; 64 * 1024];
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other.host(tried)?,
        };
        let (written, signalled) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if signalled {
            let mut record = [0; 128];
            let len = rustix::io::read(signals, &mut record).host(tried)?;
            asked = asked.or(Some(sys::signal_of(&record[..len])));
            let _ = kill_process(child, Signal::KILL);
        }
        if written {
            match output.read(&mut buf) {
                Ok(0) => break,
                Ok(len) => log.take(&buf[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).host(tried),
            }
        }
    }
    let status = loop {
        match waitpid(Some(child), WaitOptions::empty()) {
            Err(Errno::INTR) => {}
            other => break other.host(tried)?,
        }
    };
    let (_, status) = status.ok_or_else(|| Error::new(Kind::Host, SILENT))?;
    Ok(Ended {
        status,
        signal: asked,
    })
}

/// Turns the build's report, or the lack of one, into the builder's own result.
fn conclude(log: &mut Log, report: OwnedFd, ended: &Ended) -> Result<()> {
    if let Some(signal) = ended.signal {
        return Err(Error::new(
            Kind::Interrupted { signal },
            format!("ended by signal {signal}"),
        ));
    }
    let mut text = Vec::new();
    fs::File::from(report)
        .read_to_end(&mut text)
        .host(|| SILENT.to_owned())?;
    match text.split_first() {
        Some((0, _)) => Ok(()),
        Some((status, message)) => {
            let message = String::from_utf8_lossy(message).into_owned();
            if log.file.is_some() {
                let quiet = std::mem::replace(&mut log.quiet, true);
                log.take(format!("error: {message}\n").as_bytes());
                log.quiet = quiet;
            }
            Err(Error::new(Kind::Hook { status: *status }, message))
        }
        None => {
            let how = match (ended.status.terminating_signal(), ended.status.exit_status()) {
                (Some(signal), _) => format!("{SILENT}, by signal {signal}"),
                (None, Some(status)) => format!("{SILENT}, with status {status}"),
                (None, None) => SILENT.to_owned(),
            };
            let error = Error::new(Kind::Host, how);
            Err(error.hint("the kernel ends processes when memory runs out: try --no-tmpfs"))
        }
    }
}

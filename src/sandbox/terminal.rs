//! The caller's terminal, lent to a shell in the middle of a build.
//!
//! The output of a build goes through its log, line by line, and its processes live in a pid namespace where the
//! caller's process group has no number: a shell there could neither show a prompt nor control jobs, and an interrupt
//! typed into it would end the build. So the shell gets a session on a pseudo-terminal of its own, and what is typed
//! and shown passes between that and the caller's terminal, which is raw meanwhile.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{getpgrp, ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::stdio::{stderr, stdin};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use super::sys;

/// The modes of the caller's terminal, to be given back however a build ends.
pub(super) struct Modes(Termios);

impl Modes {
    /// The modes of standard input, if that is a terminal.
    pub(super) fn save() -> Option<Self> {
        isatty(stdin())
            .then(|| tcgetattr(stdin()).ok().map(Self))
            .flatten()
    }

    /// Gives them back, unless the terminal is another's now: a job in the background that tries is stopped.
    pub(super) fn restore(&self) {
        if tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == getpgrp()) {
            // What cannot be given back was taken away with the terminal.
            let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
        }
    }
}

/// The caller's terminal.
pub(super) struct Terminal {
    file: File,
    modes: Termios,
}

impl Terminal {
    /// Standard input, if that is a terminal.
    pub(super) fn of_caller() -> Option<Self> {
        let modes = Modes::save()?.0;
        // Standard input may be open for reading only.
        let file = File::options()
            .read(true)
            .write(true)
            .open("/proc/self/fd/0")
            .ok()?;
        Some(Self { file, modes })
    }

    /// Runs a command to its end on a terminal that passes everything on to this one.
    pub(super) fn lend(mut self, mut command: Command) -> io::Result<ExitStatus> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        tcsetattr(&slave, OptionalActions::Now, &self.modes)?;
        if let Ok(size) = tcgetwinsize(&self.file) {
            tcsetwinsize(&slave, size)?;
        }
        command
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave);
        sys::before_exec(&mut command, || {
            sys::heed_the_terminal()?;
            setsid()?;
            Ok(ioctl_tiocsctty(stdin())?)
        });
        drain_log();
        let mut child = command.spawn()?;
        // The command holds the other side of the terminal: with this one's copies it would never hang up.
        drop(command);
        self.relay(master, &mut child)
    }

    fn relay(&mut self, master: OwnedFd, child: &mut Child) -> io::Result<ExitStatus> {
        let mut raw = self.modes.clone();
        raw.make_raw();
        tcsetattr(&self.file, OptionalActions::Drain, &raw)?;
        let passed = self.pass(File::from(master));
        let restored = tcsetattr(&self.file, OptionalActions::Drain, &self.modes);
        let status = child.wait()?;
        passed?;
        restored?;
        Ok(status)
    }

    /// Passes bytes both ways until one side hangs up. Where the size of the terminal changes, so does the other's.
    fn pass(&mut self, mut master: File) -> io::Result<()> {
        const LOOK_AT_SIZE: Duration = Duration::from_millis(200);
        let timeout = Timespec::try_from(LOOK_AT_SIZE).expect("a constant that fits");
        let mut buf = [0; 4096];
        loop {
            if let Ok(size) = tcgetwinsize(&self.file) {
                tcsetwinsize(&master, size)?;
            }
            let mut fds = [
                PollFd::from_borrowed_fd(self.file.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(master.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let (typed, shown) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if shown && !forward(&mut master, &mut self.file, &mut buf)? {
                return Ok(());
            }
            if typed && !forward(&mut self.file, &mut master, &mut buf)? {
                return Ok(());
            }
        }
    }
}

/// Passes on what can be read now; whether the reader is still there. Linux reports a terminal hung up as `EIO`.
fn forward(from: &mut File, to: &mut File, buf: &mut [u8]) -> io::Result<bool> {
    match from.read(buf) {
        Ok(0) => Ok(false),
        Ok(len) => match to.write_all(&buf[..len]) {
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(false),
            other => other.map(|()| true),
        },
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}

/// Waits, but not for long, until what was said so far has been shown: the log shows lines as they end, in a process of
/// its own, and would show the last of them after the shell's first prompt.
fn drain_log() {
    const STEP: Duration = Duration::from_millis(10);
    for _ in 0..100 {
        if rustix::io::ioctl_fionread(stderr()).unwrap_or(0) == 0 {
            break;
        }
        std::thread::sleep(STEP);
    }
    std::thread::sleep(STEP);
}

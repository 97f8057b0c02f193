//! Starting processes, on the host or in a chroot: the only place of the program that does.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, OFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Pid, PidfdFlags, Signal, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::caller::{self, User};
use super::terminal::Terminal;
use super::{filter, sys};
use crate::environment::Environment;

/// Where processes run: plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// The directory that is their root; `None`: the host's own.
    pub root: Option<PathBuf>,
    /// The user they are of; `None`: the builder's own.
    pub user: Option<User>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with a status.
    Exited(u8),
    /// By a signal.
    Signalled(u8),
}

impl Ending {
    pub(super) fn of(status: ExitStatus) -> Self {
        let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
        match status.signal() {
            Some(signal) => Ending::Signalled(byte(signal)),
            None => Ending::Exited(byte(status.code().unwrap_or(-1))),
        }
    }

    /// The signal, if it was one.
    pub fn signal(self) -> Option<u8> {
        match self {
            Ending::Exited(_) => None,
            Ending::Signalled(signal) => Some(signal),
        }
    }

    /// The status as a shell tells it.
    pub fn status(self) -> u8 {
        match self {
            Ending::Exited(status) => status,
            Ending::Signalled(signal) => signal.saturating_add(128),
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Exited(status) => write!(f, "ended with status {status}"),
            Ending::Signalled(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

impl Sandbox {
    /// Processes that see the host's root, of the user who wanted the build.
    pub fn host() -> Self {
        Self {
            root: None,
            user: caller::user().cloned(),
        }
    }

    /// Processes whose root is `dir`.
    pub fn chroot(dir: &Path) -> Self {
        Self {
            root: Some(dir.to_owned()),
            user: None,
        }
    }

    /// Runs a program to its end, its output going where ours goes.
    pub fn run(&self, program: &OsStr, args: &[OsString], environment: &Environment) -> io::Result<Ending> {
        self.command(program, args, environment).status().map(Ending::of)
    }

    /// Runs a program to its end, to which a flush to disk costs nothing, where the kernel lets us see to that.
    pub fn run_unsynced(
        &self,
        program: &OsStr,
        args: &[OsString],
        environment: &Environment,
    ) -> io::Result<Ending> {
        let filter = sys::Filter::new(&filter::without_flushes());
        let mut command = self.command(program, args, environment);
        sys::before_exec(&mut command, move || {
            // Root of a container may set no filter: then flushes take the time that they take.
            let _ = filter.set();
            Ok(())
        });
        command.status().map(Ending::of)
    }

    /// Runs a program for a person, who has a terminal of the program's own if standard input is one. Otherwise the
    /// program reads what standard input holds.
    pub fn interact(
        &self,
        program: &OsStr,
        args: &[OsString],
        environment: &Environment,
    ) -> io::Result<Ending> {
        let mut command = self.command(program, args, environment);
        match Terminal::of_caller() {
            Some(terminal) => terminal.lend(command),
            None => command.status(),
        }
        .map(Ending::of)
    }

    /// Runs a hook.
    pub fn run_hook(&self, hook: &Path, environment: &Environment) -> io::Result<Ending> {
        as_hook(hook, |program, args| self.run(program, args, environment))
    }

    /// Runs a hook, and returns what it had written to its standard output when it ended. What it leaves running is not
    /// waited for: so this is memory, and no pipe, whose end would be.
    pub fn capture_hook(&self, hook: &Path, environment: &Environment) -> io::Result<(Ending, Vec<u8>)> {
        let memory = rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&memory, OFlags::APPEND)?;
        let mut heard = File::from(memory);
        let ending = as_hook(hook, |program, args| {
            let mut command = self.command(program, args, environment);
            command.stdout(heard.try_clone()?).status().map(Ending::of)
        })?;
        let mut bytes = Vec::new();
        heard.rewind()?;
        heard.read_to_end(&mut bytes)?;
        Ok((ending, bytes))
    }

    /// Runs a program to its end and returns what it wrote to its standard output.
    pub fn capture(
        &self,
        program: &OsStr,
        args: &[OsString],
        environment: &Environment,
    ) -> io::Result<(Ending, Vec<u8>)> {
        let mut child = self
            .command(program, args, environment)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut bytes = Vec::new();
        if let Some(mut out) = child.stdout.take() {
            out.read_to_end(&mut bytes)?;
        }
        child.wait().map(|status| (Ending::of(status), bytes))
    }

    /// Runs a program to its end in a directory, without input, and with all output going to a file.
    pub fn run_in(
        &self,
        dir: &Path,
        output: &File,
        program: &OsStr,
        args: &[OsString],
        environment: &Environment,
    ) -> io::Result<Ending> {
        let mut command = self.command(program, args, environment);
        into_file(&mut command, dir, output)?;
        command.status().map(Ending::of)
    }

    /// Runs a program likewise until `done` says that it has done what is wanted of it, but no longer than `limit`. Gives
    /// whether it has; it is killed in any case.
    pub fn run_until(
        &self,
        (dir, output): (&Path, &File),
        program: &OsStr,
        args: &[OsString],
        environment: &Environment,
        limit: Duration,
        mut done: impl FnMut() -> io::Result<bool>,
    ) -> io::Result<bool> {
        const PAUSE: Duration = Duration::from_millis(200);
        let mut command = self.command(program, args, environment);
        into_file(&mut command, dir, output)?;
        sys::before_exec(&mut command, || {
            Ok(rustix::process::set_parent_process_death_signal(Some(
                Signal::KILL,
            ))?)
        });
        let mut child = command.spawn()?;
        let deadline = Instant::now() + limit;
        let watched = loop {
            let ended = child.try_wait()?.is_some();
            match done() {
                Ok(false) if !ended && Instant::now() < deadline => std::thread::sleep(PAUSE),
                other => break other,
            }
        };
        // It may have ended by itself meanwhile.
        let _ = child.kill();
        child.wait()?;
        watched
    }

    fn command(&self, program: &OsStr, args: &[OsString], environment: &Environment) -> Command {
        let mut command = Command::new(program);
        command.args(args).env_clear().envs(environment.iter());
        if let Some(root) = self.root.clone() {
            sys::before_exec(&mut command, move || {
                rustix::process::chroot(&root)?;
                rustix::process::chdir("/")?;
                Ok(())
            });
        }
        if let Some(user) = &self.user {
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
            sys::before_exec(&mut command, move || {
                set_thread_groups(&groups)?;
                set_thread_res_gid(Some(gid), Some(gid), Some(gid))?;
                set_thread_res_uid(Some(uid), Some(uid), Some(uid))?;
                Ok(())
            });
        }
        command
    }
}

/// Runs a hook: an executable file, or a text without `#!`, which a shell then reads.
fn as_hook<T>(hook: &Path, run: impl Fn(&OsStr, &[OsString]) -> io::Result<T>) -> io::Result<T> {
    match run(hook.as_os_str(), &[]) {
        Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {}
        other => return other,
    }
    let args = [hook.as_os_str().to_owned()];
    match run(OsStr::new("/bin/bash"), &args) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => run(OsStr::new("/bin/sh"), &args),
        other => other,
    }
}

/// Runs this program to its end under another of its names, and forwards what asks us to end: the signal is told, too.
///
/// When we are killed, the program is asked to end: nobody would know of it any more.
pub fn run_self(
    name: &str,
    args: &[OsString],
    environment: &Environment,
) -> io::Result<(Ending, Option<u8>)> {
    end_heeding(own(name, args, environment))
}

/// The same in a directory, without input, and with all output going to a file.
pub fn run_self_in(
    dir: &Path,
    output: &File,
    name: &str,
    args: &[OsString],
    environment: &Environment,
) -> io::Result<(Ending, Option<u8>)> {
    let mut command = own(name, args, environment);
    into_file(&mut command, dir, output)?;
    end_heeding(command)
}

fn own(name: &str, args: &[OsString], environment: &Environment) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(args).env_clear().envs(environment.iter());
    command
}

fn into_file(command: &mut Command, dir: &Path, output: &File) -> io::Result<()> {
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    Ok(())
}

fn end_heeding(mut command: Command) -> io::Result<(Ending, Option<u8>)> {
    let (signals, mask) = sys::catch_endings()?;
    sys::before_exec(&mut command, move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        sys::restore(&mask)
    });
    let ended = command.spawn().and_then(|mut child| {
        let pid = Pid::from_child(&child);
        let signal = wait_heeding(pid, &signals, |number| {
            if let Some(signal) = Signal::from_named_raw(number.into()) {
                // It may have ended by itself meanwhile.
                let _ = rustix::process::kill_process(pid, signal);
            }
        })?;
        Ok((Ending::of(child.wait()?), signal))
    });
    sys::restore(&mask)?;
    ended
}

/// Waits until a child has ended, and heeds each signal that comes meanwhile; gives the first one.
pub(super) fn wait_heeding(
    child: Pid,
    signals: &OwnedFd,
    mut heed: impl FnMut(u8),
) -> io::Result<Option<u8>> {
    let ended = rustix::process::pidfd_open(child, PidfdFlags::empty())?;
    let mut asked = None;
    loop {
        let mut fds = [
            PollFd::new(&ended, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        if !fds[1].revents().is_empty() {
            let mut record = [0; 128];
            let len = rustix::io::read(signals, &mut record)?;
            let number = sys::signal_of(&record[..len]);
            asked = asked.or(Some(number));
            heed(number);
        }
        if !fds[0].revents().is_empty() {
            return Ok(asked);
        }
    }
}

/// Becomes another program, found on `PATH`. Returns only if it cannot.
pub fn become_program(program: &OsStr, args: &[OsString], variables: &[(OsString, OsString)]) -> io::Error {
    let variables = variables.iter().map(|(name, value)| (name, value));
    Command::new(program).args(args).envs(variables).exec()
}

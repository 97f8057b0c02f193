//! The keeper of a build that no namespace holds: a process between the builder and the build, in tier T1.
//!
//! It adopts whatever the build and its hooks leave behind, and kills it all when the build has ended or the builder
//! has died, be it by SIGKILL: a pipe that only the builder holds open hangs up then. Should the keeper itself be
//! killed, the build goes with it, and the builder, which adopts too, kills the rest.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, getppid, pidfd_open, set_child_subreaper,
    set_parent_process_death_signal, waitpid,
};

use super::offspring::kill_descendants;
use super::sys::{self, Side};
use crate::error::{Context, Error, Kind, Result};

/// The status of a build that the keeper ended, for its builder is gone.
const ABANDONED: u8 = 1;

/// Forks: the child builds, this process keeps it, and ends with its status.
pub(super) fn keep(life: &OwnedFd, build: impl FnOnce(Result<()>) -> u8) -> u8 {
    let keeper = getpid();
    let forked = adopt()
        .and_then(|()| sys::fork())
        .host(|| "cannot start the build".to_owned());
    match forked {
        Ok(Side::Child) => build(leash(keeper)),
        Ok(Side::Parent(child)) => {
            let ended = wait(child, life);
            // Whatever is left is nobody's any more.
            let _ = kill_descendants(&[]);
            ended.unwrap_or(ABANDONED)
        }
        Err(error) => build(Err(error)),
    }
}

/// Makes every orphan among the descendants a child of this process.
pub(super) fn adopt() -> std::io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Ties the build to its keeper.
fn leash(keeper: Pid) -> Result<()> {
    let tried = || "cannot tie the build to its keeper".to_owned();
    set_parent_process_death_signal(Some(Signal::KILL)).host(tried)?;
    adopt().host(tried)?;
    if getppid() == Some(keeper) {
        Ok(())
    } else {
        Err(Error::new(Kind::Host, "the keeper of the build is gone"))
    }
}

/// Waits until the build has ended, and says how; or until the builder is gone.
fn wait(child: Pid, life: &OwnedFd) -> Option<u8> {
    let build = pidfd_open(child, PidfdFlags::empty()).ok()?;
    loop {
        let mut fds = [
            PollFd::new(life, PollFlags::empty()),
            PollFd::from_borrowed_fd(build.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return None,
            Ok(_) => {}
        }
        if !fds[1].revents().is_empty() {
            let (_, status) = waitpid(Some(child), WaitOptions::empty()).ok()??;
            return Some(shell_status(status));
        }
        if !fds[0].revents().is_empty() {
            return None;
        }
    }
}

/// A status as a shell tells it.
fn shell_status(status: WaitStatus) -> u8 {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => byte(status),
        (None, Some(signal)) => byte(signal).saturating_add(128),
        (None, None) => u8::MAX,
    }
}

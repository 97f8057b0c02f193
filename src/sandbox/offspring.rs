//! Ending processes: those of a pid namespace, those in a tree, and, where no namespace holds them, all descendants.
//!
//! A process whose parent dies becomes the child of its nearest ancestor that asked for such children, a *subreaper*:
//! so nothing that a hook leaves behind, a daemon neither, stops being a descendant of the build.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait, waitpid};

use super::tier::Tier;

/// How long processes may take to end after they were asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends every process of the build but its first one, which calls this: politely, then not.
pub fn end_all(tier: Tier) -> io::Result<()> {
    let left = || {
        if reap()? {
            Ok(Vec::new())
        } else if tier.has_namespaces() {
            others()
        } else {
            descendants(&[])
        }
    };
    end(left, PATIENCE)
}

/// Ends the processes of the build whose root is a tree, or lies in it.
pub fn end_inside(tree: &Path, tier: Tier) -> io::Result<()> {
    // Of a process of another user root may see no more than that it is there, unless it may see everything.
    let hidden = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let inside = |pid: &Pid| root_of(*pid).map_or_else(hidden, |root| root.starts_with(tree));
    let left = || {
        reap()?;
        let mut candidates = if tier.has_namespaces() {
            others()?
        } else {
            descendants(&[])?
        };
        candidates.retain(inside);
        Ok(candidates)
    };
    end(left, PATIENCE)
}

/// Ends the processes of whatever build whose root lies in a directory that is to be removed.
pub(super) fn end_strays(dir: &Path) -> io::Result<()> {
    let inside = |pid: &Pid| root_of(*pid).is_ok_and(|root| root.starts_with(dir));
    let left = || others().map(|pids| pids.into_iter().filter(inside).collect());
    end(left, PATIENCE)
}

fn root_of(pid: Pid) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/{}/root", pid.as_raw_nonzero()))
}

/// Kills all descendants of this process but those of `spared`, which are none of the build's.
pub(super) fn kill_descendants(spared: &[Pid]) -> io::Result<()> {
    let left = || {
        let left = descendants(spared)?;
        for pid in &left {
            // Only one's own children can be reaped; the others become children as their parents die.
            let _ = waitpid(Some(*pid), WaitOptions::NOHANG);
        }
        Ok(left)
    };
    end(left, Duration::ZERO)
}

/// The children that this process has.
pub(super) fn children() -> io::Result<Vec<Pid>> {
    let mine = |(pid, parent): (Pid, Option<Pid>)| (parent == Some(getpid())).then_some(pid);
    Ok(parents()?.into_iter().filter_map(mine).collect())
}

/// Signals what `left` finds until it finds nothing.
fn end(left: impl Fn() -> io::Result<Vec<Pid>>, patience: Duration) -> io::Result<()> {
    let until = Instant::now() + patience;
    let mut asked = patience.is_zero();
    loop {
        let pids = left()?;
        if pids.is_empty() {
            return Ok(());
        }
        let late = Instant::now() >= until;
        if late || !asked {
            let signal = if late { Signal::KILL } else { Signal::TERM };
            for pid in pids {
                // It may have ended by itself meanwhile.
                let _ = kill_process(pid, signal);
            }
            asked = true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes that `/proc` shows, but this one.
fn others() -> io::Result<Vec<Pid>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        pids.extend(pid.and_then(Pid::from_raw).filter(|pid| *pid != getpid()));
    }
    Ok(pids)
}

/// Every process with its parent.
fn parents() -> io::Result<HashMap<Pid, Option<Pid>>> {
    let parent = |pid: Pid| {
        let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        parent_of(&stat)
    };
    let pids = others()?;
    Ok(pids.into_iter().map(|pid| (pid, parent(pid))).collect())
}

/// The parent in a line of `/proc/PID/stat`. The name before it may hold anything, but ends with the last parenthesis.
fn parent_of(stat: &[u8]) -> Option<Pid> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(&stat[end + 1..]).ok()?;
    Pid::from_raw(fields.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

/// The processes that descend from this one, but `spared` and theirs.
fn descendants(spared: &[Pid]) -> io::Result<Vec<Pid>> {
    let parents = parents()?;
    let mut found = vec![getpid()];
    let mut at = 0;
    while let Some(ancestor) = found.get(at).copied() {
        let born = parents.iter().filter(|(_, parent)| **parent == Some(ancestor));
        let new: Vec<Pid> = born
            .map(|(pid, _)| *pid)
            .filter(|pid| !spared.contains(pid) && !found.contains(pid))
            .collect();
        found.extend(new);
        at += 1;
    }
    found.remove(0);
    Ok(found)
}

/// Takes note of the ends of orphans, of whatever process group; whether no process is left.
fn reap() -> io::Result<bool> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Ok(false),
            Err(rustix::io::Errno::CHILD) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_follows_a_name_of_any_kind() {
        let parent = |text: &str| parent_of(text.as_bytes()).map(|pid| pid.as_raw_nonzero().get());
        assert_eq!(parent("7 (sh) S 5 7 7 0"), Some(5));
        assert_eq!(parent("7 (a) S 1 (b) R 6 7 7 0"), Some(6));
        assert_eq!(parent("7 (sh) S 0 7"), None);
        assert_eq!(parent("nonsense"), None);
    }
}

//! Tier T2: the user namespace in which a user is root, and which ids of the host stand for the ids in it.
//!
//! Of a user: id 0 is the user's own, and 1, 2, 3 … are the subordinate ids that `/etc/subuid` and `/etc/subgid` grant,
//! one range after the other. Only the set-uid programs `newuidmap` and `newgidmap` may set that up. Of root: every id
//! stands for itself. So the ids of the namespace are 0 to some last one, without a gap.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Gid, Uid, WaitOptions, getegid, geteuid, waitpid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};

use super::sys::{self, Side};

/// A run of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first, in the namespace.
    pub inside: u32,
    /// The id outside that stands for it.
    pub outside: u32,
    /// How many there are.
    pub count: u32,
}

/// Which ids a user namespace has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    uids: Vec<Extent>,
    gids: Vec<Extent>,
    /// `newuidmap` and `newgidmap`; `None`: this process may write the map itself.
    tools: Option<[PathBuf; 2]>,
}

/// What a user lacks to have subordinate ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A file grants none.
    Range {
        /// Which file.
        file: &'static str,
        /// The line that would.
        line: String,
    },
    /// A program is not there.
    Tool(&'static str),
    /// A file cannot be read.
    Unreadable {
        /// Which file.
        file: &'static str,
        /// Why.
        why: String,
    },
}

const TOOLS: [&str; 2] = ["newuidmap", "newgidmap"];
const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

impl IdMap {
    /// The ids that this user may have, who is not root.
    pub fn of_user() -> Result<Self, Vec<Lack>> {
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = name_of(&passwd, uid).unwrap_or_else(|| uid.to_string());
        let mut lacks = Vec::new();
        let mut ranges = |file: &'static str, own: u32| match std::fs::read_to_string(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let why = error.to_string();
                lacks.push(Lack::Unreadable { file, why });
                Vec::new()
            }
            text => {
                let text = text.unwrap_or_default();
                let ranges = subordinate(&text, &name, uid);
                if ranges.is_empty() {
                    let line = format!("{name}:{}:65536", free(&text));
                    lacks.push(Lack::Range { file, line });
                }
                laid_out(own, &ranges)
            }
        };
        let (uids, gids) = (ranges(FILES[0], uid), ranges(FILES[1], gid));
        let tools = TOOLS.map(|tool| find(tool).ok_or(Lack::Tool(tool)));
        lacks.extend(tools.iter().filter_map(|tool| tool.clone().err()));
        match tools {
            [Ok(uid), Ok(gid)] if lacks.is_empty() => Ok(Self {
                uids,
                gids,
                tools: Some([uid, gid]),
            }),
            _ => Err(lacks),
        }
    }

    /// All ids that root has here.
    pub fn of_root() -> io::Result<Self> {
        let own = |file: &str| Ok::<_, io::Error>(identity(&std::fs::read_to_string(file)?));
        Ok(Self {
            uids: own("/proc/self/uid_map")?,
            gids: own("/proc/self/gid_map")?,
            tools: None,
        })
    }

    /// The last user and group that the namespace has.
    pub fn last(&self) -> (u32, u32) {
        let last = |extents: &[Extent]| {
            let ends = extents
                .iter()
                .map(|extent| extent.inside.saturating_add(extent.count - 1));
            ends.max().unwrap_or(0)
        };
        (last(&self.uids), last(&self.gids))
    }

    /// Moves this process, which has one thread, into a new user namespace, as its root.
    ///
    /// The map must be written from outside, so a child does that, which stays there.
    pub(super) fn enter(&self) -> io::Result<()> {
        let pid = std::process::id();
        let ((entered, tell), (answer, say)) =
            (pipe_with(PipeFlags::CLOEXEC)?, pipe_with(PipeFlags::CLOEXEC)?);
        match sys::fork()? {
            Side::Child => {
                drop((tell, answer));
                let mut byte = [0];
                let told = rustix::io::read(&entered, &mut byte[..]);
                if told == Ok(1)
                    && let Err(error) = self.write(pid)
                {
                    let _ = std::fs::File::from(say).write_all(error.to_string().as_bytes());
                }
                std::process::exit(0);
            }
            Side::Parent(child) => {
                drop((entered, say));
                let entered = sys::new_user();
                if entered.is_ok() {
                    rustix::io::write(&tell, b"\0")?;
                }
                drop(tell);
                let mut said = String::new();
                std::fs::File::from(answer).read_to_string(&mut said)?;
                waitpid(Some(child), WaitOptions::empty())?;
                entered?;
                if !said.is_empty() {
                    return Err(io::Error::other(said));
                }
            }
        }
        set_thread_res_gid(Some(Gid::ROOT), Some(Gid::ROOT), Some(Gid::ROOT))?;
        set_thread_res_uid(Some(Uid::ROOT), Some(Uid::ROOT), Some(Uid::ROOT))?;
        Ok(())
    }

    /// Gives a process that has just entered its namespace the ids.
    fn write(&self, pid: u32) -> io::Result<()> {
        let Some([newuidmap, newgidmap]) = &self.tools else {
            std::fs::write(format!("/proc/{pid}/gid_map"), lines(&self.gids))?;
            return std::fs::write(format!("/proc/{pid}/uid_map"), lines(&self.uids));
        };
        for (tool, extents) in [(newgidmap, &self.gids), (newuidmap, &self.uids)] {
            let numbers = extents
                .iter()
                .flat_map(|extent| [extent.inside, extent.outside, extent.count]);
            let args = std::iter::once(pid)
                .chain(numbers)
                .map(|number| OsString::from(number.to_string()));
            let output = Command::new(tool).args(args).stdin(Stdio::null()).output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                let said = said.trim().strip_prefix("newuidmap: ").unwrap_or(said.trim());
                return Err(io::Error::other(format!("{}: {said}", tool.display())));
            }
        }
        Ok(())
    }
}

/// The ranges outside, for people.
impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |extent: &Extent| {
            let end = extent.outside.saturating_add(extent.count - 1);
            format!("{}-{end}", extent.outside)
        };
        let subordinate = self.uids.iter().filter(|extent| extent.count > 1);
        let ranges: Vec<String> = subordinate.map(range).collect();
        f.write_str(&ranges.join(", "))
    }
}

fn lines(extents: &[Extent]) -> String {
    let line = |extent: &Extent| format!("{} {} {}\n", extent.inside, extent.outside, extent.count);
    extents.iter().map(line).collect()
}

/// The ids of a map that a process has, each for itself.
fn identity(map: &str) -> Vec<Extent> {
    let extent = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
        let (inside, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some(Extent {
            inside,
            outside: inside,
            count,
        })
    };
    map.lines()
        .filter_map(extent)
        .filter(|extent| extent.count > 0)
        .collect()
}

/// One's own id, then the subordinate ones, without a gap.
fn laid_out(own: u32, ranges: &[(u32, u32)]) -> Vec<Extent> {
    let mut extents = vec![Extent {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside = 1_u32;
    for (outside, count) in ranges.iter().copied() {
        extents.push(Extent {
            inside,
            outside,
            count,
        });
        inside = inside.saturating_add(count);
    }
    extents
}

/// What a file of subordinate ids grants a user, by name or by number: first ids, and how many each.
///
/// Spec: `subuid(5)`.
fn subordinate(text: &str, name: &str, uid: u32) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let who = fields.next()?;
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let theirs = who == name || who.parse() == Ok(uid);
        (theirs && count > 0).then_some((start, count))
    };
    text.lines().filter_map(range).collect()
}

/// The first id, from where tools begin, that no line of such a file grants to anybody.
fn free(text: &str) -> u32 {
    const FIRST: u32 = 100_000;
    let end = |line: &str| {
        let mut numbers = line
            .trim()
            .split(':')
            .skip(1)
            .map(|field| field.parse::<u32>().ok());
        Some(numbers.next()??.saturating_add(numbers.next()??))
    };
    text.lines().filter_map(end).fold(FIRST, u32::max)
}

/// The name of a user in a file like `/etc/passwd`.
fn name_of(passwd: &str, uid: u32) -> Option<String> {
    let line = passwd.lines().find(|line| {
        line.split(':')
            .nth(2)
            .is_some_and(|field| field.parse() == Ok(uid))
    });
    line.and_then(|line| line.split(':').next()).map(str::to_owned)
}

/// Where a program lies: on `PATH`, or where it usually does.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let dirs = std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .chain(usual);
    let mut files = dirs.map(|dir| dir.join(program));
    files.find(|file| Path::is_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_namespace_has_no_gap() {
        let text = "other:100000:65536\nme:165536:1000\n# me:1:1\nme:x:1\n1000:300000:64536\nme:400000:0\n";
        let ranges = subordinate(text, "me", 1000);
        assert_eq!(ranges, [(165_536, 1000), (300_000, 64_536)]);
        let uids = laid_out(1000, &ranges);
        assert_eq!(lines(&uids), "0 1000 1\n1 165536 1000\n1001 300000 64536\n");
        let map = IdMap {
            gids: laid_out(7, &[]),
            uids,
            tools: None,
        };
        assert_eq!(map.last(), (65_536, 0));
        assert_eq!(map.to_string(), "165536-166535, 300000-364535");
    }

    #[test]
    fn the_line_that_is_lacking_takes_ids_of_nobody() {
        assert_eq!(free(""), 100_000);
        assert_eq!(free("a:100000:65536\nb:1000:5\n"), 165_536);
        let passwd = "root:x:0:0::/root:/bin/sh\nme:x:1000:100::/home/me:/bin/sh\n";
        assert_eq!(name_of(passwd, 1000).as_deref(), Some("me"));
        assert_eq!(name_of(passwd, 100), None);
    }

    #[test]
    fn roots_ids_stand_for_themselves() {
        let map = identity("         0          0 4294967295\n");
        assert_eq!(lines(&map), "0 0 4294967295\n");
        assert_eq!(
            lines(&identity("0 1000 1\n1 100000 65536\n")),
            "0 0 1\n1 1 65536\n"
        );
    }
}

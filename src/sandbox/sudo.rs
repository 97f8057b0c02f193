//! Becoming root: a user whom sudo lets run this program without a password builds as root does, in tier T0.
//!
//! The program runs itself again, as root, and waits. What sudo would change of a command goes through a directory that
//! only the user may enter: the arguments, the whole environment, the umask. There also lies a fifo, which hangs up when
//! the user's process is gone, be it by SIGKILL: then the build ends, too, though its user has no right to signal it.
//! The second process removes both names as soon as it has opened them.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mknodat, openat, unlinkat};
use rustix::process::{Pid, getegid, geteuid, getgroups};

use super::caller::{Caller, User};
use super::launch::{Ending, become_program, wait_heeding};
use super::{idmap, sys};
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};

/// The first argument of the second process; the second is the directory.
const WORD: &str = "--on-behalf-of-user";

const REQUEST: &str = "request";
const LEASH: &str = "leash";

/// What the first process tells the second.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    user: User,
    umask: u32,
    process: u32,
    directory: PathBuf,
    args: Vec<OsString>,
    environment: Environment,
}

/// A sudo that runs this program without a password.
#[derive(Debug)]
pub struct Sudo {
    program: PathBuf,
    this: PathBuf,
}

impl Sudo {
    /// Asks sudo. The error is what stands in the way.
    pub fn ask() -> std::result::Result<Self, String> {
        let program = idmap::find("sudo").ok_or("there is no sudo")?;
        let this =
            std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
        let mut trial = Command::new(&program);
        trial.args(["-n", "--"]).arg(&this).arg("--version");
        trial.stdin(Stdio::null());
        match trial.output() {
            Ok(output) if output.status.success() => Ok(Self { program, this }),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                Err(said.lines().next().unwrap_or("sudo refuses").to_owned())
            }
            Err(error) => Err(format!("sudo cannot be started: {error}")),
        }
    }

    /// Runs this program again as root, with what it was called with, and ends as it ends.
    pub fn rerun(&self, tmp_dir: &Path) -> Result<Infallible> {
        let tried = || "cannot call sudo".to_owned();
        let dir = tempfile::Builder::new()
            .prefix("dib_sudo.")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir_in(tmp_dir)
            .host(tried)?;
        let leash = Request::of_this_process()
            .and_then(|request| request.leave(dir.path()))
            .host(tried)?;
        let (signals, mask) = sys::catch_endings().host(tried)?;
        let mut command = Command::new(&self.program);
        command
            .args(["-n", "--"])
            .arg(&self.this)
            .arg(WORD)
            .arg(dir.path());
        sys::before_exec(&mut command, move || sys::restore(&mask));
        let mut child = command.spawn().host(tried)?;
        let mut leash = Some(leash);
        // A signal that asks this process to end lets go of the leash, and so ends the second one.
        let asked = wait_heeding(Pid::from_child(&child), &signals, |_| leash = None).host(tried)?;
        let status = child.wait().host(tried)?;
        // Nothing is left to do that an end by the process's own hand would skip.
        drop(dir);
        std::process::exit(i32::from(
            asked.map_or(Ending::of(status), Ending::Signalled).status(),
        ))
    }
}

/// Runs this program again as root, in its own place, as the same applet. Gives what stands in the way.
pub fn exec(args: &[OsString]) -> io::Error {
    let Some(sudo) = idmap::find("sudo") else {
        return io::Error::other("this needs root, and there is no sudo");
    };
    let words = ["-E", "--"].map(OsString::from);
    become_program(sudo.as_os_str(), &[&words[..], args].concat(), &[])
}

/// The arguments and the environment of this process; of one that was run on behalf of a user, those of the user.
pub fn invocation() -> Result<(Vec<OsString>, Environment)> {
    let args: Vec<OsString> = std::env::args_os().collect();
    match &args[..] {
        [_, word, dir] if word == WORD => {
            let tried = || "cannot take over from the user's process".to_owned();
            let request = Request::take(Path::new(dir))?;
            std::env::set_current_dir(&request.directory).host(tried)?;
            rustix::process::umask(Mode::from_raw_mode(request.umask));
            Ok((request.args, request.environment))
        }
        _ => Ok((args, Environment::capture())),
    }
}

impl Request {
    fn of_this_process() -> io::Result<Self> {
        let umask = rustix::process::umask(Mode::empty());
        rustix::process::umask(umask);
        Ok(Self {
            user: User {
                uid: geteuid().as_raw(),
                gid: getegid().as_raw(),
                groups: getgroups()?
                    .into_iter()
                    .map(rustix::process::Gid::as_raw)
                    .collect(),
            },
            umask: umask.as_raw_mode(),
            process: std::process::id(),
            directory: std::env::current_dir()?,
            args: std::env::args_os().collect(),
            environment: Environment::capture(),
        })
    }

    /// Leaves it in a directory, with a fifo beside it: who holds the result holds the leash.
    fn leave(&self, dir: &Path) -> io::Result<OwnedFd> {
        let mut options = std::fs::File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(dir.join(REQUEST))?;
        file.write_all(&self.to_bytes())?;
        let leash = dir.join(LEASH);
        mknodat(CWD, &leash, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        // For both ways: so there is no waiting for a reader.
        Ok(openat(
            CWD,
            &leash,
            OFlags::RDWR | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    /// Takes it, on behalf of the user whom sudo names.
    fn take(dir: &Path) -> Result<Self> {
        let tried = || format!("cannot read the request in {}", dir.display());
        let refused = |why: &str| Error::new(Kind::Usage, format!("{WORD}: {why}"));
        let by_sudo = std::env::var("SUDO_UID")
            .ok()
            .and_then(|uid| uid.parse::<u32>().ok());
        let uid = by_sudo
            .filter(|_| geteuid().is_root())
            .ok_or_else(|| refused("for sudo only"))?;
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = openat(CWD, dir, flags, Mode::empty()).host(tried)?;
        let stat = fstat(&opened).host(tried)?;
        if stat.st_uid != uid || stat.st_mode & 0o077 != 0 {
            return Err(refused("the directory is not the user's alone"));
        }
        let open = |name: &str, kind: FileType| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = openat(&opened, name, flags, Mode::empty()).host(tried)?;
            unlinkat(&opened, name, AtFlags::empty()).host(tried)?;
            if FileType::from_raw_mode(fstat(&file).host(tried)?.st_mode) == kind {
                Ok(file)
            } else {
                Err(refused("the request is no file"))
            }
        };
        let (file, leash) = (
            open(REQUEST, FileType::RegularFile)?,
            open(LEASH, FileType::Fifo)?,
        );
        // The user's process does so, too, if it lives.
        let _ = std::fs::remove_dir(dir);
        let mut bytes = Vec::new();
        std::fs::File::from(file).read_to_end(&mut bytes).host(tried)?;
        let request = Self::from_bytes(&bytes).ok_or_else(|| refused("the request makes no sense"))?;
        if request.user.uid != uid {
            return Err(refused("the request is another user's"));
        }
        Caller {
            user: request.user.clone(),
            process: request.process,
            args: request.args.clone(),
            leash,
        }
        .install();
        Ok(request)
    }

    /// Entries, each ended by NUL, which no argument and no variable holds.
    fn to_bytes(&self) -> Vec<u8> {
        let groups: Vec<String> = self.user.groups.iter().map(u32::to_string).collect();
        let head = [
            self.user.uid.to_string(),
            self.user.gid.to_string(),
            groups.join(","),
            self.umask.to_string(),
            self.process.to_string(),
        ];
        let mut bytes = Vec::new();
        let mut put = |entry: &[u8]| {
            bytes.extend_from_slice(entry);
            bytes.push(0);
        };
        for entry in &head {
            put(entry.as_bytes());
        }
        put(self.directory.as_os_str().as_bytes());
        put(self.args.len().to_string().as_bytes());
        for arg in &self.args {
            put(arg.as_bytes());
        }
        bytes.extend(self.environment.to_nul_separated());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut next = || {
            let end = rest.iter().position(|byte| *byte == 0)?;
            let (entry, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            Some(OsStr::from_bytes(entry))
        };
        let number = |entry: &OsStr| entry.to_str()?.parse::<u32>().ok();
        let (uid, gid) = (number(next()?)?, number(next()?)?);
        let groups = next()?.to_str()?.split(',').filter(|group| !group.is_empty());
        let groups = groups.map(|group| group.parse().ok()).collect::<Option<_>>()?;
        let (umask, process) = (number(next()?)?, number(next()?)?);
        let directory = PathBuf::from(next()?);
        let count = number(next()?)?;
        let args = (0..count)
            .map(|_| next().map(OsStr::to_owned))
            .collect::<Option<Vec<_>>>()?;
        Some(Self {
            user: User { uid, gid, groups },
            umask,
            process,
            directory,
            args,
            environment: Environment::from_nul_separated(rest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn a_request_arrives_as_it_was_made() {
        let mut environment = Environment::default();
        environment.set("TWO", "lines\nand = signs");
        environment.set("EMPTY", "");
        environment.set("BASH_FUNC_f%%", "() { :; }");
        let request = Request {
            user: User {
                uid: 1000,
                gid: 100,
                groups: vec![4, 27],
            },
            umask: 0o27,
            process: 7,
            directory: PathBuf::from("/somewhere else"),
            args: vec!["dib".into(), OsString::from_vec(b"\xff\n".to_vec()), "".into()],
            environment,
        };
        let bytes = request.to_bytes();
        assert_eq!(Request::from_bytes(&bytes).unwrap(), request);
        let none = Request {
            user: User {
                groups: Vec::new(),
                ..request.user.clone()
            },
            ..request
        };
        assert_eq!(Request::from_bytes(&none.to_bytes()).unwrap(), none);
        for short in 0..30 {
            let _ = Request::from_bytes(&bytes[..short]);
        }
        assert!(Request::from_bytes(b"1\x001\x00x\x00").is_none());
    }
}

//! Which tiers this host allows: found by trying, for what a kernel, a container and a security module refuse together
//! stands in no file. Every trial runs in a process of its own, with all that it changes.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use rustix::fs::{FileType, Mode, StatVfsMountFlags, makedev, statvfs};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, geteuid, waitpid};
use rustix::thread::{CapabilitySet, capabilities};
use serde::Serialize;

use super::caller;
use super::filter::{self, Devices, Wanted};
use super::idmap::{IdMap, Lack};
use super::mounts;
use super::sudo::Sudo;
use super::sys::{self, Side};
use super::tier::{Grant, Network, Tier};
use super::unshared::{self, Step};
use crate::error::{Error, Kind, Result};
use crate::settings::Isolation;

/// What stands in the way of a tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What it is.
    pub what: String,
    /// What would remove it.
    pub remedy: String,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

fn obstacle(what: impl Into<String>, remedy: impl Into<String>) -> Obstacle {
    Obstacle {
        what: what.into(),
        remedy: remedy.into(),
    }
}

/// What a trial tried last, and what the system said to it.
#[derive(Debug)]
struct Refused {
    step: String,
    said: String,
}

/// What a build may do, or how it comes to do more.
#[derive(Debug)]
pub enum Choice {
    /// It may do so much as it is.
    Grant(Grant),
    /// Sudo makes it root.
    Sudo(Sudo),
}

/// Chooses the tier of a build: the one that is asked for, else the first that works.
pub fn choose(asked: &Isolation, tmp_dir: &Path) -> Result<Choice> {
    if let Some(missing) = missing(tmp_dir) {
        let error = Error::new(Kind::Host, format!("cannot build in {}", missing.what));
        return Err(error.hint(missing.remedy));
    }
    let wanted = asked.tier;
    let mut found = Vec::new();
    for tier in Tier::ALL {
        if wanted.is_some_and(|wanted| wanted != tier) {
            continue;
        }
        let obstacles = probe(tier, tmp_dir);
        if obstacles.is_empty() {
            return grant(tier, &found, asked.network).map(Choice::Grant);
        }
        found.push((tier, obstacles));
        if tier == Tier::T0 && !geteuid().is_root() {
            match Sudo::ask() {
                Ok(sudo) => return Ok(Choice::Sudo(sudo)),
                Err(why) => found.push((tier, vec![no_sudo(&why)])),
            }
        }
    }
    let message = match wanted {
        Some(tier) => format!("tier {tier} is impossible here"),
        None => "this host allows no build, in none of the tiers T0, T1 and T2".to_owned(),
    };
    let lines = found.iter().flat_map(|(tier, obstacles)| {
        obstacles
            .iter()
            .map(move |obstacle| format!("{tier}: {}; {}", obstacle.what, obstacle.remedy))
    });
    let error = lines.fold(Error::new(Kind::Host, message), Error::hint);
    Err(error.hint("'dib doctor' explains every tier; 'dib assemble' needs none of them"))
}

fn grant(tier: Tier, passed: &[(Tier, Vec<Obstacle>)], network: Network) -> Result<Grant> {
    let ids = if tier == Tier::T2 {
        Some(ids().map_err(|lacks| lost(&lacks))?)
    } else {
        None
    };
    let because = passed.last().and_then(|(_, obstacles)| obstacles.first());
    let because = match tier {
        Tier::T0 => None,
        // Of a plain user nobody expects root's tiers.
        Tier::T2 if !geteuid().is_root() => None,
        _ => because,
    };
    let mut why = match (&ids, tier) {
        (Some(ids), _) if !geteuid().is_root() => format!("a user with the subordinate ids {ids}"),
        (Some(_), _) => "root in a user namespace of the build's own".to_owned(),
        (None, Tier::T0) if caller::user().is_some() => {
            "root by sudo, hooks on the host as the user".to_owned()
        }
        (None, tier) => tier.needs().to_owned(),
    };
    if let Some(because) = because {
        why = format!("{why} ({because})");
    }
    Ok(Grant {
        tier,
        why,
        ids,
        network,
    })
}

/// That sudo does not help to the first tier.
pub fn no_sudo(why: &str) -> Obstacle {
    let remedy = "as root, allow it in a file of /etc/sudoers.d: USER ALL=(root) NOPASSWD: ALL";
    obstacle(format!("sudo does not make this user root: {why}"), remedy)
}

/// What was there while probing may be gone now.
fn lost(obstacles: &[Obstacle]) -> Error {
    let what = obstacles
        .first()
        .map_or_else(String::new, |obstacle| obstacle.what.clone());
    Error::new(Kind::Host, what)
}

/// What stands in the way of a tier; nothing: it works.
pub fn probe(tier: Tier, tmp_dir: &Path) -> Vec<Obstacle> {
    if let Some(missing) = missing(tmp_dir) {
        return vec![missing];
    }
    let found = match tier {
        Tier::T0 => root().or_else(|| mounting(tmp_dir)).into_iter().collect(),
        Tier::T1 => root().or_else(|| plain_root(tmp_dir)).into_iter().collect(),
        Tier::T2 => user_namespace(tmp_dir),
    };
    if found.is_empty() {
        place(tier, tmp_dir).into_iter().collect()
    } else {
        found
    }
}

fn root() -> Option<Obstacle> {
    (!geteuid().is_root()).then(|| {
        obstacle(
            "not root",
            "run as root, or let sudo run this program without a password",
        )
    })
}

/// That there is no directory of builds, in which case nothing else is worth telling.
fn missing(tmp_dir: &Path) -> Option<Obstacle> {
    let why = match std::fs::metadata(tmp_dir) {
        Ok(meta) if meta.is_dir() => return None,
        Ok(_) => io::Error::from(rustix::io::Errno::NOTDIR),
        // What this user may not see, root may.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
        Err(error) => error,
    };
    let remedy = "name a directory that exists in TMP_DIR, or in TMPDIR, which beats it";
    Some(obstacle(format!("{}: {why}", tmp_dir.display()), remedy))
}

/// The directory of builds, where no mount of the build's own covers that its file system refuses programs.
fn place(tier: Tier, tmp_dir: &Path) -> Option<Obstacle> {
    let shown = tmp_dir.display();
    let flags = match statvfs(tmp_dir) {
        Ok(stat) => stat.f_flag,
        Err(error) => {
            let remedy = "name a directory that exists in TMP_DIR";
            return Some(obstacle(format!("{shown}: {error}"), remedy));
        }
    };
    let refuses = flags.contains(StatVfsMountFlags::NOEXEC) && tier != Tier::T0;
    refuses.then(|| {
        let remedy = "name another directory in TMP_DIR, or mount -o remount,exec it";
        obstacle(format!("{shown} is mounted noexec"), remedy)
    })
}

fn mounting(tmp_dir: &Path) -> Option<Obstacle> {
    if !has(CapabilitySet::SYS_ADMIN) {
        let remedy = "run it where root has all capabilities; in a container: --privileged, or --cap-add SYS_ADMIN \
                      with --security-opt seccomp=unconfined --security-opt apparmor=unconfined";
        return Some(obstacle("root lacks CAP_SYS_ADMIN", remedy));
    }
    let refused = trial(|step| isolated(Tier::T0, tmp_dir, step))?;
    let remedy = match refused.step.as_str() {
        "making a device node" => "root of a user namespace may make none: tier T2 needs none",
        _ => {
            "a container's seccomp or AppArmor profile refuses it: --security-opt seccomp=unconfined \
              --security-opt apparmor=unconfined"
        }
    };
    Some(obstacle(refused.to_string(), remedy))
}

/// Capabilities that a container's root has by default, and without which a root file system cannot be made.
const NEEDED: [(CapabilitySet, &str); 9] = [
    (CapabilitySet::CHOWN, "CAP_CHOWN"),
    (CapabilitySet::DAC_OVERRIDE, "CAP_DAC_OVERRIDE"),
    (CapabilitySet::FOWNER, "CAP_FOWNER"),
    (CapabilitySet::FSETID, "CAP_FSETID"),
    (CapabilitySet::MKNOD, "CAP_MKNOD"),
    (CapabilitySet::SETFCAP, "CAP_SETFCAP"),
    (CapabilitySet::SETGID, "CAP_SETGID"),
    (CapabilitySet::SETUID, "CAP_SETUID"),
    (CapabilitySet::SYS_CHROOT, "CAP_SYS_CHROOT"),
];

fn plain_root(tmp_dir: &Path) -> Option<Obstacle> {
    let lacking: Vec<&str> = NEEDED
        .iter()
        .filter(|(capability, _)| !has(*capability))
        .map(|(_, name)| *name)
        .collect();
    if !lacking.is_empty() {
        let names = lacking.join(", ");
        let remedy = format!("give the container what it has by default: --cap-add {names}");
        return Some(obstacle(format!("root lacks {names}"), remedy));
    }
    let dir = match tempfile::tempdir_in(tmp_dir) {
        Ok(dir) => dir,
        Err(error) => {
            // Without the name that was tried, which says nothing.
            let said = error.kind();
            let what = format!("cannot write in {}: {said}", tmp_dir.display());
            return Some(obstacle(what, "name another directory in TMP_DIR"));
        }
    };
    let refused = trial(|step| {
        make_node(dir.path(), step)?;
        *step = "changing the root".into();
        rustix::process::chroot(dir.path())?;
        Ok(())
    })?;
    let remedy = match refused.step.as_str() {
        "making a device node" => "a rootless container may make none: tier T2 needs none",
        _ => "name a directory in TMP_DIR whose file system allows device nodes",
    };
    Some(obstacle(refused.to_string(), remedy))
}

fn ids() -> std::result::Result<IdMap, Vec<Obstacle>> {
    if geteuid().is_root() {
        let unreadable = |error: io::Error| vec![obstacle(format!("no map of ids: {error}"), "mount /proc")];
        return IdMap::of_root().map_err(unreadable);
    }
    IdMap::of_user().map_err(|lacks| lacks.into_iter().map(lacking).collect())
}

fn lacking(lack: Lack) -> Obstacle {
    match lack {
        Lack::Range { file, line } => {
            let remedy = format!("as root, add this line to it: {line}");
            obstacle(format!("{file} grants this user no ids"), remedy)
        }
        Lack::Tool(tool) => obstacle(
            format!("no {tool}"),
            "install the package uidmap (Debian, Ubuntu) or shadow-utils (Fedora, RHEL, SUSE)",
        ),
        Lack::Unreadable { file, why } => {
            obstacle(format!("cannot read {file}: {why}"), "make it readable for all")
        }
    }
}

fn user_namespace(tmp_dir: &Path) -> Vec<Obstacle> {
    let mut found: Vec<Obstacle> = SWITCHES.iter().filter_map(Switch::thrown).collect();
    let ids = match ids() {
        Ok(ids) if found.is_empty() => ids,
        Ok(_) => return found,
        Err(lacks) => {
            found.extend(lacks);
            return found;
        }
    };
    if !filter::knows_this_machine() {
        let machine = std::env::consts::ARCH;
        let remedy = "tier T0 or T1";
        found.push(obstacle(
            format!("the numbers of the system calls of {machine} are not known"),
            remedy,
        ));
        return found;
    }
    if !sys::can_notify() {
        let remedy = "a kernel of version 5.5 or later, with CONFIG_SECCOMP_FILTER, and no seccomp profile that \
                      refuses seccomp(2)";
        found.push(obstacle(
            "the kernel cannot tell of system calls by seccomp",
            remedy,
        ));
        return found;
    }
    let refused = trial(|step| {
        *step = "setting up a user namespace".into();
        ids.enter()?;
        isolated(Tier::T2, tmp_dir, step)
    });
    found.extend(refused.map(|refused| {
        let remedy = match refused.step.as_str() {
            "setting up a user namespace" => {
                "in a container: a seccomp profile that allows unshare, and newuidmap with its set-uid bit"
            }
            "mounting proc" => "in a container: no masks over /proc (--security-opt unmask=ALL)",
            _ => "in a container: --security-opt seccomp=unconfined --security-opt apparmor=unconfined",
        };
        obstacle(refused.to_string(), remedy)
    }));
    found
}

/// A setting of the kernel that keeps users from user namespaces.
struct Switch {
    file: &'static str,
    off: &'static str,
    /// Whether it keeps root from them, too.
    binds_root: bool,
    remedy: &'static str,
}

const SWITCHES: [Switch; 3] = [
    Switch {
        file: "/proc/sys/user/max_user_namespaces",
        off: "0",
        binds_root: true,
        remedy: "as root: sysctl user.max_user_namespaces=10000",
    },
    Switch {
        file: "/proc/sys/kernel/unprivileged_userns_clone",
        off: "0",
        binds_root: false,
        remedy: "as root: sysctl kernel.unprivileged_userns_clone=1",
    },
    Switch {
        file: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        off: "1",
        binds_root: false,
        remedy: "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for this \
                 program that allows userns",
    },
];

impl Switch {
    fn thrown(&self) -> Option<Obstacle> {
        let value = std::fs::read_to_string(self.file).ok()?;
        let binds = self.binds_root || !geteuid().is_root();
        (binds && value.trim() == self.off)
            .then(|| obstacle(format!("{} is {}", self.file, self.off), self.remedy))
    }
}

fn has(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// Everything that a build does to be isolated.
fn isolated(tier: Tier, tmp_dir: &Path, step: &mut Step) -> io::Result<()> {
    *step = "a new pid namespace".into();
    sys::new_pid_namespace()?;
    let refused = trial(|step| {
        unshared::enter(tier, Network::Host, step)?;
        *step = "mounting a tmpfs".into();
        mounts::tmpfs(tmp_dir, 1 << 20).map_err(|error| io::Error::other(error.to_string()))?;
        if tier == Tier::T0 {
            make_node(tmp_dir, step)?;
        }
        if tier == Tier::T2 {
            *step = "hearing of system calls by seccomp".into();
            let wanted = Wanted {
                devices: Devices::All,
                ..Wanted::default()
            };
            sys::listen(&filter::program(&wanted))?;
        }
        *step = "changing the root".into();
        rustix::process::chroot(tmp_dir)?;
        Ok(())
    });
    match refused {
        Some(refused) => {
            *step = refused.step.into();
            Err(io::Error::other(refused.said))
        }
        None => Ok(()),
    }
}

/// Makes a node of `/dev/null` in a directory, and reads it.
fn make_node(dir: &Path, step: &mut Step) -> io::Result<()> {
    *step = "making a device node".into();
    let path = dir.join("null");
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        FileType::CharacterDevice,
        mode,
        makedev(1, 3),
    )?;
    *step = "reading a device node".into();
    std::fs::read(&path).map(drop)
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fails: {}", self.step, self.said)
    }
}

/// Runs an attempt in a process of its own. `None`: it succeeded.
fn trial(attempt: impl FnOnce(&mut Step) -> io::Result<()>) -> Option<Refused> {
    let failed = |error: io::Error| {
        Some(Refused {
            step: "starting a process".to_owned(),
            said: error.to_string(),
        })
    };
    let (end, start) = match pipe_with(PipeFlags::CLOEXEC) {
        Ok(pipe) => pipe,
        Err(error) => return failed(error.into()),
    };
    match sys::fork() {
        Ok(Side::Child) => {
            let mut step = Step::default();
            let told = match attempt(&mut step) {
                Ok(()) => "+".to_owned(),
                Err(error) => format!("{step}\0{error}"),
            };
            let _ = std::fs::File::from(start).write_all(told.as_bytes());
            std::process::exit(0);
        }
        Ok(Side::Parent(child)) => {
            drop(start);
            let mut told = String::new();
            let read = std::fs::File::from(end).read_to_string(&mut told);
            let _ = waitpid(Some(child), WaitOptions::empty());
            match (read, told.split_once('\0')) {
                (Ok(_), None) if told == "+" => None,
                (_, Some((step, said))) => Some(Refused {
                    step: step.to_owned(),
                    said: said.to_owned(),
                }),
                _ => failed(io::Error::other("the trial ended without a word")),
            }
        }
        Err(error) => failed(error),
    }
}

//! The witness: a thread of the build that hears of the system calls of hooks that the kernel alone would do wrong, or
//! leave without a word.
//!
//! - In a user namespace nobody may make a node of a device. The witness makes an empty file in its stead, where the
//!   caller would have made the node and as its umask, its directory and its ids would have it, and remembers what the
//!   file stands for; the scan makes it a node of the image. `rm`, `mv`, `chmod` and `chown` do to it what they do to
//!   any file. The host's root could, so where hooks are that root, nodes of the host's devices are made so, too, and
//!   the file system in which the kernel makes its own is refused: no hook reaches a disk of the host.
//! - An owner that the namespace has no id for is refused by the kernel, and that is told.
//! - A way to another machine is refused where the build has no network, and that is told.
//!
//! The filter is set on the build's main thread after the witness has started, so that the witness itself passes none,
//! and all hooks inherit it. What the witness learns of a caller, it learns through `/proc` by the caller's number, and
//! believes only while the caller still waits. A hook that means to deceive it may change a name of a file system between
//! two looks: root of the host has more ways than that one, and is kept from accidents, not from malice.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use image_core::scan::{FileKey, StandIn, StandIns};
use image_core::tree::Device;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fchmod, fchown, openat, openat2,
    readlinkat, statx,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::filter::{self, Devices, Meaning, Wanted};
use super::idmap::IdMap;
use super::network::{self, Peer};
use super::node_list;
use super::sys::{self, Answer, Call};
use super::tier::{Grant, Network, Tier};
use crate::ui;

/// Something that a hook was refused, and that may be why it failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// An owner for whom the user namespace has no id.
    Owner {
        /// The program that wanted it.
        program: String,
        /// The user, if that is not to stay.
        uid: Option<u32>,
        /// The group, likewise.
        gid: Option<u32>,
        /// The last user and group that there are.
        last: (u32, u32),
    },
    /// The nodes that the kernel makes of the host's devices.
    Devices {
        /// The program that wanted them.
        program: String,
    },
    /// A way to another machine.
    Way {
        /// The program that wanted it.
        program: String,
        /// Where to.
        peer: Peer,
    },
    /// The address of a machine.
    Name(String),
}

impl Refusal {
    /// Whether it was the network that was wanted.
    pub fn is_of_network(&self) -> bool {
        matches!(self, Refusal::Way { .. } | Refusal::Name(_))
    }

    /// Whether it was an owner of a file.
    pub fn is_of_owner(&self) -> bool {
        matches!(self, Refusal::Owner { .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Owner {
                program,
                uid,
                gid,
                last,
            } => {
                write!(f, "{program} wanted a file to belong to")?;
                if let Some(uid) = uid {
                    write!(f, " user {uid}")?;
                }
                if let Some(gid) = gid {
                    write!(f, " group {gid}")?;
                }
                let (user, group) = last;
                write!(
                    f,
                    ", but there are the users 0 to {user} and the groups 0 to {group}: \
                     /etc/subuid and /etc/subgid grant more"
                )
            }
            Refusal::Devices { program } => {
                write!(f, "{program} wanted devtmpfs: builds get no devices of the host")
            }
            Refusal::Way { program, peer } => write!(f, "{program} wanted {peer}"),
            Refusal::Name(name) => write!(f, "it asked for the address of {name}"),
        }
    }
}

/// What was heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    stand_ins: StandIns,
    /// Where each of them is written down, too.
    list: Option<File>,
    refusals: BTreeSet<Refusal>,
}

impl Heard {
    pub(super) fn refused(&mut self, refusal: Refusal) {
        // Whoever tries again and again is heard once.
        self.refusals.insert(refusal);
    }
}

/// A record that threads share.
pub(super) type Record = Arc<Mutex<Heard>>;

pub(super) fn lock(record: &Record) -> MutexGuard<'_, Heard> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The witness, as the build sees it.
#[derive(Clone, Debug)]
pub struct Witness {
    record: Record,
}

impl Witness {
    /// The witness of a build that was granted something, on the thread that starts its hooks; `None`: none is needed.
    pub fn of(grant: &Grant) -> io::Result<Option<Self>> {
        let ids = grant.ids.as_ref().filter(|_| grant.tier == Tier::T2);
        let mut wanted = Wanted {
            devices: match grant.tier {
                Tier::T0 => Devices::OfHost,
                // Whoever runs a container says which devices it has.
                Tier::T1 => Devices::Unwatched,
                Tier::T2 => Devices::All,
            },
            owners: ids.map(IdMap::last),
            network: match grant.network {
                Network::Host => filter::Network::Unwatched,
                Network::None if grant.tier.has_namespaces() => filter::Network::Watched,
                Network::None => filter::Network::Barred,
            },
        };
        if grant.tier == Tier::T0 && !(filter::knows_this_machine() && sys::can_notify()) {
            ui::warn(
                "this kernel lets hooks make nodes of the host's disks: they are kept from them by no more than /dev",
            );
            wanted.devices = Devices::Unwatched;
        }
        if wanted == Wanted::default() {
            return Ok(None);
        }
        let record = Record::default();
        match wanted.network {
            filter::Network::Unwatched => {}
            // What is not heard by name is heard by the address of the name server.
            filter::Network::Watched => drop(network::hear_names(Arc::clone(&record))),
            // Without the right to mount, whoever sets a filter must bind itself not to gain privileges.
            filter::Network::Barred => rustix::thread::set_no_new_privs(true)?,
        }
        Self::start(wanted, record).map(Some)
    }

    /// Starts one for this thread and all processes that come from it.
    fn start(wanted: Wanted, record: Record) -> io::Result<Self> {
        let ear = Ear::new(wanted, Arc::clone(&record))?;
        let (hand_over, listener) = channel();
        std::thread::Builder::new()
            .name("witness".to_owned())
            .spawn(move || ear.listen(&listener))?;
        let listener = sys::listen(&filter::program(&wanted))?;
        hand_over.send(listener).map_err(io::Error::other)?;
        Ok(Self { record })
    }

    /// The files that stand for devices.
    pub fn stand_ins(&self) -> StandIns {
        lock(&self.record).stand_ins.clone()
    }

    /// Has those to come written down in a file, too, for who is in the chroot.
    pub fn list_in(&self, file: File) {
        lock(&self.record).list = Some(file);
    }

    /// What was refused since this was last asked, as hints to an error that it may have led to.
    pub fn hints(&self) -> Vec<String> {
        const MAX: usize = 5;
        let (network, others): (Vec<_>, Vec<_>) =
            self.refusals().into_iter().partition(Refusal::is_of_network);
        let listed = |refusals: &[Refusal]| {
            let words: Vec<String> = refusals.iter().take(MAX).map(ToString::to_string).collect();
            words.join("; ")
        };
        let mut hints = Vec::new();
        if !network.is_empty() {
            let listed = listed(&network);
            hints.push(format!(
                "it wanted the network, which --network none and --hermetic keep from it: {listed}"
            ));
        }
        if !others.is_empty() {
            hints.push(listed(&others));
        }
        hints
    }

    /// What was refused since this was last asked.
    pub fn refusals(&self) -> Vec<Refusal> {
        std::mem::take(&mut lock(&self.record).refusals)
            .into_iter()
            .collect()
    }
}

/// The witness's own thread.
struct Ear {
    wanted: Wanted,
    record: Record,
    /// `/proc` of the build, whatever root the thread takes on.
    proc: OwnedFd,
    /// The root to come back to.
    root: OwnedFd,
    /// The user namespace of the build.
    namespace: Vec<u8>,
}

impl Ear {
    fn new(wanted: Wanted, record: Record) -> io::Result<Self> {
        let open = |path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            openat(CWD, path, flags, Mode::empty())
        };
        let (proc, root) = (open("/proc")?, open("/")?);
        let namespace = readlinkat(&proc, "self/ns/user", Vec::new())?.into_bytes();
        Ok(Self {
            wanted,
            record,
            proc,
            root,
            namespace,
        })
    }

    fn listen(&self, listener: &Receiver<OwnedFd>) {
        if sys::own_directories().is_err() {
            return;
        }
        let Ok(listener) = listener.recv() else { return };
        loop {
            match sys::hear(&listener) {
                Ok(Some(call)) => {
                    let answer = self.judge(&listener, &call);
                    sys::answer(&listener, &call, answer);
                }
                Ok(None) => {}
                // Nobody is left who could call.
                Err(_) => return,
            }
        }
    }

    fn judge(&self, listener: &OwnedFd, call: &Call) -> Answer {
        let Some((interface, meaning)) = filter::meaning(call.arch, call.number) else {
            return Answer::GoOn;
        };
        let caller = Caller {
            ear: self,
            listener,
            call,
        };
        match meaning {
            Meaning::Node { path } => match caller.make_stand_in(path) {
                Ok(()) => Answer::Done,
                Err(errno) => Answer::Fails(errno),
            },
            Meaning::FileSystem { name } => self.judge_file_system(&caller, name),
            Meaning::Owner { user } => {
                self.refuse_owner(&caller, user);
                Answer::GoOn
            }
            _ => self.judge_way(&caller, meaning, interface.pointer),
        }
    }

    /// Refuses the nodes of the kernel. A name that cannot be read is none, or not heard by the kernel either.
    fn judge_file_system(&self, caller: &Caller<'_>, name: usize) -> Answer {
        if caller
            .path(caller.call.args[name])
            .is_ok_and(|name| name == b"devtmpfs")
        {
            let program = caller.program();
            lock(&self.record).refused(Refusal::Devices { program });
            Answer::Fails(Errno::PERM)
        } else {
            Answer::GoOn
        }
    }

    fn refuse_owner(&self, caller: &Caller<'_>, user: usize) {
        let id = |at: usize| {
            let id = caller.word(at);
            (id != u32::MAX).then_some(id)
        };
        lock(&self.record).refused(Refusal::Owner {
            program: caller.program(),
            uid: id(user),
            gid: id(user + 1),
            last: self.wanted.owners.unwrap_or_default(),
        });
    }

    /// Tells of a way to another machine; bars it, too, where nobody else does.
    fn judge_way(&self, caller: &Caller<'_>, meaning: Meaning, pointer: usize) -> Answer {
        let barred = self.wanted.network == filter::Network::Barred;
        let peers = match caller.addresses(meaning, pointer) {
            Ok(addresses) => addresses
                .iter()
                .filter_map(|address| Peer::remote(address))
                .collect(),
            // Another user's memory root may not read without CAP_SYS_PTRACE. Addresses of the Internet have lengths of
            // their own.
            Err(_) if barred && caller.looks_remote(meaning) => vec![Peer::Unknown],
            Err(_) => Vec::new(),
        };
        if peers.is_empty() {
            return Answer::GoOn;
        }
        let program = caller.program();
        for peer in peers {
            let program = program.clone();
            lock(&self.record).refused(Refusal::Way { program, peer });
        }
        if barred {
            Answer::Fails(Errno::NETUNREACH)
        } else {
            Answer::GoOn
        }
    }
}

/// A process that waits for an answer.
struct Caller<'a> {
    ear: &'a Ear,
    listener: &'a OwnedFd,
    call: &'a Call,
}

/// What `/proc` tells of a process.
struct Status {
    umask: u32,
    fsuid: u32,
    fsgid: u32,
    capabilities: u64,
}

impl Caller<'_> {
    /// An argument that is a number of 32 bits.
    fn word(&self, at: usize) -> u32 {
        let bytes = self.call.args[at].to_le_bytes();
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }

    fn proc(&self, what: &str) -> String {
        format!("{}/{what}", self.call.thread)
    }

    fn read(&self, what: &str) -> Result<Vec<u8>, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = openat(&self.ear.proc, self.proc(what), flags, Mode::empty())?;
        let mut bytes = Vec::new();
        let read = io::Read::read_to_end(&mut std::fs::File::from(fd), &mut bytes);
        read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        Ok(bytes)
    }

    /// The name of the program, for messages.
    fn program(&self) -> String {
        let name = self.read("comm").unwrap_or_default();
        let name = String::from_utf8_lossy(&name);
        let name: String = name
            .trim_end()
            .chars()
            .filter(|letter| !letter.is_control())
            .collect();
        if name.is_empty() {
            "a program".to_owned()
        } else {
            name
        }
    }

    fn status(&self) -> Result<Status, Errno> {
        let text = String::from_utf8_lossy(&self.read("status")?).into_owned();
        let line = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
        };
        let id = |name: &str| {
            line(name)
                .split_whitespace()
                .nth(3)
                .and_then(|id| id.parse().ok())
        };
        let (Ok(umask), Some(fsuid), Some(fsgid), Ok(capabilities)) = (
            u32::from_str_radix(line("Umask:").trim(), 8),
            id("Uid:"),
            id("Gid:"),
            u64::from_str_radix(line("CapEff:").trim(), 16),
        ) else {
            return Err(Errno::PERM);
        };
        Ok(Status {
            umask,
            fsuid,
            fsgid,
            capabilities,
        })
    }

    /// Bytes of the caller's memory.
    fn memory(&self, at: u64, len: usize) -> Result<Vec<u8>, Errno> {
        const PAGE: u64 = 4096;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let memory = openat(&self.ear.proc, self.proc("mem"), flags, Mode::empty())?;
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = at.checked_add(bytes.len() as u64).ok_or(Errno::FAULT)?;
            // One page may be there, and the next not.
            let rest = usize::try_from(PAGE - at % PAGE)
                .unwrap_or(len)
                .min(len - bytes.len());
            let mut page = vec![0; rest];
            match rustix::io::pread(&memory, &mut page, at) {
                Ok(0) | Err(Errno::IO) if bytes.is_empty() => return Err(Errno::FAULT),
                Ok(0) | Err(Errno::IO) => break,
                Ok(read) => bytes.extend_from_slice(&page[..read]),
                Err(errno) => return Err(errno),
            }
        }
        Ok(bytes)
    }

    fn path(&self, at: u64) -> Result<Vec<u8>, Errno> {
        const PATH_MAX: usize = 4096;
        let mut path = self.memory(at, PATH_MAX)?;
        let end = path
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(Errno::NAMETOOLONG)?;
        path.truncate(end);
        if path.is_empty() {
            Err(Errno::NOENT)
        } else {
            Ok(path)
        }
    }

    fn directory(&self, what: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(&self.ear.proc, self.proc(what), flags, Mode::empty())
    }

    /// Makes the file that stands for the node which the caller wants.
    fn make_stand_in(&self, path_at: usize) -> Result<(), Errno> {
        const CAP_MKNOD: u32 = 27;
        let status = self.status()?;
        let namespace = readlinkat(&self.ear.proc, self.proc("ns/user"), Vec::new())?;
        if status.capabilities >> CAP_MKNOD & 1 == 0 || namespace.as_bytes() != self.ear.namespace {
            return Err(Errno::PERM);
        }
        let path = self.path(self.call.args[path_at])?;
        let (mode, number) = (self.word(path_at + 1), self.word(path_at + 2));
        let root = self.directory("root")?;
        let start = if path_at == 0 || self.word(0).cast_signed() == libc::AT_FDCWD {
            self.directory("cwd")?
        } else {
            self.directory(&format!("fd/{}", self.word(0)))?
        };
        if !sys::still_waits(self.listener, self.call) {
            return Err(Errno::SRCH);
        }
        let made = in_directories(&root, &start, &self.ear.root, || {
            let before = rustix::process::umask(Mode::from_raw_mode(status.umask));
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let permissions = Mode::from_raw_mode(mode & 0o777);
            // Links of /proc to what processes have open would lead where this thread is, not the caller.
            let made = openat2(CWD, &path[..], flags, permissions, ResolveFlags::NO_MAGICLINKS);
            rustix::process::umask(before);
            made
        })?;
        put_right(&made, mode, &status)?;
        let device = Device {
            major: number >> 8 & 0xfff,
            minor: number & 0xff | number >> 12 & 0xf_ff00,
        };
        let stands_for = match FileType::from_raw_mode(mode) {
            FileType::BlockDevice => StandIn::Block(device),
            _ => StandIn::Char(device),
        };
        let stat = statx(
            made.as_fd(),
            c"",
            AtFlags::EMPTY_PATH,
            StatxFlags::BASIC_STATS | StatxFlags::BTIME,
        )?;
        let born = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        let key = FileKey {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            born: born.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
        };
        let mut heard = lock(&self.ear.record);
        if let Some(list) = &heard.list {
            node_list::add(list, &key, &stands_for).map_err(|_| Errno::IO)?;
        }
        heard.stand_ins.insert(key, stands_for);
        Ok(())
    }

    /// The socket addresses that a call names.
    fn addresses(&self, meaning: Meaning, pointer: usize) -> Result<Vec<Vec<u8>>, Errno> {
        const MESSAGES_MAX: u32 = 1024;
        let address = |at: u64, len: u32| {
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(128);
            if at == 0 || len == 0 {
                Ok(Vec::new())
            } else {
                self.memory(at, len)
            }
        };
        let of_header = |at: u64| {
            let header = self.memory(at, pointer + 4)?;
            let number = |bytes: &[u8]| {
                bytes
                    .iter()
                    .rev()
                    .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte))
            };
            let (name, len) = header.split_at_checked(pointer).ok_or(Errno::FAULT)?;
            address(number(name), u32::try_from(number(len)).unwrap_or(u32::MAX))
        };
        match meaning {
            Meaning::Connect => Ok(vec![address(self.call.args[1], self.word(2))?]),
            Meaning::SendTo => Ok(vec![address(self.call.args[4], self.word(5))?]),
            Meaning::SendMessage => Ok(vec![of_header(self.call.args[1])?]),
            Meaning::SendMessages => {
                // A `msghdr` is seven pointers long with its padding, then comes a length, padded to a pointer.
                let stride = 8 * u64::try_from(pointer).unwrap_or(8);
                let all = 0..u64::from(self.word(2).min(MESSAGES_MAX));
                all.map(|at| of_header(self.call.args[1].wrapping_add(at * stride)))
                    .collect()
            }
            Meaning::Node { .. } | Meaning::FileSystem { .. } | Meaning::Owner { .. } => Ok(Vec::new()),
        }
    }

    /// Whether a call whose memory cannot be read may lead to another machine.
    fn looks_remote(&self, meaning: Meaning) -> bool {
        let len = match meaning {
            Meaning::Connect => self.word(2),
            Meaning::SendTo => self.word(5),
            _ => return true,
        };
        // sockaddr_in, sockaddr_in6 of old and of now.
        [16, 24, 28].contains(&len)
    }
}

/// Lets this thread be in another root and directory for one call.
fn in_directories<T>(
    root: &OwnedFd,
    start: &OwnedFd,
    home: &OwnedFd,
    call: impl FnOnce() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let enter = |root: &OwnedFd| {
        rustix::process::fchdir(root)?;
        rustix::process::chroot(".")
    };
    let result = enter(root)
        .and_then(|()| rustix::process::fchdir(start))
        .and_then(|()| call());
    enter(home)?;
    result
}

/// Gives a stand-in what `open` does not give a file as `mknod` gives it a node.
fn put_right(made: &OwnedFd, mode: u32, status: &Status) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(made)?;
    let uid = (status.fsuid != 0).then(|| Uid::from_raw(status.fsuid));
    // A directory may have given its own group.
    let gid = (status.fsgid != 0 && stat.st_gid == 0).then(|| Gid::from_raw(status.fsgid));
    if uid.is_some() || gid.is_some() {
        fchown(made, uid, gid)?;
    }
    if mode & 0o7000 != 0 {
        fchmod(made, Mode::from_raw_mode(stat.st_mode & 0o777 | mode & 0o7000))?;
    }
    Ok(())
}

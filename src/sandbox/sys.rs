//! The few system calls that no safe crate offers: forking, signal masks, what runs between fork and exec.
#![allow(
    unsafe_code,
    reason = "the one place that may; each block says why it is sound"
)]

use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Pid;

use super::caller::Caller;
use super::filter::Instruction;

/// Which side of a fork one is on.
#[derive(Debug)]
pub(super) enum Side {
    /// The new process.
    Child,
    /// The old one, and the new one's number.
    Parent(Pid),
}

/// A signal mask to restore.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mask(libc::sigset_t);

/// Makes the next child the first process of a new pid namespace.
pub(super) fn new_pid_namespace() -> io::Result<()> {
    // SAFETY: a new pid namespace for children changes nothing that this process holds.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWPID) }.map_err(Into::into)
}

/// Moves this process into mount, ipc and uts namespaces of its own.
pub(super) fn new_namespaces() -> io::Result<()> {
    use rustix::thread::UnshareFlags;
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: the flags do not touch the table of file descriptors, which is what makes the call unsafe.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// Moves this process, which has one thread, into a user namespace of its own, in which it has every capability.
pub(super) fn new_user() -> io::Result<()> {
    // SAFETY: the flag does not touch the table of file descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) }.map_err(Into::into)
}

/// Moves this thread, and the processes it starts, into a network namespace of its own.
pub(super) fn new_network() -> io::Result<()> {
    // SAFETY: the flag does not touch the table of file descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.map_err(Into::into)
}

/// Makes a mount, and all that are mounted in it, read-only.
pub(super) fn make_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    const AT_RECURSIVE: c_int = 0x8000;
    const MOUNT_ATTR_RDONLY: u64 = 1;
    // struct mount_attr: flags to set, to clear, the propagation, a user namespace.
    let attr = [MOUNT_ATTR_RDONLY, 0, 0, 0_u64];
    // SAFETY: the pointers are to a constant and a local; the size is that of what the second points to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | AT_RECURSIVE,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Raises a network interface, through any socket of its namespace.
pub(super) fn raise_interface(socket: &OwnedFd, name: &CStr) -> io::Result<()> {
    // SAFETY: ifreq is plain data, which may be all zeros.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: both requests take a pointer to an ifreq, the first fills in the flags that the second reads.
    unsafe {
        check(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS,
            &raw mut request,
        ))?;
        // IFF_UP is the lowest bit.
        request.ifr_ifru.ifru_flags |= 1;
        check(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &raw const request,
        ))
        .map(drop)
    }
}

/// Forks. The caller has one thread: the child goes on with all of this process's state.
pub(super) fn fork() -> io::Result<Side> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    assert_eq!(threads, 1, "only a process with one thread may fork and go on");
    // SAFETY: with one thread no lock is held by another, so the child may use all of it.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid).map_or(Side::Child, Side::Parent)),
    }
}

/// Blocks the signals that ask a program to end, and returns a descriptor to read them from.
pub(super) fn catch_endings() -> io::Result<(OwnedFd, Mask)> {
    // SAFETY: sigset_t is plain data that sigemptyset initialises; the pointers are to locals.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
            libc::sigaddset(&raw mut set, signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut old))?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC))?;
        // SAFETY: the descriptor is new and nobody else's.
        Ok((OwnedFd::from_raw_fd(fd), Mask(old)))
    }
}

/// Lets a write that a limit on the size of files forbids be an error, `EFBIG`, instead of this program's end. Programs that
/// it starts get the kernel's default back, since a handler does not outlive exec.
pub fn make_errors_of_file_limits() -> io::Result<()> {
    extern "C" fn go_on(_signal: c_int) {}
    // SAFETY: sigaction is plain data, for which zero means no flags and an empty mask; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = go_on as *const () as usize;
        check(libc::sigaction(
            libc::SIGXFSZ,
            &raw const action,
            std::ptr::null_mut(),
        ))
        .map(drop)
    }
}

/// Gives a program to be started the signals of a terminal as a login gives them. Whoever started this program may have
/// ignored some, as shells do for what they put in the background, and a job cannot be interrupted by what it ignores.
pub(super) fn heed_the_terminal() -> io::Result<()> {
    for signal in [
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGHUP,
    ] {
        // SAFETY: the default action needs no memory of this program.
        if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Restores a mask.
pub(super) fn restore(mask: &Mask) -> io::Result<()> {
    // SAFETY: the mask came from sigprocmask.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const mask.0, std::ptr::null_mut()) }).map(drop)
}

/// The number of the signal that a record read from a signal descriptor tells of.
pub(super) fn signal_of(record: &[u8]) -> u8 {
    // `ssi_signo` is the record's first field, in the machine's byte order.
    let number = record.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
    u8::try_from(number).unwrap_or(0)
}

/// Words that hold what the kernel tells of a call, in whatever version it does: today it tells 80 bytes.
const NOTIFICATION_WORDS: usize = 64;

/// Whether the kernel can tell of system calls by seccomp.
pub(super) fn can_notify() -> bool {
    // struct seccomp_notif_sizes: of a notification, of a response, of a description of a call.
    let mut sizes = [0_u16; 3];
    // SAFETY: the pointer is to a local of the size that the kernel fills in.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_NOTIF_SIZES,
            0,
            &raw mut sizes,
        )
    };
    result == 0 && usize::from(sizes[0]) <= 8 * NOTIFICATION_WORDS
}

/// Sets a filter on the calls of this thread and of all processes that come from it, and returns where to hear of them.
pub(super) fn listen(program: &[Instruction]) -> io::Result<OwnedFd> {
    const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
    let Filter(mut filter) = Filter::new(program);
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    let set = |flags: libc::c_ulong| {
        // SAFETY: the program and what it points to live until the call returns; the kernel copies both.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        match c_int::try_from(result) {
            // SAFETY: the descriptor is new and nobody else's.
            Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // A call that was heard of is not begun anew by a signal, where the kernel can keep it from that: since 5.19.
    match set(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            set(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)
        }
        other => other,
    }
}

/// A filter in the kernel's own form, which can be set between fork and exec.
pub(super) struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// A program in that form.
    pub(super) fn new(program: &[Instruction]) -> Self {
        let of = |instruction: &Instruction| libc::sock_filter {
            code: instruction.code,
            jt: instruction.when,
            jf: instruction.otherwise,
            k: instruction.value,
        };
        Self(program.iter().map(of).collect())
    }

    /// Sets it for this thread and all processes that come from it.
    pub(super) fn set(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.0.len()).unwrap_or(u16::MAX),
            filter: self.0.as_ptr().cast_mut(),
        };
        // SAFETY: the program and what it points to live until the call returns; the kernel copies both, and writes
        // to neither.
        let result = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}

/// A system call whose caller waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    /// The thread, as this process's pid namespace numbers it.
    pub(super) thread: u32,
    pub(super) arch: u32,
    pub(super) number: u32,
    pub(super) args: [u64; 6],
}

/// Waits for a call. `None`: its caller is gone already.
pub(super) fn hear(listener: &OwnedFd) -> io::Result<Option<Call>> {
    let mut words = [0_u64; NOTIFICATION_WORDS];
    // SAFETY: the buffer is zeroed, as it must be, aligned, and large enough: `can_notify` has seen to that.
    let heard = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            words.as_mut_ptr(),
        )
    };
    match check(heard) {
        Ok(_) => {}
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => return Ok(None),
        Err(error) => return Err(error),
    }
    // SAFETY: the kernel has filled in a seccomp_notif, which is plain data, at the start of the buffer.
    let notification: libc::seccomp_notif = unsafe { words.as_ptr().cast::<libc::seccomp_notif>().read() };
    Ok(Some(Call {
        id: notification.id,
        thread: notification.pid,
        arch: notification.data.arch,
        number: notification.data.nr.cast_unsigned(),
        args: notification.data.args,
    }))
}

/// Whether the caller still waits: if so, what was learnt of it by its number is its own.
pub(super) fn still_waits(listener: &OwnedFd, call: &Call) -> bool {
    // SAFETY: the pointer is to the number that the request reads.
    let result = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const call.id,
        )
    };
    result == 0
}

/// What a call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The kernel carries it out.
    GoOn,
    /// It has been done.
    Done,
    /// It fails.
    Fails(rustix::io::Errno),
}

/// Answers a call. Its caller may be gone.
pub(super) fn answer(listener: &OwnedFd, call: &Call, answer: Answer) {
    let response = libc::seccomp_notif_resp {
        id: call.id,
        val: 0,
        error: match answer {
            Answer::Fails(errno) => -errno.raw_os_error(),
            Answer::GoOn | Answer::Done => 0,
        },
        flags: u32::from(answer == Answer::GoOn),
    };
    // SAFETY: the pointer is to the response that the request reads.
    let _ = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw const response,
        )
    };
}

/// Parts this thread's root, working directory and umask from those of the process.
pub(super) fn own_directories() -> io::Result<()> {
    // SAFETY: the flag does not touch the table of file descriptors.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.map_err(Into::into)
}

/// A descriptor that the caller opened for this program, by number. Processes that this program starts do not get it.
///
/// Sudo passes none on: those of the user's process are opened anew.
pub fn inherited(number: c_int) -> io::Result<OwnedFd> {
    if let Some(caller) = Caller::get().filter(|_| number > 2) {
        let path = format!("/proc/{}/fd/{number}", caller.process);
        let file = std::fs::File::options().append(true).open(path)?;
        return Ok(file.into());
    }
    // SAFETY: fcntl refuses numbers that name no descriptor, and F_DUPFD_CLOEXEC returns a new one, nobody else's.
    unsafe {
        let own = OwnedFd::from_raw_fd(check(libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3))?);
        if number > 2 {
            check(libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC))?;
        }
        Ok(own)
    }
}

/// Makes a command run `prepare` between fork and exec.
///
/// `prepare` makes system calls only: it neither allocates nor takes a lock.
pub(super) fn before_exec(
    command: &mut Command,
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the callers, all in `launch`, keep to what the comment above demands.
    unsafe { command.pre_exec(prepare) };
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

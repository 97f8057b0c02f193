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

/// Which side of a fork one is on.
#[derive(Debug)]
pub(super) enum Side {
    /// The new process.
    Child,
    /// The old one, and the new one's number.
    Parent(Pid),
}

/// A signal mask to restore.
#[derive(Clone, Copy)]
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
    result == 0
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

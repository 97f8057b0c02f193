//! The kernel's own opinion: an image mounted through a loop device.
//!
//! Every mount lives in the private mount namespace of one thread. When that thread ends, in whatever way, the kernel
//! takes mount and loop device away: nothing can be left behind, and tests in parallel do not see each other.

use std::ffi::OsStr;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Output;

/// Whether images can be mounted here; if not, says why, or fails where skips are forbidden.
pub fn require() -> bool {
    crate::require_root()
        && crate::require(&["mount", "umount"])
        && (Path::new("/dev/loop-control").exists() || crate::skip("no /dev/loop-control"))
}

/// Whether the kernel has a file system; if not, says so, or fails where skips are forbidden.
pub fn knows(kind: &str) -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.split_whitespace().any(|word| word == kind) || crate::skip(&format!("the kernel has no {kind}"))
}

/// Mounts an image of a file system of some kind read-only, and lets `judge` look at its root.
pub fn read_as<T: Send>(kind: &str, image: &Path, judge: impl FnOnce(&Path) -> T + Send) -> T {
    with(kind, image, "loop,ro", judge)
}

/// Mounts an image read-only, without replaying a journal, and lets `judge` look at its root.
pub fn read<T: Send>(image: &Path, judge: impl FnOnce(&Path) -> T + Send) -> T {
    with("ext4", image, "loop,ro,noload", judge)
}

/// Mounts an image of a file system of some kind for writing, and lets `work` change it; it is unmounted before this returns.
pub fn write_as<T: Send>(kind: &str, image: &Path, work: impl FnOnce(&Path) -> T + Send) -> T {
    with(kind, image, "loop,rw", work)
}

/// Mounts an image for writing, and lets `work` change it; it is unmounted before this returns.
pub fn write<T: Send>(image: &Path, work: impl FnOnce(&Path) -> T + Send) -> T {
    with("ext4", image, "loop,rw", work)
}

/// Makes a file system of some kind, of `len` bytes, with a copy of a directory in it, by `mkfs` and the kernel.
pub fn filled(kind: &str, image: &Path, len: u64, tree: &Path) {
    let file = std::fs::File::create(image).expect("the image can be created");
    file.set_len(len).expect("the image can be sparse");
    crate::run(&format!("mkfs.{kind}"), &["-q".as_ref(), image.as_os_str()]);
    write_as(kind, image, |root| {
        let all = tree.join(".");
        crate::run("cp", &["-a".as_ref(), all.as_os_str(), root.as_os_str()]);
    });
}

/// Mounts an image with options of `mount`, `loop` among them, and lets `work` look at its root, or change it.
pub fn with<T: Send>(kind: &str, image: &Path, options: &str, work: impl FnOnce(&Path) -> T + Send) -> T {
    let result = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            private_namespace();
            let dir = tempfile::tempdir().expect("a temporary directory");
            mount(kind, image, options, dir.path());
            let result = work(dir.path());
            unmount(dir.path());
            result
        });
        thread.join()
    });
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

fn private_namespace() {
    #[allow(
        deprecated,
        reason = "only unsharing file descriptors is unsafe, and this unshares mounts"
    )]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS).expect("root may unshare mounts");
    crate::run("mount", &["--make-rprivate".as_ref(), "/".as_ref()]);
}

fn mount(kind: &str, image: &Path, options: &str, dir: &Path) {
    let args: [&OsStr; 6] = [
        "-t".as_ref(),
        kind.as_ref(),
        "-o".as_ref(),
        options.as_ref(),
        image.as_os_str(),
        dir.as_os_str(),
    ];
    // Two tests may be given the same free loop device; the one that comes second is refused, and asks again.
    for _ in 0..20 {
        let output = crate::output("mount", &args);
        if output.status.success() {
            return;
        }
        let text = crate::both(&output);
        assert!(
            text.contains("loop device"),
            "mount {}: {text}{}",
            image.display(),
            kernel_log()
        );
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("no loop device is free for {}", image.display());
}

/// Unmounts. A process that another thread is about to start holds, until it is another program, what this thread had
/// open when it was forked.
fn unmount(dir: &Path) {
    for _ in 0..50 {
        let output = crate::output("umount", &[dir.as_os_str()]);
        if output.status.success() {
            return;
        }
        let text = crate::both(&output);
        assert!(text.contains("busy"), "umount {}: {text}", dir.display());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{} stays busy", dir.display());
}

/// The last words of the kernel, which says there why it refused a mount.
fn kernel_log() -> String {
    if crate::find("dmesg").is_none() {
        return String::new();
    }
    let text = crate::both(&crate::output("dmesg", &[]));
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    format!("\n{}", lines.join("\n"))
}

/// Runs a command as a user without any privilege, in the caller's mount namespace.
pub fn as_user(uid: u32, gid: u32, command: &[&OsStr]) -> Output {
    let (uid, gid) = (format!("--reuid={uid}"), format!("--regid={gid}"));
    let drop: [&OsStr; 4] = [
        uid.as_ref(),
        gid.as_ref(),
        "--clear-groups".as_ref(),
        "--inh-caps=-all".as_ref(),
    ];
    crate::output("setpriv", &[&drop, command].concat())
}

//! The trees of the benchmarks, pinned: a list of packages, and two generators.
//!
//! They stand here because two crates measure themselves on them, and a crate's benches can't use another's.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The suite and the packages of the reference root: about 29,000 files, 1.2 GiB.
const SUITE: &str = "bookworm";
const PACKAGES: &str = "linux-image-amd64,openssh-server,cloud-init,git,build-essential,vim,python3,\
                        systemd-sysv,ca-certificates,curl";

/// Files of [`many`], and the directories that they are spread over: about as many as in a kernel's source.
const MANY_FILES: u64 = 84_000;
const MANY_DIRECTORIES: u64 = 5_300;

/// A Debian root. Made once, and kept for the next run.
pub fn rootfs(dir: &Path) -> Option<PathBuf> {
    kept(dir, "rootfs", |tree| {
        let include = format!("--include={PACKAGES}");
        crate::require(&["mmdebstrap"]) && crate::require_root() && {
            let args = [
                OsStr::new("--variant=minbase"),
                include.as_ref(),
                SUITE.as_ref(),
                tree.as_ref(),
            ];
            crate::run("mmdebstrap", &args);
            true
        }
    })
}

/// Many small files, of sizes that spread as those of a kernel's source: median 5 KiB, some of 200 KiB, 1 GiB in all.
pub fn many(dir: &Path) -> Option<PathBuf> {
    kept(dir, "many", |tree| {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let content: Vec<u8> = std::iter::repeat_with(|| random.next().to_le_bytes())
            .take(1 << 15)
            .flatten()
            .collect();
        for i in 0..MANY_FILES {
            let at = i * MANY_DIRECTORIES / MANY_FILES;
            let path = tree.join(format!("{:02}/{:02}/{at:04}", at % 20, at / 20 % 30));
            fs::create_dir_all(&path).unwrap();
            // The product of two even spreads: many small, few large.
            let len = (random.next() % 512) * (random.next() % 200) / 4;
            let len = usize::try_from(len + 10).unwrap();
            fs::write(path.join(format!("source-{i}.c")), &content[..len]).unwrap();
        }
        true
    })
}

/// One directory of `files` files of 16 bytes.
pub fn flat(dir: &Path, files: u32) -> Option<PathBuf> {
    kept(dir, &format!("flat-{files}"), |tree| {
        fs::create_dir(tree).unwrap();
        for i in 0..files {
            let mut file = fs::File::create(tree.join(flat_name(i))).unwrap();
            writeln!(file, "{i:15}").unwrap();
        }
        true
    })
}

/// The name of the file of this number in [`flat`].
pub fn flat_name(i: u32) -> String {
    format!("entry-{:08x}-{i}", i.wrapping_mul(0x9e37_79b9))
}

fn kept(dir: &Path, name: &str, make: impl FnOnce(&Path) -> bool) -> Option<PathBuf> {
    let tree = dir.join(name);
    if !tree.is_dir() {
        let partial = dir.join(format!("{name}.partial"));
        let _ = fs::remove_dir_all(&partial);
        if !make(&partial) {
            return None;
        }
        fs::rename(&partial, &tree).unwrap();
    }
    Some(tree)
}

/// Xorshift: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

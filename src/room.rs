//! Room: how much there is on a file system and in memory, and who is told when it runs out.
//!
//! Memory is what a tmpfs lives on. What is free of it is what the kernel could hand out without swapping
//! (`MemAvailable`), but no more than any control group above this process still allows, its page cache counted as
//! free: in a container `MemAvailable` is the host's.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{StatFs, fstatfs, statfs};

/// Magic number of tmpfs.
const TMPFS: u32 = 0x0102_1994;

/// The room on a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that may still be written, by whoever is not root.
    pub free: u64,
    /// Bytes that it has in all.
    pub total: u64,
    /// Files that may still be made; `None`: as many as there is room for.
    pub files: Option<u64>,
    /// Whether it is a tmpfs.
    pub in_memory: bool,
}

impl Room {
    /// That of the file system that holds a file.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::from(fstatfs(file)?))
    }

    /// That of the file system at a path.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::from(statfs(path)?))
    }

    /// Whether so little is left that whatever failed may have failed for want of it: programs clean up after
    /// themselves, so that a little is free again when they have failed.
    pub fn is_scarce(&self) -> bool {
        const LITTLE: u64 = 16 << 20;
        self.free < LITTLE.min(self.total / 20) || self.files == Some(0)
    }
}

impl From<StatFs> for Room {
    fn from(stat: StatFs) -> Self {
        let number = |field| u64::try_from(field).unwrap_or(0);
        let block = number(stat.f_frsize);
        // What `df` calls available, for root as well: what is said to be kept for root may be out of its reach, too,
        // where a machine's disk is smaller than its file system.
        let free = stat.f_bavail;
        let magic = stat.f_type.to_le_bytes();
        let magic = magic.first_chunk().map_or(0, |low| u32::from_le_bytes(*low));
        Self {
            free: free.saturating_mul(block),
            total: stat.f_blocks.saturating_mul(block),
            files: (stat.f_files > 0).then_some(stat.f_ffree),
            in_memory: magic == TMPFS,
        }
    }
}

/// `a tmpfs with 2048 MiB, 2047 MiB used, 1 MiB free`
impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.in_memory {
            "a tmpfs"
        } else {
            "a file system"
        };
        let used = self.total.saturating_sub(self.free);
        write!(
            f,
            "{what} with {}, {} used, {} free",
            mib(self.total),
            mib(used),
            mib(self.free)
        )?;
        if self.files == Some(0) {
            f.write_str(", and no inode free")?;
        }
        Ok(())
    }
}

/// Bytes in MiB, as messages have them.
pub fn mib(bytes: u64) -> String {
    format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20)
}

/// Whether something failed because a file system, or a quota, is full.
pub fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// The memory of the machine, as far as a build may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that the machine has.
    pub total: u64,
    /// Bytes that are free, or can be made so.
    pub available: u64,
}

impl Memory {
    /// As it is now; `None` where nothing tells it.
    pub fn now() -> Option<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let mut memory = Self::of_machine(&read("/proc/meminfo"))?;
        for (version, dir) in groups(&read("/proc/self/cgroup")) {
            if let Some(free) = free_in_group(version, &dir) {
                memory.available = memory.available.min(free);
            }
        }
        Some(memory)
    }

    fn of_machine(meminfo: &str) -> Option<Self> {
        let field = |name: &str| {
            let rest = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
            Some(kib.saturating_mul(1024))
        };
        Some(Self {
            total: field("MemTotal:")?,
            available: field("MemAvailable:")?,
        })
    }
}

/// Where the two versions of control groups keep the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The directories of the control groups that limit this process's memory, from `/proc/self/cgroup`, innermost first.
fn groups(text: &str) -> Vec<(Version, PathBuf)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (version, mount) = if controllers.is_empty() {
            (Version::Two, "/sys/fs/cgroup")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (Version::One, "/sys/fs/cgroup/memory")
        } else {
            continue;
        };
        // In a container the path may be the host's, of which only the last directory, the mount itself, is seen.
        let relative = Path::new(path.trim_start_matches('/'));
        found.extend(
            relative
                .ancestors()
                .map(|path| (version, Path::new(mount).join(path))),
        );
    }
    found
}

/// What a control group's limit leaves; `None`: it has none.
fn free_in_group(version: Version, dir: &Path) -> Option<u64> {
    let (limit, used, cache) = match version {
        Version::Two => ("memory.max", "memory.current", ["inactive_file", "active_file"]),
        Version::One => (
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            ["total_inactive_file", "total_active_file"],
        ),
    };
    let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
    // "max" is no number, and no limit.
    let limit: u64 = read(limit)?.trim().parse().ok()?;
    let used: u64 = read(used)?.trim().parse().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let cached = stat.lines().filter_map(|line| {
        let (name, bytes) = line.split_once(' ')?;
        cache.contains(&name).then(|| bytes.trim().parse::<u64>().ok())?
    });
    Some(limit.saturating_sub(used.saturating_sub(cached.sum())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_machine_tells() {
        let meminfo = "MemTotal:       24597948 kB\nMemFree:  1 kB\nMemAvailable:   1024 kB\n";
        let memory = Memory::of_machine(meminfo).unwrap();
        assert_eq!(memory.total, 24_597_948 * 1024);
        assert_eq!(memory.available, 1 << 20);
        assert_eq!(Memory::of_machine("MemTotal: 5 kB\n"), None);
        let now = Memory::now().unwrap();
        assert!(now.available <= now.total, "{now:?}");
    }

    #[test]
    fn groups_are_those_that_limit_memory_and_all_above() {
        let two = groups("0::/a/b\n");
        let dirs = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup/"];
        assert_eq!(two, dirs.map(|dir| (Version::Two, PathBuf::from(dir))));
        let one = groups("12:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n");
        let dirs = [
            "/sys/fs/cgroup/memory/docker/1",
            "/sys/fs/cgroup/memory/docker",
            "/sys/fs/cgroup/memory/",
        ];
        assert_eq!(one[..3], dirs.map(|dir| (Version::One, PathBuf::from(dir))));
        assert_eq!(one[3..], [(Version::Two, PathBuf::from("/sys/fs/cgroup/"))]);
        assert!(groups("odd\n").is_empty());
    }

    #[test]
    fn a_groups_page_cache_counts_as_free() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(free_in_group(Version::Two, dir.path()), None);
        put("memory.max", "max\n");
        put("memory.current", "700\n");
        assert_eq!(free_in_group(Version::Two, dir.path()), None);
        put("memory.max", "1000\n");
        assert_eq!(free_in_group(Version::Two, dir.path()), Some(300));
        put(
            "memory.stat",
            "anon 5\nfile 400\nshmem 300\ninactive_file 60\nactive_file 40\n",
        );
        assert_eq!(free_in_group(Version::Two, dir.path()), Some(400));
        put("memory.current", "2000\n");
        assert_eq!(free_in_group(Version::Two, dir.path()), Some(0));
        put("memory.limit_in_bytes", "1000");
        put("memory.usage_in_bytes", "1000");
        put("memory.stat", "total_inactive_file 60\ninactive_file 1\n");
        assert_eq!(free_in_group(Version::One, dir.path()), Some(60));
    }

    #[test]
    fn room_reads_as_used_and_free() {
        let room = Room {
            free: 1 << 20,
            total: 100 << 20,
            files: Some(0),
            in_memory: true,
        };
        assert_eq!(
            room.to_string(),
            "a tmpfs with 100.0 MiB, 99.0 MiB used, 1.0 MiB free, and no inode free"
        );
        assert!(room.is_scarce());
        assert!(
            !Room {
                files: None,
                free: 5 << 20,
                ..room
            }
            .is_scarce()
        );
        assert!(
            Room {
                files: None,
                free: 4 << 20,
                ..room
            }
            .is_scarce()
        );
    }
}

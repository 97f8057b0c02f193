//! What the build's directory lies on, memory or disk, and what is said when that runs full.
//!
//! A tmpfs is taken if the machine has twice the memory that one may come to need (`--min-tmpfs`), since by default it
//! gets half, and if that much is free as well: a build that runs out of memory is killed without a word, or makes the
//! kernel kill others. It gets no more than three quarters of what is free; the rest is for the programs that hooks
//! run. So several builds at once need no `--no-tmpfs`: each sees what the earlier ones left.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::plan::BuildPlan;
use crate::room::{self, Memory, Room, mib};
use crate::sandbox::mounts;
use crate::sandbox::tier::Tier;
use crate::settings::{Settings, Tmpfs};
use crate::ui;

/// What a build's directory lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ground {
    /// Memory.
    Tmpfs {
        /// The most it may take.
        bytes: u64,
    },
    /// Whatever it was made on.
    Disk {
        /// Why not on a tmpfs, if the caller did not ask for that.
        why: Option<String>,
    },
}

/// Lays the build's directory on what suits.
pub(super) fn lay(workdir: &Path, asked: Tmpfs, tier: Tier) -> Result<()> {
    if !tier.has_namespaces() {
        // Nothing can be mounted.
        return Ok(());
    }
    match choose(asked, Memory::now()) {
        Ground::Tmpfs { bytes } => {
            mounts::tmpfs(workdir, bytes).map_err(|error| error.hint("--no-tmpfs builds without it"))?;
            ui::in_memory();
            Ok(())
        }
        Ground::Disk { why } => {
            if let Some(why) = why {
                ui::warn(format_args!("building on disk, in {}: {why}", workdir.display()));
            }
            mounts::unrestricted(workdir, tier)
        }
    }
}

/// The most that a build would take of memory; `None`: it would lie on disk, and why.
pub fn memory_for(asked: Tmpfs) -> (Option<u64>, Option<String>) {
    match choose(asked, Memory::now()) {
        Ground::Tmpfs { bytes } => (Some(bytes), None),
        Ground::Disk { why } => (None, why),
    }
}

fn choose(asked: Tmpfs, memory: Option<Memory>) -> Ground {
    let disk = |why: String| Ground::Disk { why: Some(why) };
    let Tmpfs::With { kib } = asked else {
        return Ground::Disk { why: None };
    };
    let needed = kib.saturating_mul(1024);
    let Some(memory) = memory else {
        return disk("/proc/meminfo does not tell how much memory is free".into());
    };
    if memory.total < needed.saturating_mul(2) {
        return disk(format!(
            "a tmpfs of {} needs a machine with twice as much memory, and this one has {}",
            mib(needed),
            mib(memory.total)
        ));
    }
    let bytes = (memory.available / 4 * 3).min(memory.total / 2);
    if bytes < needed {
        return disk(format!(
            "a tmpfs of {} leaves too little of the {} of memory that are free",
            mib(needed),
            mib(memory.available)
        ));
    }
    Ground::Tmpfs { bytes }
}

/// Refuses to begin where not even the hooks have room.
pub(super) fn require_room(workdir: &Path, plan: &BuildPlan) -> Result<()> {
    let Ok(room) = Room::at(workdir) else {
        return Ok(());
    };
    let program = std::fs::metadata("/proc/self/exe").map_or(0, |meta| meta.len());
    let needed = plan.hooks.bytes().saturating_add(program);
    if needed <= room.free {
        return Ok(());
    }
    let message = format!(
        "no room for the build: its hooks alone have {needed} bytes, {} are free in {}, {room}",
        room.free,
        workdir.display()
    );
    Err(Error::new(Kind::Host, message).hint(where_else(room, &plan.settings)))
}

/// Where there may be more room than where the build is, which may lie on a tmpfs of its own in `TMP_DIR`.
fn where_else(room: Room, settings: &Settings) -> &'static str {
    let dir_in_memory = Room::at(&settings.tmp_dir).is_ok_and(|dir| dir.in_memory);
    way_out(room.in_memory, dir_in_memory, settings.tmpfs)
}

fn way_out(in_memory: bool, dir_in_memory: bool, asked: Tmpfs) -> &'static str {
    match (in_memory, dir_in_memory, asked) {
        (true, false, _) => "--no-tmpfs builds on disk",
        (true, true, Tmpfs::No) => "TMP_DIR is in memory itself: it may name a directory on disk",
        (true, true, Tmpfs::With { .. }) => {
            "TMP_DIR is in memory itself: it may name a directory on disk, and --no-tmpfs builds there"
        }
        (false, ..) => "the variable TMP_DIR names the directory to build in",
    }
}

/// Adds to a failure which of the places that a build writes to is full, if one is.
pub(super) fn explain(error: Error, workdir: &Path, plan: &BuildPlan) -> Error {
    let concerns = match error.kind() {
        Kind::Hook { .. } => true,
        Kind::Host => error.system().is_some_and(room::is_full),
        _ => false,
    };
    if !concerns {
        return error;
    }
    let elsewhere = "--image-cache names another directory";
    let places = [
        (workdir, None),
        (&*plan.settings.tmp_dir, None),
        (&*plan.settings.cache, Some(elsewhere)),
        (Path::new("."), Some("the hooks ran there")),
    ];
    for (place, hint) in places {
        let Ok(room) = Room::at(place) else { continue };
        if room.is_scarce() {
            let place = place.canonicalize().unwrap_or_else(|_| place.to_owned());
            let hint = hint.unwrap_or_else(|| where_else(room, &plan.settings));
            return error.hint(format!("{} is full: {room}; {hint}", place.display()));
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_tmpfs_needs_memory_that_is_there_and_free() {
        let two = Tmpfs::With { kib: 2 << 20 };
        let cases = [
            (Tmpfs::No, 64 * GIB, 64 * GIB, None),
            (two, 4 * GIB, 4 * GIB, Some(2 * GIB)),
            (two, 4 * GIB - 1, 4 * GIB - 1, None),
            (two, 64 * GIB, 60 * GIB, Some(32 * GIB)),
            (two, 64 * GIB, 4 * GIB, Some(3 * GIB)),
            (two, 64 * GIB, 2 * GIB, None),
            (Tmpfs::With { kib: 0 }, GIB, GIB, Some(GIB / 2)),
        ];
        for (asked, total, available, expected) in cases {
            let ground = choose(asked, Some(Memory { total, available }));
            let bytes = match ground {
                Ground::Tmpfs { bytes } => Some(bytes),
                Ground::Disk { .. } => None,
            };
            assert_eq!(bytes, expected, "{asked:?}, {total}, {available}");
        }
    }

    #[test]
    fn the_way_out_leads_to_a_disk() {
        let (no, with) = (Tmpfs::No, Tmpfs::With { kib: 1 });
        for (in_memory, dir_in_memory, asked, way) in [
            (true, false, with, "--no-tmpfs builds on disk"),
            (true, true, no, "it may name a directory on disk"),
            (
                true,
                true,
                with,
                "a directory on disk, and --no-tmpfs builds there",
            ),
            (false, false, no, "TMP_DIR names the directory to build in"),
        ] {
            let told = way_out(in_memory, dir_in_memory, asked);
            assert!(told.ends_with(way), "{told}");
        }
    }

    #[test]
    fn the_reason_for_disk_is_one_line_with_numbers() {
        let reason = |total, available| {
            let memory = Some(Memory { total, available });
            match choose(Tmpfs::With { kib: 2 << 20 }, memory) {
                Ground::Disk { why: Some(why) } => why,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            reason(GIB, GIB),
            "a tmpfs of 2048.0 MiB needs a machine with twice as much memory, and this one has 1024.0 MiB"
        );
        assert_eq!(
            reason(8 * GIB, GIB),
            "a tmpfs of 2048.0 MiB leaves too little of the 1024.0 MiB of memory that are free"
        );
        assert_eq!(choose(Tmpfs::No, None), Ground::Disk { why: None });
        let unknown = choose(Tmpfs::With { kib: 0 }, None);
        assert!(matches!(unknown, Ground::Disk { why: Some(why) } if why.contains("/proc/meminfo")));
    }
}

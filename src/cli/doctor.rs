//! `dib doctor`: which builds this host allows, why not the others, and what would change that.

use std::fmt::{self, Write as _};
use std::path::Path;

use clap::Parser;
use serde::Serialize;

use super::after_help;
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};
use crate::pipeline;
use crate::room::{Memory, Room, mib};
use crate::sandbox::probe::{self, Obstacle};
use crate::sandbox::sudo::Sudo;
use crate::sandbox::tier::Tier;
use crate::settings::{Flags, Settings};
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  dib doctor
      every tier of privileges on this host: whether it works, why not, and what to change

  dib doctor --json | jq -r '.tiers[] | select(.works) | .tier'
      the tiers that work";

/// Explain which builds this host allows, and what would allow more.
#[derive(Debug, Parser)]
#[command(name = "doctor", after_help = after_help(EXAMPLES))]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// The tier that a build takes; null: none works.
    chosen: Option<Tier>,
    tiers: Vec<TierReport>,
    memory: Option<MemoryReport>,
    directory: DirectoryReport,
}

#[derive(Debug, Serialize)]
struct TierReport {
    tier: Tier,
    needs: &'static str,
    works: bool,
    /// Whether it works because sudo makes this user root.
    by_sudo: bool,
    obstacles: Vec<Obstacle>,
}

#[derive(Debug, Serialize)]
struct MemoryReport {
    total_bytes: u64,
    free_bytes: u64,
}

#[derive(Debug, Serialize)]
struct DirectoryReport {
    path: String,
    free_bytes: Option<u64>,
    /// The most that a build may take of memory; null: it lies on disk.
    memory_bytes: Option<u64>,
    /// Why it lies on disk, if the caller did not ask for that.
    why_on_disk: Option<String>,
}

/// Prints the report. Fails if nothing can be built.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let settings = Settings::new(Flags::default(), environment)?;
    let report = Report::of(&settings);
    if args.json {
        let json = serde_json::to_string_pretty(&report).host(|| "cannot print the report".to_owned())?;
        ui::print(format_args!("{json}\n"))?;
    } else {
        ui::print(&report)?;
    }
    match report.chosen {
        Some(_) => Ok(()),
        None => Err(Error::new(Kind::Host, "this host allows no build")
            .hint("'dib assemble' makes images of directories and archives without any privilege")),
    }
}

impl Report {
    fn of(settings: &Settings) -> Self {
        let tiers: Vec<TierReport> = Tier::ALL
            .into_iter()
            .map(|tier| TierReport::of(tier, &settings.tmp_dir))
            .collect();
        let chosen = tiers.iter().find(|report| report.works).map(|report| report.tier);
        let memory = Memory::now().map(|memory| MemoryReport {
            total_bytes: memory.total,
            free_bytes: memory.available,
        });
        let (memory_bytes, why_on_disk) = match chosen.filter(|tier| tier.has_namespaces()) {
            Some(_) => pipeline::memory_for(settings.tmpfs),
            None => (None, Some("nothing can be mounted".to_owned())),
        };
        Self {
            chosen,
            tiers,
            memory,
            directory: DirectoryReport {
                path: settings.tmp_dir.display().to_string(),
                free_bytes: Room::at(&settings.tmp_dir).ok().map(|room| room.free),
                memory_bytes,
                why_on_disk,
            },
        }
    }
}

impl TierReport {
    fn of(tier: Tier, tmp_dir: &Path) -> Self {
        let mut obstacles = probe::probe(tier, tmp_dir);
        let mut by_sudo = false;
        if tier == Tier::T0 && !rustix::process::geteuid().is_root() {
            match Sudo::ask() {
                Ok(_) => {
                    by_sudo = true;
                    obstacles.clear();
                }
                Err(why) => obstacles.push(probe::no_sudo(&why)),
            }
        }
        Self {
            tier,
            needs: tier.needs(),
            works: obstacles.is_empty(),
            by_sudo,
            obstacles,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for report in &self.tiers {
            let how = if report.by_sudo { ", by sudo" } else { "" };
            let verdict = if report.works { "works" } else { "impossible" };
            writeln!(f, "{}  {verdict}{how}: {}", report.tier, report.needs)?;
            for obstacle in &report.obstacles {
                writeln!(f, "      {}\n        {}", obstacle.what, obstacle.remedy)?;
            }
        }
        f.write_char('\n')?;
        if let Some(chosen) = self.chosen {
            writeln!(
                f,
                "A build takes {chosen}; --privileges and DIB_PRIVILEGES force another one."
            )?;
        }
        let directory = &self.directory;
        let free = directory
            .free_bytes
            .map_or_else(|| "an unknown number of bytes".to_owned(), mib);
        match (directory.memory_bytes, &directory.why_on_disk) {
            (Some(bytes), _) => writeln!(f, "It lies in memory, of which it takes {} at most.", mib(bytes))?,
            (None, Some(why)) => writeln!(f, "It lies on disk: {why}.")?,
            (None, None) => writeln!(f, "It lies on disk, as --no-tmpfs or DIB_NO_TMPFS says.")?,
        }
        if let Some(memory) = &self.memory {
            let (total, free) = (mib(memory.total_bytes), mib(memory.free_bytes));
            writeln!(f, "Of the {total} of memory {free} are free.")?;
        }
        writeln!(f, "In {}, which TMP_DIR names, {free} are free.", directory.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn a_report_says_what_to_change() {
        Args::command().debug_assert();
        let report = Report {
            chosen: Some(Tier::T1),
            tiers: vec![
                TierReport {
                    tier: Tier::T0,
                    needs: Tier::T0.needs(),
                    works: false,
                    by_sudo: false,
                    obstacles: vec![Obstacle {
                        what: "root lacks CAP_SYS_ADMIN".into(),
                        remedy: "--cap-add SYS_ADMIN".into(),
                    }],
                },
                TierReport {
                    tier: Tier::T1,
                    needs: Tier::T1.needs(),
                    works: true,
                    by_sudo: false,
                    obstacles: Vec::new(),
                },
            ],
            memory: Some(MemoryReport {
                total_bytes: 4 << 30,
                free_bytes: 1 << 30,
            }),
            directory: DirectoryReport {
                path: "/tmp".into(),
                free_bytes: Some(5 << 30),
                memory_bytes: None,
                why_on_disk: Some("nothing can be mounted".into()),
            },
        };
        assert_eq!(
            report.to_string(),
            "T0  impossible: root with the right to mount\n      \
             root lacks CAP_SYS_ADMIN\n        \
             --cap-add SYS_ADMIN\n\
             T1  works: root without the right to mount, as in a container\n\n\
             A build takes T1; --privileges and DIB_PRIVILEGES force another one.\n\
             It lies on disk: nothing can be mounted.\n\
             Of the 4096.0 MiB of memory 1024.0 MiB are free.\n\
             In /tmp, which TMP_DIR names, 5120.0 MiB are free.\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["chosen"], "T1");
        assert_eq!(json["tiers"][0]["obstacles"][0]["remedy"], "--cap-add SYS_ADMIN");
    }
}

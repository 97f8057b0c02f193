//! The pipeline: runs a build plan, phase by phase. The only place that knows the order.
//!
//! | step | what |
//! |---|---|
//! | `ground` | memory or disk, and what is said when it runs full |
//! | `surroundings` | the build's directories; the variables that hooks see |
//! | `root.d` | must leave a tree |
//! | mounts, name resolution | `sandbox::mounts`, `finalise` |
//! | `extra-data.d`, `pre-install.d`, `install.d`, packages, `post-install.d` | populate it |
//! | `first-boot.d` | is laid in, for the first boot |
//! | `post-root.d` | works on it from outside |
//! | everything unmounted, size decided | `image::measure` |
//! | `block-device.d`, fstab, mounts, `pre-finalise.d`, `finalise.d`, `cleanup.d` | finish it |
//! | everything unmounted, all processes ended, traces cleared | `finalise`, `normalise` |
//! | packages listed | `bill`, with `--sbom` |
//! | scan, plan, copy | `archives` for what holds the tree itself, `image` for disks |

mod archives;
mod bill;
mod disks;
mod finalise;
mod ground;
mod image;
mod normalise;
mod pause;
mod surroundings;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use image_core::scan::StandIns;
use regex_lite::Regex;

use crate::blockdevice::facts::Facts;
use crate::blockdevice::layout::{FIRST, Layout};
use crate::blockdevice::old::{self, Divided};
use crate::blockdevice::placing::Placed;
use crate::boot::{self, substitute::put_back};
use crate::bootstrap::foreign;
use crate::breaks::SIZE;
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};
use crate::output::ramdisk::Made;
use crate::output::{self, Rules};
use crate::phase::{Phase, Place};
use crate::plan::BuildPlan;
use crate::ramdisk;
use crate::runner::{Parts, RunError, hook_names};
use crate::sandbox::caller;
use crate::sandbox::furnish::{Furnished, Lent};
use crate::sandbox::launch::{Ending, Sandbox};
use crate::sandbox::node_list;
use crate::sandbox::offspring;
use crate::sandbox::probe::{self, Choice};
use crate::sandbox::rooted::Rooted;
use crate::sandbox::supervise::{Endings, supervise};
use crate::sandbox::tier::Grant;
use crate::sandbox::witness::Witness;
use crate::sandbox::workdir::Workdir;
use crate::ui;
use crate::ui::events::Events;
use crate::ui::log::Log;
use crate::ui::notice::Failure;
use crate::ui::reporter::{Reporter, Subject};
use crate::ui::screen::Screen;

pub use archives::archive;
use bill::{Bill, By};
pub use ground::memory_for;
pub use image::{Making, name_of};
pub(crate) use normalise::clamp_days;
use pause::Stop;
use surroundings::{Dirs, in_chroot, in_chroot_with_disks, on_host, variables, with_disk};
pub use surroundings::{element_array, element_yaml};

/// Builds what a plan says.
pub fn run(plan: &BuildPlan, events: &mut Events) -> Result<()> {
    let settings = &plan.settings;
    if plan.bootstraps() {
        // A hook would find it out as well, late, and its card would say it once more.
        foreign::must_run(&settings.arch)?;
    }
    let grant = match probe::choose(&settings.isolation, &settings.tmp_dir)? {
        Choice::Grant(grant) => grant,
        Choice::Sudo(sudo) => match sudo.rerun(&settings.tmp_dir)? {},
    };
    grant.take_up()?;
    output::stdout::claim(&settings.name)?;
    let logging = &settings.logging;
    let open = |path: &Path| {
        let file = fs::File::create(path).and_then(|file| caller::own(&file).map(|()| file));
        file.host(|| format!("cannot write the log {}", path.display()))
    };
    let file = logging.file.as_deref().map(open).transpose()?;
    if let Some(path) = &logging.file {
        // The log has it all, be there a standard output or not.
        let _ = ui::print(format_args!("Output logs going to: {}\n", path.display()));
    }
    if plan.wants_image() {
        if settings.ramdisk {
            output::ramdisk::rehearse(&settings.name)?;
        } else {
            for disk in &plan.layout.disks {
                output::rehearse(&name_of(&settings.name, &disk.name), &settings.formats)?;
            }
        }
    }
    // Released after the build's directory is gone.
    let endings = Endings::hold()?;
    let workdir = Workdir::create(&settings.tmp_dir)?;
    events.tell(plan.started());
    let log = Log::new(logging.quiet, logging.timestamps, file);
    let screen = Screen::open(!logging.quiet && settings.trace == 0, &plan.environment);
    let mut reporter = Reporter::new(subject(plan), log, screen, events, &plan.environment);
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let result = supervise(&mut reporter, &grant, &endings, || {
        Build::prepare(plan, &grant, workdir.path(), umask.as_raw_mode())
            .and_then(|mut build| build.run())
            .map_err(|error| ground::explain(error, workdir.path(), plan))
    });
    reporter.end(result)
}

/// What the reporter knows of a build before it starts.
fn subject(plan: &BuildPlan) -> Subject {
    let hooks = plan.hooks.entries().map(|(path, entry)| {
        let from = entry.from.display().to_string();
        (path.display().to_string(), (entry.element.clone(), from))
    });
    Subject {
        hooks: hooks.collect(),
        dir: plan.settings.tmp_dir.clone(),
        command: caller::command_line(),
    }
}

/// A build under way, inside its namespaces.
struct Build<'a> {
    plan: &'a BuildPlan,
    grant: &'a Grant,
    /// Who hears what the kernel refuses hooks.
    witness: Option<Witness>,
    dirs: Dirs,
    /// The variables of all phases to come.
    variables: Environment,
    /// What chroot phases saw last, `environment.d` included.
    sourced: Option<Environment>,
    /// What outputs may not grant: the caller's.
    umask: u32,
    /// What each hook brought, where that is wanted.
    bill: Option<Bill>,
}

impl<'a> Build<'a> {
    fn prepare(plan: &'a BuildPlan, grant: &'a Grant, workdir: &Path, umask: u32) -> Result<Self> {
        let names: Vec<&str> = plan
            .elements
            .iter()
            .map(|element| element.name.as_str())
            .collect();
        ui::note(format_args!(
            "diskimage-builder version {}",
            env!("CARGO_PKG_VERSION")
        ));
        ui::note(format_args!(
            "Building elements: {}",
            plan.settings.elements.join(" ")
        ));
        ui::note(format_args!(
            "Expanded element dependencies to: {}",
            names.join(" ")
        ));
        ui::note(grant);
        for warning in &plan.warnings {
            ui::warn(warning);
        }
        ground::lay(workdir, plan.settings.tmpfs, grant.tier)?;
        ground::require_room(workdir, plan)?;
        let witness = Witness::of(grant).host(|| "cannot hear of the system calls of hooks".to_owned())?;
        let dirs = Dirs::create(workdir, plan)?;
        if let Some(witness) = witness.as_ref().filter(|_| plan.settings.ramdisk) {
            let records = dirs.hooks.join(ramdisk::RECORDS);
            fs::create_dir(&records).host(|| format!("cannot make {}", records.display()))?;
            let list = records.join(node_list::NAME);
            let list = fs::File::create_new(&list).host(|| format!("cannot write {}", list.display()))?;
            // A ramdisk is packed in the chroot.
            witness.list_in(list);
        }
        disks::write_parameters(plan, &dirs, None)?;
        disks::tell(&plan.layout, &dirs, None)?;
        let variables = variables(plan, grant, &dirs);
        Ok(Self {
            plan,
            grant,
            witness,
            dirs,
            variables,
            sourced: None,
            umask,
            bill: Bill::of(plan),
        })
    }

    fn run(&mut self) -> Result<()> {
        self.phase(Phase::Root)?;
        self.require_root()?;
        self.lend_resolv_conf()?;
        let mounts = self.furnish()?;
        self.note(By::Root);
        self.dirs.default_install_type(&self.plan.settings)?;
        for phase in [Phase::ExtraData, Phase::PreInstall, Phase::Install] {
            self.phase(phase)?;
        }
        self.install_packages()?;
        for phase in [Phase::PostInstall, Phase::FirstBoot, Phase::PostRoot] {
            self.phase(phase)?;
        }
        self.unmount(mounts)?;
        let placed = self.measure()?;
        disks::tell(&self.plan.layout, &self.dirs, Some(&placed))?;
        self.dirs.name_built()?;
        let divided = self.divide(&placed)?;
        self.dirs.forget_built()?;
        let (layout, placed, kept) = match &divided {
            Some(divided) => (&divided.layout, &divided.placed, Some(&divided.kept)),
            None => (&self.plan.layout, &placed, None),
        };
        self.make_mount_points()?;
        self.write_fstab()?;
        self.name_devices(layout);
        let mounts = self.furnish()?;
        let mut boot = None;
        for phase in [Phase::PreFinalise, Phase::Finalise, Phase::Cleanup] {
            disks::tell(layout, &self.dirs, Some(placed))?;
            self.phase(phase)?;
            // What a later hook leaves is what it means.
            boot = boot::collect(&self.tree()?)?.or(boot);
        }
        self.unmount(mounts)?;
        offspring::end_all(self.grant.tier).host(|| "cannot end what hooks left running".to_owned())?;
        // What a hook left running may have done it at any time.
        self.dirs.require_unmoved()?;
        let ramdisk = self.ramdisk()?;
        self.clear()?;
        self.list_packages()?;
        if let Some(ramdisk) = ramdisk {
            let rules = Rules::of(&self.plan.settings, self.plan.identity, self.umask);
            ramdisk.save(&rules)?;
        } else if self.plan.wants_image() {
            let making = Making {
                settings: &self.plan.settings,
                layout,
                kept,
                identity: self.plan.identity,
                boot: boot.as_ref(),
                umask: self.umask,
            };
            image::write(self.plan, &self.dirs.tree, self.stand_ins(), placed, &making)?;
        } else {
            ui::note("no image is wanted");
        }
        Ok(())
    }

    /// What hooks made of the tree, if a ramdisk is wanted. It stays open while its directory is cleared.
    fn ramdisk(&self) -> Result<Option<Made>> {
        let wanted = self.plan.settings.ramdisk && self.plan.wants_image();
        wanted.then(|| Made::open(&self.tree()?)).transpose()
    }

    /// Runs the hooks of a phase, if elements or earlier hooks brought any.
    fn phase(&mut self, phase: Phase) -> Result<()> {
        self.dirs.belong(phase.place())?;
        let present = self.dirs.hooks.join(phase.dir()).is_dir();
        let [before, after] = ["before", "after"].map(|side| format!("{side}-{}", phase.name()));
        match phase.place() {
            Place::Host => {
                let host = Sandbox::host();
                let environment = on_host(&self.variables, &self.dirs);
                self.pause(&before, &host, &environment, Stop::Command)?;
                let seen = if present {
                    self.hooks(phase, &host, &environment)?.0
                } else {
                    environment
                };
                self.pause(&after, &host, &seen, Stop::Shell)
            }
            Place::Chroot if present => {
                let sandbox = Sandbox::chroot(&self.dirs.tree);
                let environment = match phase {
                    Phase::Finalise => in_chroot_with_disks(&self.variables, &self.tree()?)?,
                    _ => in_chroot(&self.variables),
                };
                let lent = self.lend()?;
                self.pause(&before, &sandbox, &environment, Stop::Shell)?;
                let (seen, _) = self.hooks(phase, &sandbox, &environment)?;
                self.pause(&after, &sandbox, &seen, Stop::Shell)?;
                self.sourced = Some(seen);
                lent.take_away()
            }
            Place::Chroot => Ok(()),
            Place::FirstBoot => {
                self.pause_around(&before, Place::Chroot)?;
                if present {
                    self.lay_in_first_boot()?;
                }
                self.pause_around(&after, Place::Chroot)
            }
        }
    }

    /// Runs `block-device.d`, which may divide the first disk as it did in the days of old: on a file that stands for it.
    fn divide(&mut self, placed: &Placed) -> Result<Option<Divided>> {
        let phase = Phase::BlockDevice;
        if !self.plan.layout.is_bare() || !self.dirs.hooks.join(phase.dir()).is_dir() {
            self.phase(phase)?;
            return Ok(None);
        }
        self.dirs.belong(phase.place())?;
        let disk = disks::stand_in(&self.dirs, placed)?;
        let host = Sandbox::host();
        let environment = with_disk(&on_host(&self.variables, &self.dirs), &self.dirs, &disk);
        let [before, after] = ["before", "after"].map(|side| format!("{side}-{}", phase.name()));
        self.pause(&before, &host, &environment, Stop::Command)?;
        let (seen, heard) = self.hooks(phase, &host, &environment)?;
        self.pause(&after, &host, &seen, Stop::Shell)?;
        let told = old::told(&heard);
        told.map(|name| old::read(&self.plan.layout, &disk, &name))
            .transpose()
    }

    /// Lends chroot phases what they see of the host: the hooks, and the cache of compilations where element `base`
    /// wants it.
    fn lend(&self) -> Result<Lent> {
        let cache = self.plan.compile_cache();
        Lent::put(&self.dirs.hooks, &self.dirs.tree, self.grant.tier, cache)
    }

    /// Runs the hooks; returns the environment that they saw, and what those of `block-device.d` printed.
    fn hooks(
        &self,
        phase: Phase,
        sandbox: &Sandbox,
        environment: &Environment,
    ) -> Result<(Environment, Vec<u8>)> {
        let _phase = ui::phase(&phase.dir(), format_args!("Running hooks of {}", phase.dir()));
        let there = match sandbox.root {
            Some(_) => Path::new("/tmp/in_target.d").to_owned(),
            None => self.dirs.hooks.clone(),
        };
        let parts = Parts {
            here: self.dirs.hooks.join(phase.dir()),
            there: there.join(phase.dir()),
            sandbox: sandbox.clone(),
            runner: there.join(crate::runner::NAME),
            witness: self.witness.clone(),
        };
        let names = hook_names(environment)?;
        let settings = &self.plan.settings;
        let trace = settings.trace > 0;
        let sourced = match self.dirs.simple_environment(environment, settings) {
            Some(simple) => Ok(simple),
            None => parts.environment(environment, trace),
        };
        let (seen, ran) = match sourced {
            Ok(seen) => {
                let ran = match phase {
                    Phase::BlockDevice => parts.run_listening(&names, &seen, trace),
                    _ => self.run_noting(phase, &parts, &names, &seen).map(|()| Vec::new()),
                };
                (seen, ran)
            }
            Err(error) => (environment.clone(), Err(error)),
        };
        let heard = match ran {
            Ok(heard) => heard,
            Err(error) => {
                let error = self.failed(phase, error);
                self.pause_after_error(phase.place(), sandbox, &seen)?;
                return Err(error);
            }
        };
        self.dirs
            .require_unmoved()
            .map_err(|error| Error::new(error.kind(), format!("phase {}", phase.dir())).because(error))?;
        Ok((seen, heard))
    }

    /// Runs hooks, and notes what each of them brings where that is wanted.
    fn run_noting(
        &self,
        phase: Phase,
        parts: &Parts,
        names: &Regex,
        environment: &Environment,
    ) -> Result<(), RunError> {
        let trace = self.plan.settings.trace > 0;
        let Some(bill) = &self.bill else {
            return parts.run(names, environment, trace);
        };
        bill.ask(self.plan, environment);
        let programs = (phase != Phase::Root).then(|| in_chroot(&self.variables));
        let tree = bill::Tree {
            dir: &self.dirs.tree,
            programs: programs.as_ref(),
        };
        parts.run_telling(names, environment, trace, |hook| {
            bill.look(self.plan, tree, phase, hook);
        })
    }

    /// Notes what was brought by no hook, where that is wanted.
    fn note(&self, by: By) {
        if let Some(bill) = &self.bill {
            let tree = bill::Tree {
                dir: &self.dirs.tree,
                programs: Some(&in_chroot(&self.variables)),
            };
            bill.look_beside_hooks(self.plan, tree, by);
        }
    }

    /// Lays `first-boot.d` into the image. Element `base` brings what runs it.
    fn lay_in_first_boot(&self) -> Result<()> {
        let tried = || "cannot lay first-boot.d into /etc of the tree".to_owned();
        let scripts = Rooted::open(&self.dirs.hooks.join(Phase::FirstBoot.dir())).host(tried)?;
        let tree = self.tree()?;
        tree.make_dir("etc", 0o755).host(tried)?;
        let etc = tree.dir("etc").host(tried)?;
        let etc = etc.ok_or_else(|| Error::new(Kind::Host, "/etc of the tree is no directory"))?;
        etc.make_dir(&Phase::FirstBoot.dir(), 0o755).host(tried)?;
        let into = etc.child(Phase::FirstBoot.dir().as_bytes()).host(tried)?;
        into.copy_from(&scripts).host(tried)
    }

    /// Says which element's hook it was.
    fn failed(&self, phase: Phase, error: RunError) -> Error {
        let status = match phase {
            // Callers of the original program know 1, whatever the hook said.
            Phase::BlockDevice => 1,
            _ => error.status().max(1),
        };
        let file = match &error {
            RunError::Hook { name, .. } | RunError::Start { name, .. } | RunError::Refused { name, .. } => {
                Some((phase.dir(), name))
            }
            RunError::Environment { snippet, .. } => Some(("environment.d".to_owned(), snippet)),
            _ => None,
        };
        let entry = file.and_then(|(dir, name)| {
            let path = Path::new(&dir).join(OsStr::from_bytes(name));
            self.plan.hooks.get(&path)
        });
        let element = entry.map_or("the build", |entry| &entry.element);
        let message = format!("phase {}, element {element}", phase.dir());
        self.refused(Error::new(Kind::Hook { status }, message).because(error))
    }

    /// Adds to an error what may have led to it, for a hook did not get it.
    fn refused(&self, error: Error) -> Error {
        let hints = self.witness.as_ref().map(Witness::hints).unwrap_or_default();
        hints.into_iter().fold(error, Error::hint)
    }

    fn stand_ins(&self) -> StandIns {
        self.witness.as_ref().map(Witness::stand_ins).unwrap_or_default()
    }

    fn install_packages(&self) -> Result<()> {
        let packages = &self.plan.settings.packages;
        if packages.is_empty() {
            return Ok(());
        }
        let _phase = ui::phase(
            "packages",
            format_args!("Installing packages {}", packages.join(" ")),
        );
        let environment = self.sourced.clone().unwrap_or_else(|| in_chroot(&self.variables));
        let args: Vec<OsString> = packages.iter().map(OsString::from).collect();
        let failed = |status, how: String| {
            let message = format!(
                "cannot install packages {}: install-packages {how}",
                packages.join(" ")
            );
            Error::new(Kind::Hook { status }, message)
        };
        let lent = self.lend()?;
        let sandbox = Sandbox::chroot(&self.dirs.tree);
        let hook = ui::hook(b"install-packages");
        let failure = match sandbox.run(OsStr::new("install-packages"), &args, &environment) {
            Ok(Ending::Exited(0)) => None,
            Ok(ending) => Some(Failure {
                status: ending.status(),
                signal: ending.signal(),
                ending: ending.to_string(),
                file: None,
            }),
            Err(error) => Some(Failure {
                status: 127,
                ending: format!("cannot be started: {error}"),
                ..Failure::default()
            }),
        };
        hook.ended(failure.clone());
        if failure.is_some() {
            self.pause_after_error(Place::Chroot, &sandbox, &environment)?;
        }
        lent.take_away()?;
        self.note(By::CommandLine);
        failure.map_or(Ok(()), |failure| {
            Err(self.refused(failed(failure.status, failure.ending)))
        })
    }

    fn require_root(&self) -> Result<()> {
        let mut entries = fs::read_dir(&self.dirs.tree).host(|| "cannot read the tree".to_owned())?;
        let deployed = entries.any(|entry| {
            entry.is_ok_and(|entry| {
                !["lost+found", "tmp"]
                    .iter()
                    .any(|name| entry.file_name() == *name)
            })
        });
        if deployed {
            return Ok(());
        }
        Err(Error::new(Kind::Elements, "Failed to deploy the root element.")
            .hint("no hook of root.d put anything into $TARGET_ROOT"))
    }

    fn tree(&self) -> Result<Rooted> {
        Rooted::open(&self.dirs.tree).host(|| "cannot open the tree".to_owned())
    }

    fn lend_resolv_conf(&self) -> Result<()> {
        finalise::lend_resolv_conf(&self.tree()?)
            .host(|| "cannot set /etc/resolv.conf of the tree".to_owned())
    }

    fn furnish(&self) -> Result<Furnished> {
        Furnished::put(&self.dirs.tree, &self.dirs.aside, self.grant.tier)
    }

    fn unmount(&self, mounts: Furnished) -> Result<()> {
        offspring::end_inside(&self.dirs.tree, self.grant.tier)
            .host(|| "cannot end what runs in the tree".to_owned())?;
        mounts.take_away(&self.dirs.tree)?;
        self.tree()?
            .remove_all("lost+found")
            .host(|| "cannot remove /lost+found of the tree".to_owned())
    }

    /// Decides where everything lies; hooks learn the size of the first disk, in KiB.
    fn measure(&mut self) -> Result<Placed> {
        self.pause_around(&format!("before-{SIZE}"), Place::Host)?;
        let placed = image::measure(self.plan, &self.dirs.tree, self.stand_ins())?;
        let first = self.plan.layout.disks.iter().position(|disk| disk.name == FIRST);
        let bytes = first.map_or(0, |first| placed.disks[first].len);
        self.variables.set("DIB_IMAGE_SIZE", (bytes / 1024).to_string());
        disks::write_parameters(self.plan, &self.dirs, Some(bytes))?;
        self.pause_around(&format!("after-{SIZE}"), Place::Host)?;
        Ok(placed)
    }

    /// Directories for the file systems of the layout, which hooks find in place as if they were mounted.
    fn make_mount_points(&self) -> Result<()> {
        let tree = self.tree()?;
        for point in self
            .plan
            .layout
            .mount_points()
            .filter(|point| point.starts_with('/'))
        {
            let tried = || format!("cannot make {point} in the tree");
            let mut path = PathBuf::from(".");
            for name in point.split('/').filter(|name| !name.is_empty()) {
                if let Some(dir) = tree.dir(&path).host(tried)? {
                    dir.make_dir(name, 0o755).host(tried)?;
                }
                path.push(name);
            }
        }
        Ok(())
    }

    /// The file systems of the layout. The file is replaced, as it is by the original program, unless the layout says
    /// nothing of it.
    fn write_fstab(&self) -> Result<()> {
        let lines = self.plan.layout.fstab();
        if lines.is_empty() {
            return Ok(());
        }
        let tried = || "cannot write /etc/fstab of the tree".to_owned();
        match self.tree()?.dir("etc").host(tried)? {
            Some(etc) => etc.write("fstab", 0o644, lines.as_bytes()).host(tried),
            None => Ok(()),
        }
    }

    /// From now on hooks can name the disk that will be, though there is no such device.
    fn name_devices(&mut self, layout: &Layout) {
        let facts = Facts::of(layout, None);
        self.variables
            .set("IMAGE_BLOCK_DEVICE", format!("/dev/dib/{FIRST}"));
        self.variables.set("IMAGE_BLOCK_DEVICES", facts.devices());
    }

    /// Lists the packages of the finished tree, where that is wanted.
    fn list_packages(&self) -> Result<()> {
        match &self.bill {
            Some(bill) => bill.write(self.plan, &self.tree()?, self.umask),
            None => Ok(()),
        }
    }

    fn clear(&self) -> Result<()> {
        let _work = ui::work("finish the tree");
        let tree = self.tree()?;
        let tried = || "cannot finish the tree".to_owned();
        finalise::return_resolv_conf(&tree).host(tried)?;
        put_back(&tree).host(tried)?;
        finalise::clear_traces(&tree).host(tried)?;
        if let Some(epoch) = self.plan.settings.repeat.epoch {
            normalise::normalise(&tree, epoch).host(tried)?;
        }
        Ok(())
    }
}

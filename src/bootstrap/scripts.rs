//! The scripts of packages, and the tree's own dpkg, in the chroot.
//!
//! The scripts that run before a package is unpacked run when all is unpacked: a root has nothing yet that could be in
//! their way, and what they divert is put right afterwards. Where one may count on packages that work already
//! (`Pre-Depends`), these are configured first. All the rest is one call of the tree's dpkg.
//!
//! Meanwhile no daemon is started, nothing is asked, and a flush to disk costs nothing: a root that is not finished is
//! worth nothing to anybody.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::database::Installed;
use super::order::Needs;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::sandbox::launch::Sandbox;
use crate::sandbox::rooted::Rooted;

/// Variables of the caller that scripts see.
const KEPT: [&str; 6] = [
    "SOURCE_DATE_EPOCH",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "TZ",
    "TERM",
];

/// Runs programs in the tree.
#[derive(Debug)]
pub struct Chroot<'a> {
    sandbox: Sandbox,
    environment: Environment,
    tree: &'a Rooted,
    packages: &'a [Installed],
}

impl<'a> Chroot<'a> {
    /// The programs of a tree of these packages.
    pub fn new(path: &Path, tree: &'a Rooted, packages: &'a [Installed], caller: &Environment) -> Self {
        let mut environment = Environment::default();
        for name in KEPT {
            if let Some(value) = caller.get(name) {
                environment.set(name, value);
            }
        }
        for (name, value) in [
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOME", "/root"),
            ("SHELL", "/bin/sh"),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("LC_ALL", "C.UTF-8"),
            ("LANGUAGE", "C.UTF-8"),
            ("LANG", "C.UTF-8"),
        ] {
            environment.set(name, value);
        }
        Self {
            sandbox: Sandbox::chroot(path),
            environment,
            tree,
            packages,
        }
    }

    /// Runs every script that precedes the unpacking of its package; the packages that are configured by then.
    pub fn precede(
        &self,
        needs: &Needs,
        order: &[usize],
        essential: &BTreeSet<usize>,
    ) -> Result<BTreeSet<usize>> {
        let mut configured = BTreeSet::new();
        for number in order {
            let package = &self.packages[*number];
            if package.control.file("preinst").is_none() {
                continue;
            }
            if !essential.contains(number) {
                let wanted = needs.before_unpacking(*number);
                if !wanted.is_subset(&configured) {
                    let now: BTreeSet<usize> = wanted.union(essential).copied().collect();
                    self.configure(
                        order
                            .iter()
                            .filter(|n| now.contains(n) && !configured.contains(n)),
                    )?;
                    configured.extend(now);
                }
            }
            self.preinst(package)?;
        }
        Ok(configured)
    }

    fn preinst(&self, package: &Installed) -> Result<()> {
        let name = package.name();
        let mut environment = self.environment.clone();
        for (variable, value) in [
            ("DPKG_ADMINDIR", "/var/lib/dpkg"),
            ("DPKG_MAINTSCRIPT_ARCH", package.control.field("Architecture")),
            ("DPKG_MAINTSCRIPT_DEBUG", "0"),
            ("DPKG_MAINTSCRIPT_NAME", "preinst"),
            ("DPKG_MAINTSCRIPT_PACKAGE", name),
            ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
            ("DPKG_ROOT", ""),
            ("DPKG_RUNNING_VERSION", self.version_of_dpkg()),
        ] {
            environment.set(variable, value);
        }
        let tried = || format!("cannot run the preinst script of {name}");
        // dpkg runs it where it unpacked the control archive, and some scripts look around there.
        let dpkg = self
            .tree
            .make_dirs(&[b"var", b"lib", b"dpkg"], 0o755)
            .host(tried)?;
        lay_control(package, &dpkg).host(tried)?;
        let script = OsStr::new("/var/lib/dpkg/tmp.ci/preinst");
        let args = [OsString::from("install")];
        let ending = self.sandbox.run_unsynced(script, &args, &environment);
        let ending = ending.host(tried)?;
        dpkg.remove_all("tmp.ci").host(tried)?;
        match ending.status() {
            0 => Ok(()),
            _ => Err(Error::new(
                Kind::Host,
                format!("the preinst script of {name} {ending}"),
            )),
        }
    }

    fn version_of_dpkg(&self) -> &str {
        let dpkg = self.packages.iter().find(|package| package.name() == "dpkg");
        dpkg.map_or("", |dpkg| dpkg.control.field("Version"))
    }

    /// Has dpkg configure packages.
    pub fn configure<'n>(&self, numbers: impl Iterator<Item = &'n usize>) -> Result<()> {
        let names = numbers.map(|number| OsString::from(self.packages[*number].name()));
        let mut args = vec![OsString::from("--configure")];
        args.extend(names);
        if args.len() == 1 {
            return Ok(());
        }
        let ending = self
            .sandbox
            .run_unsynced(OsStr::new("/usr/bin/dpkg"), &args, &self.environment);
        let ending = ending.host(|| "cannot run dpkg in the tree".to_owned())?;
        match ending.status() {
            0 => Ok(()),
            _ => Err(
                Error::new(Kind::Host, format!("dpkg --configure in the tree {ending}"))
                    .hint("the lines above say which package failed"),
            ),
        }
    }
}

/// Lays a package's control archive where dpkg unpacks it.
fn lay_control(package: &Installed, dpkg: &Rooted) -> io::Result<()> {
    dpkg.make_dir("tmp.ci", 0o755)?;
    let place = dpkg.child(b"tmp.ci")?;
    place.write("control", 0o644, package.control.text.as_bytes())?;
    for file in &package.control.files {
        place.write(&file.name, file.mode, &file.bytes)?;
    }
    Ok(())
}

/// What keeps daemons from being started, as long as packages are configured.
#[derive(Debug)]
pub struct Blocked<'a> {
    tree: &'a Rooted,
    stand_in: bool,
}

impl<'a> Blocked<'a> {
    /// Keeps daemons of a tree from being started.
    pub fn block(tree: &'a Rooted) -> Result<Self> {
        Self::put(tree).host(|| "cannot keep daemons from being started in the tree".to_owned())
    }

    fn put(tree: &'a Rooted) -> io::Result<Self> {
        let sbin = tree.make_dirs(&[b"usr", b"sbin"], 0o755)?;
        sbin.write("policy-rc.d", 0o755, b"#!/bin/sh\nexit 101\n")?;
        let sbin = tree.make_dirs(&[b"sbin"], 0o755)?;
        let stand_in = sbin.stat("start-stop-daemon")?.is_some();
        if stand_in {
            sbin.rename("start-stop-daemon", "start-stop-daemon.REAL")?;
            sbin.write("start-stop-daemon", 0o755, b"#!/bin/sh\nexit 0\n")?;
        }
        Ok(Self { tree, stand_in })
    }

    /// Gives the tree its daemons back.
    pub fn unblock(self) -> Result<()> {
        let tried = || "cannot let daemons be started in the tree again".to_owned();
        let sbin = self.tree.make_dirs(&[b"usr", b"sbin"], 0o755).host(tried)?;
        sbin.remove(b"policy-rc.d").host(tried)?;
        if self.stand_in {
            let sbin = self.tree.make_dirs(&[b"sbin"], 0o755).host(tried)?;
            sbin.rename("start-stop-daemon.REAL", "start-stop-daemon")
                .host(tried)?;
        }
        Ok(())
    }
}

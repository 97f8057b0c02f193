//! A Debian or Ubuntu root out of its archive, in-process: no debootstrap, apt, dpkg, gpg or tar of the host.
//!
//! | module | what it does |
//! |---|---|
//! | [`sources`] | lines of apt's → suites of archives |
//! | [`signature`] | who signed a suite, and whether that counts |
//! | [`release`], [`deb822`] | the description of a suite → values |
//! | [`archive`] | a suite, verified → the text of its indexes |
//! | [`index`], [`relation`], [`version`] | that text → packages and what they need |
//! | [`solve`] | what a root is made of |
//! | [`lock`] | the same, written down |
//! | [`repository`] | packages that come later: in the lock, and back in the tree |
//! | [`store`] | packages and indexes by digest, for all builds |
//! | [`deb`], [`unpack`] | package files → the tree, in parallel |
//! | [`settle`] | diversions, and files that two packages bring |
//! | [`database`] | dpkg's, as if dpkg had unpacked it all |
//! | [`order`], [`scripts`] | the packages' scripts and the tree's own dpkg |
//! | [`skeleton`] | what a root has besides packages |
//! | [`kept_root`] | a root → an archive, for the cache |
//! | [`foreign`] | whether its programs run here |
//!
//! Invariants:
//! - Nothing is used that no believed key vouches for: keys sign the description of a suite, that has the digests of its
//!   indexes, these have the digests of packages.
//! - Nothing is written outside of the tree, the cache and the lock.
//! - The same packages give the same tree, whatever order they come in.

pub mod archive;
pub mod database;
pub mod deb;
pub mod deb822;
pub mod foreign;
pub mod index;
pub mod kept_root;
pub mod lock;
pub mod order;
pub mod relation;
pub mod release;
pub mod repository;
pub mod scripts;
pub mod settle;
pub mod signature;
pub mod skeleton;
pub mod solve;
pub mod sources;
pub mod store;
pub mod unpack;
pub mod version;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::sandbox::furnish::Furnished;
use crate::sandbox::rooted::Rooted;
use crate::sandbox::tier::Tier;
use crate::ui;
use archive::Judgement;
use database::Installed;
use deb::Deb;
use index::Index;
use lock::{Chosen, Lock};
use order::Needs;
use scripts::{Blocked, Chroot};
use solve::Wanted;
use sources::Source;
use store::Store;

/// Downloads at once: enough that the time of the way there and back does not count.
const FETCHES: usize = 8;

/// What a root is to be.
#[derive(Debug)]
pub struct Wish {
    /// The suite that names it.
    pub suite: String,
    /// Its architecture.
    pub architecture: String,
    /// Where its packages come from, the first being what it is named for.
    pub sources: Vec<Source>,
    /// Packages besides the base.
    pub include: Vec<String>,
    /// Packages that must not be in it.
    pub exclude: Vec<String>,
}

/// Chooses the packages, from the archive as it is now.
pub fn choose(wish: &Wish, store: &Store, judgement: &Judgement) -> Result<Vec<Chosen>> {
    let read = |source: &Source| archive::packages(source, &wish.architecture, store, judgement);
    let indexes = thread::scope(|scope| {
        let all: Vec<_> = wish
            .sources
            .iter()
            .map(|source| scope.spawn(move || read(source)))
            .collect();
        let joined = all
            .into_iter()
            .map(|one| one.join().expect("a reader does not panic"));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let indexes: Vec<archive::Packages> = indexes.into_iter().flatten().collect();
    let mut index = Index::default();
    for (number, packages) in indexes.iter().enumerate() {
        index.add(&packages.text, number, &wish.architecture).host(|| {
            format!(
                "an index of {} makes no sense",
                crate::fetch::url::without_user(&packages.archive)
            )
        })?;
    }
    index.complete();
    let wanted = Wanted {
        architecture: &wish.architecture,
        include: wish.include.iter().map(String::as_str).collect(),
        exclude: wish.exclude.iter().map(String::as_str).collect(),
    };
    let solution = solve::solve(&index, &wanted).host(|| {
        format!(
            "no root can be made of {}",
            wish.sources.first().map_or(String::new(), ToString::to_string)
        )
    })?;
    let chosen = solution.packages.values().map(|package| Chosen {
        name: package.name.to_owned(),
        version: package.version.to_owned(),
        architecture: package.architecture.to_owned(),
        sha256: package.sha256.to_ascii_lowercase(),
        size: package.size,
        archive: crate::fetch::url::without_user(&indexes[package.text].archive),
        filename: package.filename.to_owned(),
        essential: solution.essential.contains(package.name),
        automatic: !solution.essential.contains(package.name) && !solution.manual.contains(package.name),
    });
    Ok(chosen.collect())
}

/// Makes a root of chosen packages in an empty directory.
pub fn build(
    wish: &Wish,
    chosen: &[Chosen],
    store: &Store,
    path: &Path,
    tier: Tier,
    environment: &Environment,
) -> Result<()> {
    // Mounts are known by whole paths.
    let path = &path
        .canonicalize()
        .host(|| format!("cannot open {}", path.display()))?;
    let tree = Rooted::open(path).host(|| format!("cannot open {}", path.display()))?;
    let tried = |what: &'static str| move || format!("cannot {what} of the tree");
    rustix::fs::fchmod(tree.fd(), 0o755.into()).host(tried("set the mode"))?;
    skeleton::merge_usr(&tree, &wish.architecture).host(tried("make the links"))?;
    let (mut packages, files) = unpack_all(wish, chosen, store, &tree)?;
    let needs = Needs::of(&packages);
    let order = needs.order(&packages);
    skeleton::give_directories(&tree, &packages, &order).host(tried("set the directories"))?;
    let sorted = || order.iter().map(|number| &packages[*number]);
    database::write(&tree, &wish.architecture, sorted()).host(tried("write the package database"))?;
    skeleton::furnish(&tree, &wish.sources).host(tried("write the configuration"))?;
    let essential: BTreeSet<usize> = (0..chosen.len())
        .filter(|number| chosen[*number].essential)
        .collect();

    let aside = path.join(".aside");
    let furnished = Furnished::put(path, &aside, tier)?;
    let done = configure(
        path,
        &tree,
        &mut packages,
        &files,
        (&needs, &order, &essential),
        environment,
    );
    let taken = furnished.take_away(path);
    done.and(taken)?;
    if tree.stat(".aside").host(tried("clean"))?.is_some() {
        tree.remove_all(".aside").host(tried("clean"))?;
    }
    skeleton::mark_automatic(&tree, chosen, &wish.architecture).host(tried("write the marks"))?;
    skeleton::finish(&tree).host(tried("clean up what was left"))
}

/// Runs what packages bring to be run.
fn configure(
    path: &Path,
    tree: &Rooted,
    packages: &mut [Installed],
    files: &[PathBuf],
    (needs, order, essential): (&Needs, &[usize], &BTreeSet<usize>),
    environment: &Environment,
) -> Result<()> {
    let chroot = Chroot::new(path, tree, packages, environment);
    let blocked = Blocked::block(tree)?;
    let configured = chroot.precede(needs, order, essential)?;
    settle_files(tree, packages, files)?;
    let chroot = Chroot::new(path, tree, packages, environment);
    chroot.configure(order.iter().filter(|number| !configured.contains(number)))?;
    blocked.unblock()
}

/// Decides whose file it is where there is doubt.
fn settle_files(tree: &Rooted, packages: &mut [Installed], files: &[PathBuf]) -> Result<()> {
    let tried = || "cannot read the diversions of the tree".to_owned();
    let dpkg = tree.dir("var/lib/dpkg").host(tried)?;
    let dpkg = dpkg.ok_or_else(|| Error::new(Kind::Host, "the tree has no /var/lib/dpkg"))?;
    let diversions = match dpkg.stat("diversions").host(tried)? {
        Some(_) => settle::diversions(&dpkg.read("diversions").host(tried)?),
        None => Vec::new(),
    };
    let settled = settle::settle(packages, &diversions);
    let (moves, losers) = settled.host(|| "two packages do not fit together".to_owned())?;
    for (number, places) in moves {
        let name = packages[number].name();
        let unpacked = Deb::open(&files[number]).map_err(Into::into);
        unpacked
            .and_then(|deb| unpack::unpack_some(&deb, &places, tree))
            .host(|| format!("cannot unpack package {name}"))?;
    }
    for loser in losers {
        database::write_list(tree, &packages[loser])
            .host(|| "cannot write the package database of the tree".to_owned())?;
    }
    Ok(())
}

/// Fetches and unpacks packages, each as soon as it is there, the largest first.
fn unpack_all(
    wish: &Wish,
    chosen: &[Chosen],
    store: &Store,
    tree: &Rooted,
) -> Result<(Vec<Installed>, Vec<PathBuf>)> {
    let mut largest: Vec<usize> = (0..chosen.len()).collect();
    largest.sort_by_key(|number| std::cmp::Reverse(chosen[*number].size));
    let (next, failed, error) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let fail = |told: Error| {
        failed.store(true, Ordering::Relaxed);
        let mut error = error.lock().expect("nobody panics with it");
        error.get_or_insert(told);
    };
    let mut done: Vec<Option<(Installed, PathBuf)>> = (0..chosen.len()).map(|_| None).collect();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let (to_unpackers, from_fetchers) = mpsc::channel::<(usize, PathBuf)>();
    let from_fetchers = Mutex::new(from_fetchers);
    let (to_us, from_unpackers) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..FETCHES.min(chosen.len()) {
            let to_unpackers = to_unpackers.clone();
            let (next, failed, fail, largest) = (&next, &failed, &fail, &largest);
            scope.spawn(move || {
                while let Some(number) = largest.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match fetch(&wish.sources, &chosen[*number], store) {
                        _ if failed.load(Ordering::Relaxed) => return,
                        // Nobody listens where another failed.
                        Ok(path) => drop(to_unpackers.send((*number, path))),
                        Err(error) => return fail(error),
                    }
                }
            });
        }
        drop(to_unpackers);
        for _ in 0..processors {
            let (to_us, from_fetchers, failed, fail) = (to_us.clone(), &from_fetchers, &failed, &fail);
            scope.spawn(move || {
                loop {
                    let fetched = from_fetchers.lock().expect("nobody panics with it").recv();
                    let Ok((number, path)) = fetched else { return };
                    if failed.load(Ordering::Relaxed) {
                        return;
                    }
                    match unpack_one(&chosen[number], &path, tree) {
                        Ok(installed) => drop(to_us.send((number, installed, path))),
                        Err(error) => return fail(error),
                    }
                }
            });
        }
        drop(to_us);
        for (number, installed, path) in from_unpackers {
            done[number] = Some((installed, path));
        }
    });
    if let Some(error) = error.into_inner().expect("nobody panics with it") {
        return Err(error);
    }
    let all: Option<Vec<_>> = done.into_iter().collect();
    Ok(all.expect("what did not fail is done").into_iter().unzip())
}

fn fetch(sources: &[Source], chosen: &Chosen, store: &Store) -> Result<PathBuf> {
    // The lock has no passwords: they are those of the source.
    let shown = |source: &&Source| crate::fetch::url::without_user(&source.archive) == chosen.archive;
    let archive = sources
        .iter()
        .find(shown)
        .map_or(&chosen.archive, |source| &source.archive);
    let url = sources::address(archive, &chosen.filename)?;
    let what = format!("package {} {}", chosen.name, chosen.version);
    store.by_digest(&url, &chosen.sha256, chosen.size, &what)
}

fn unpack_one(chosen: &Chosen, path: &Path, tree: &Rooted) -> Result<Installed> {
    let tried = || format!("cannot unpack package {} {}", chosen.name, chosen.version);
    let deb = Deb::open(path).host(tried)?;
    let control = deb.control().host(tried)?;
    for (field, expected) in [
        ("Package", &chosen.name),
        ("Version", &chosen.version),
        ("Architecture", &chosen.architecture),
    ] {
        let found = control.field(field);
        if found != expected {
            let told = format!("its {field} is '{found}', not '{expected}'");
            return Err(Error::new(Kind::Host, tried()).because(told));
        }
    }
    let unpacked = unpack::unpack(&deb, &control, tree).host(tried)?;
    Ok(Installed { control, unpacked })
}

/// The packages of a lock, or those of the archive as it is now, written down if that is asked for.
pub fn settle_packages(
    wish: &Wish,
    store: &Store,
    judgement: &Judgement,
    lock: Option<&Path>,
    locked: Option<&Path>,
) -> Result<Vec<Chosen>> {
    if let Some(path) = locked {
        let lock = Lock::read(path)?;
        lock.must_fit(&wish.suite, &wish.architecture, &wish.include)?;
        return Ok(lock.packages);
    }
    let chosen = choose(wish, store, judgement)?;
    if let Some(path) = lock {
        let lock = Lock::new(&wish.suite, &wish.architecture, &wish.include, chosen.clone());
        crate::cache::replace_text(path, &lock.text())
            .host(|| format!("cannot write the lock {}", path.display()))?;
        ui::note(format_args!(
            "deb-bootstrap: locked {} packages in {}",
            chosen.len(),
            path.display()
        ));
    }
    Ok(chosen)
}

/// How many bytes these packages have.
pub fn size_of(chosen: &[Chosen]) -> u64 {
    chosen.iter().map(|package| package.size).sum()
}

#[cfg(test)]
mod tests;

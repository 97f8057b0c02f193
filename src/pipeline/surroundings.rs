//! What hooks see: the build's directories and the variables that the core adds to the caller's.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disks;
use crate::applets::{APPLETS, of_grub, stand_ins};
use crate::blockdevice::facts::Facts;
use crate::boot;
use crate::element::hooks::materialise;
use crate::element::library::Origin;
use crate::environment::Environment;
use crate::error::{Context, Error, Kind, Result};
use crate::output::stdout;
use crate::phase::Place;
use crate::plan::BuildPlan;
use crate::record;
use crate::runner;
use crate::sandbox::caller;
use crate::sandbox::rooted::Rooted;
use crate::sandbox::tier::Grant;
use crate::settings::{Settings, Tmpfs};

/// The applets among the hooks. Hidden: no element brings a directory of such a name.
const APPLETS_DIR: &str = ".applets";

/// The one that hooks of a user do not want, who need the real one to become root.
const SUDO_DIR: &str = ".sudo";

/// What stands in for GRUB's tools, under the first and the second of its families of names.
const GRUB_DIRS: [&str; 2] = [".grub", ".grub2"];

/// What only `block-device.d` finds, and first of all.
const PARTITIONS_DIR: &str = ".block-device";

/// What host hooks source from `$_LIB`.
const LIBRARY: [(&str, &str); 4] = [
    ("die", include_str!("lib/die")),
    ("common-functions", include_str!("lib/common-functions")),
    ("img-functions", include_str!("lib/img-functions")),
    ("elements-functions", include_str!("lib/elements-functions")),
];

/// The snippet that says how elements install.
const INSTALL_TYPE: &str = "11-dib-install-type.bash";

/// A name of the tree that elements of old know in `block-device.d`, when it was no longer where it had been filled.
const BUILT: &str = "built";

/// The directories of a build.
#[derive(Clone, Debug)]
pub(super) struct Dirs {
    /// The build's own.
    pub(super) build: PathBuf,
    /// The tree that becomes the image.
    pub(super) tree: PathBuf,
    /// The tree of hooks.
    pub(super) hooks: PathBuf,
    /// Built-in elements, for hooks that look for their element's own files.
    elements: PathBuf,
    /// What host hooks source.
    lib: PathBuf,
    /// Room for images.
    pub(super) image: PathBuf,
    /// What of the tree is put aside while hooks run.
    pub(super) aside: PathBuf,
    /// Those through whose names the builder itself goes, by their names.
    held: Vec<(PathBuf, Arc<OwnedFd>)>,
}

impl Dirs {
    /// Makes them in the build's directory, and puts there what hooks expect.
    pub(super) fn create(build: &Path, plan: &BuildPlan) -> Result<Self> {
        let dir = |name: &str| {
            let path = build.join(name);
            fs::create_dir(&path).host(|| format!("cannot make {}", path.display()))?;
            Ok(path)
        };
        let mut dirs = Self {
            build: build.to_owned(),
            tree: dir("mnt")?,
            hooks: dir("hooks")?,
            elements: dir("elements")?,
            lib: dir("lib")?.join("diskimage-builder"),
            image: dir("image")?,
            aside: dir("aside")?,
            held: Vec::new(),
        };
        for path in [&dirs.build, &dirs.tree, &dirs.hooks, &dirs.aside] {
            let dir = fs::File::open(path).host(|| format!("cannot open {}", path.display()))?;
            dirs.held.push((path.clone(), Arc::new(dir.into())));
        }
        plan.hooks.write(&dirs.hooks)?;
        for element in plan
            .elements
            .iter()
            .filter(|element| element.origin == Origin::BuiltIn)
        {
            materialise(element, &dirs.elements)?;
        }
        let tried = || "cannot put this program among the hooks".to_owned();
        fs::copy("/proc/self/exe", dirs.runner()).host(tried)?;
        for dir in [APPLETS_DIR, SUDO_DIR, PARTITIONS_DIR].iter().chain(&GRUB_DIRS) {
            fs::create_dir(dirs.hooks.join(dir)).host(tried)?;
        }
        for (name, _) in APPLETS {
            let dir = match of_grub(name) {
                Some(second) => GRUB_DIRS[usize::from(second)],
                None if name == "sudo" => SUDO_DIR,
                None if stand_ins::NAMES.contains(&name) => PARTITIONS_DIR,
                None => APPLETS_DIR,
            };
            let link = dirs.hooks.join(dir).join(name);
            std::os::unix::fs::symlink(Path::new("..").join(runner::NAME), link).host(tried)?;
        }
        fs::create_dir(&dirs.lib).host(tried)?;
        for (name, text) in LIBRARY {
            fs::write(dirs.lib.join(name), text).host(tried)?;
        }
        let kept = [&plan.settings.cache, &plan.settings.lockfiles];
        for path in kept.into_iter().map(PathBuf::as_path).chain(plan.compile_cache()) {
            caller::make_dirs(path).host(|| format!("cannot make {}", path.display()))?;
        }
        caller::give(&dirs.image).host(|| format!("cannot give away {}", dirs.image.display()))?;
        Ok(dirs)
    }

    /// Fails if a hook has put anything in the place of a directory: a link there would lead the builder elsewhere, as
    /// would a mount.
    pub(super) fn require_unmoved(&self) -> Result<()> {
        for (path, dir) in &self.held {
            let held = rustix::fs::fstat(dir).map(|stat| (stat.st_dev, stat.st_ino));
            let named = rustix::fs::lstat(path).map(|stat| (stat.st_dev, stat.st_ino));
            if held.is_err() || held != named {
                let message = format!("{} is no longer the directory that it was", path.display());
                return Err(Error::new(Kind::Elements, message)
                    .hint("a hook has moved it, mounted on it or put something else in its place"));
            }
        }
        Ok(())
    }

    /// Gives the hooks to whom they belong where they are about to run: hooks in the chroot copy them into the image.
    pub(super) fn belong(&self, place: Place) -> Result<()> {
        let tried = || format!("cannot give away {}", self.hooks.display());
        match place {
            Place::Host => caller::give(&self.hooks),
            Place::Chroot | Place::FirstBoot => caller::take(&self.hooks),
        }
        .host(tried)
    }

    /// The runner in the tree of hooks.
    pub(super) fn runner(&self) -> PathBuf {
        self.hooks.join(runner::NAME)
    }

    /// Says how elements install that know several ways, where neither the caller nor an element before this one does.
    pub(super) fn default_install_type(&self, settings: &Settings) -> Result<()> {
        let dir = self.hooks.join("environment.d");
        let tried = || format!("cannot write to {}", dir.display());
        fs::create_dir_all(&dir).host(tried)?;
        let quoted = settings.install_type.replace('\'', r"'\''");
        let text = format!(
            "[ -n \"${{DIB_DEFAULT_INSTALLTYPE:-}}\" ] || export DIB_DEFAULT_INSTALLTYPE='{quoted}'\n"
        );
        fs::write(dir.join(INSTALL_TYPE), text).host(tried)
    }

    /// What `environment.d` comes to where that snippet is all there is: a tree without bash can have hooks, too.
    pub(super) fn simple_environment(
        &self,
        environment: &Environment,
        settings: &Settings,
    ) -> Option<Environment> {
        let dir = self.hooks.join("environment.d");
        let names: Vec<OsString> = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        let mut simple = environment.clone();
        match &names[..] {
            [] => {}
            [only] if only == INSTALL_TYPE => {
                if simple.non_empty("DIB_DEFAULT_INSTALLTYPE").is_none() {
                    simple.set("DIB_DEFAULT_INSTALLTYPE", &settings.install_type);
                }
            }
            _ => return None,
        }
        Some(simple)
    }

    /// Gives the tree its old second name.
    pub(super) fn name_built(&self) -> Result<()> {
        let tried = || "cannot name the tree in the build's directory".to_owned();
        std::os::unix::fs::symlink(&self.tree, self.build.join(BUILT)).host(tried)
    }

    /// Takes it away.
    pub(super) fn forget_built(&self) -> Result<()> {
        let tried = || "cannot remove the second name of the tree".to_owned();
        fs::remove_file(self.build.join(BUILT)).host(tried)
    }

    /// The directory of an element, as hooks find it.
    fn element(&self, element: &crate::element::library::Element) -> PathBuf {
        match &element.origin {
            Origin::Directory(dir) => dir.clone(),
            Origin::BuiltIn => self.elements.join(&element.name),
        }
    }
}

/// The variables of every phase: the caller's, and the core's over them.
pub(super) fn variables(plan: &BuildPlan, grant: &Grant, dirs: &Dirs) -> Environment {
    let settings = &plan.settings;
    let mut all = plan.environment.clone();
    all.set("LC_ALL", "C");
    all.set("ARCH", &settings.arch);
    all.set("IMAGE_NAME", name_of_image(plan, dirs));
    all.set("FS_TYPE", &settings.fs_type);
    if settings.ramdisk {
        all.set("IS_RAMDISK", "1");
    }
    let facts = Facts::of(&plan.layout, None);
    all.set("DIB_ROOT_LABEL", facts.root_label);
    all.set("DIB_ROOT_FSTYPE", facts.root_fstype);
    all.set("DIB_BOOT_LABEL", facts.boot_label);
    all.set("DIB_MOUNTPOINTS", facts.mount_points);
    all.set("DIB_ARGS", record::text(&settings.line));
    all.set("DIB_IMAGE_CACHE", &settings.cache);
    all.set("DIB_LOCKFILES", &settings.lockfiles);
    all.set("DIB_OFFLINE", if settings.offline { "1" } else { "" });
    all.set("DIB_DEBUG_TRACE", settings.trace.to_string());
    if settings.tmpfs == Tmpfs::No {
        all.set("DIB_NO_TMPFS", "1");
    }
    if let Some(cache) = plan.compile_cache() {
        all.set("DIB_CCACHE_DIR", cache);
    }
    all.set("TMP_BUILD_DIR", &dirs.build);
    all.set("TMP_IMAGE_DIR", &dirs.image);
    all.set("TMP_HOOKS_PATH", &dirs.hooks);
    all.set("TMP_MOUNT_PATH", &dirs.tree);
    all.set("_LIB", &dirs.lib);
    for (name, default) in [
        ("IMAGE_TYPE", "qcow2"),
        ("DIB_CHECKSUM", "0"),
        ("DIB_NO_TMPFS", "0"),
        ("DIB_MIN_TMPFS", "2"),
        ("DIB_PYTHON_EXEC", "python3"),
    ] {
        if all.get(name).is_none() {
            all.set(name, default);
        }
    }
    if settings.repeat.epoch.is_some() {
        // Programs that write local times would write the caller's.
        all.set("TZ", "UTC");
    }
    elements(plan, dirs, &mut all);
    // The image is the same in every tier and every directory, and so is what it records.
    for name in ["DIB_PRIVILEGES", "DIB_BLOCK_DEVICE_PARAMS_YAML"] {
        all.unset(name);
    }
    let recorded = record::environment(&all);
    all.set("DIB_ENV", recorded);
    all.set("DIB_PRIVILEGES", grant.tier.to_string());
    all.set("DIB_BLOCK_DEVICE_PARAMS_YAML", dirs.build.join(disks::PARAMS));
    all
}

/// What the image is called. Elements leave things beside it by that name, kernels or manifests; a build that is run for
/// its lock leaves nothing but the lock, and has them in its own directory, which goes when it ends.
fn name_of_image(plan: &BuildPlan, dirs: &Dirs) -> PathBuf {
    let settings = &plan.settings;
    let for_lock = plan.environment.non_empty("DIB_LOCK").is_some() && !plan.wants_image();
    if for_lock && settings.name != stdout::NAME {
        dirs.image.join(settings.base_name())
    } else {
        PathBuf::from(&settings.name)
    }
}

/// What hooks learn of the elements of the build.
fn elements(plan: &BuildPlan, dirs: &Dirs, all: &mut Environment) {
    let names: Vec<&str> = plan
        .elements
        .iter()
        .map(|element| element.name.as_str())
        .collect();
    all.set("IMAGE_ELEMENT", names.join(" "));
    let mut places: Vec<(&str, PathBuf)> = plan
        .elements
        .iter()
        .map(|element| (element.name.as_str(), dirs.element(element)))
        .collect();
    places.sort();
    all.set("IMAGE_ELEMENT_YAML", element_yaml(&places));
    all.set("BASH_FUNC_get_image_element_array%%", element_array(&places));
    all.set(
        "BASH_FUNC_die%%",
        "() { local status=$?; echo \"$@\" >&2; exit $((status == 0 ? 1 : status)); }",
    );
    let mut path = OsString::new();
    for dir in plan.settings.elements_path.iter().chain([&dirs.elements]) {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(dir);
    }
    all.set("ELEMENTS_PATH", path);
}

/// A block-style YAML map from names to paths, sorted.
pub fn element_yaml(places: &[(&str, PathBuf)]) -> String {
    let line = |(name, path): &(&str, PathBuf)| format!("{name}: {}\n", path.display());
    places.iter().map(line).collect()
}

/// The bash function that prints the map as pairs for an associative array, as bash exports functions.
pub fn element_array(places: &[(&str, PathBuf)]) -> String {
    let pair = |(name, path): &(&str, PathBuf)| format!("[{name}]={} ", path.display());
    let pairs: String = places.iter().map(pair).collect();
    format!("() {{ echo '{}'; }}", pairs.replace('\'', r"'\''"))
}

/// What a host phase sees of `all`.
pub(super) fn on_host(all: &Environment, dirs: &Dirs) -> Environment {
    let mut host = all.clone();
    host.set("TARGET_ROOT", &dirs.tree);
    let mut path = dirs.hooks.join(APPLETS_DIR).into_os_string();
    if caller::user().is_none() {
        path.push(":");
        path.push(dirs.hooks.join(SUDO_DIR));
    }
    let callers = all.get("PATH").unwrap_or_default();
    if !callers.is_empty() {
        path.push(":");
        path.push(callers);
    }
    let known: Vec<PathBuf> = std::env::split_paths(callers).collect();
    for dir in ["/sbin", "/usr/sbin", "/usr/local/sbin"] {
        if !known.contains(&PathBuf::from(dir)) {
            path.push(":");
            path.push(dir);
        }
    }
    host.set("PATH", path);
    host
}

/// What `block-device.d` sees: the file that stands for the disk, and what makes its partitions known.
pub(super) fn with_disk(seen: &Environment, dirs: &Dirs, disk: &Path) -> Environment {
    let mut host = seen.clone();
    let mut path = dirs.hooks.join(PARTITIONS_DIR).into_os_string();
    path.push(":");
    path.push(seen.get("PATH").unwrap_or_default());
    host.set("PATH", path);
    host.set("IMAGE_BLOCK_DEVICE", disk);
    host
}

/// What a chroot phase sees of `all`.
pub(super) fn in_chroot(all: &Environment) -> Environment {
    let mut chroot = all.clone();
    for name in ["TARGET_ROOT", "TMPDIR", "VIRTUAL_ENV"] {
        chroot.unset(name);
    }
    // Functions name files of the host.
    chroot.retain(|name| !name.starts_with(b"BASH_FUNC_"));
    chroot.set("HOME", "/root");
    let system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let lent = "/tmp/in_target.d";
    chroot.set("PATH", format!("{system}:{lent}/{SUDO_DIR}:{lent}/{APPLETS_DIR}"));
    chroot
}

/// What a chroot phase sees of `all` once the disks are planned: GRUB's tools are ours, by the names that the tree calls
/// them by. Scripts tell by these names where GRUB's files lie.
pub(super) fn in_chroot_with_disks(all: &Environment, tree: &Rooted) -> Result<Environment> {
    let second = boot::says_grub2(tree).host(|| "cannot read /usr/bin of the tree".to_owned())?;
    let mut chroot = in_chroot(all);
    let mut path = OsString::from(format!("/tmp/in_target.d/{}:", GRUB_DIRS[usize::from(second)]));
    path.push(chroot.get("PATH").unwrap_or_default());
    chroot.set("PATH", path);
    Ok(chroot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chroot_sees_the_callers_variables_but_not_the_hosts() {
        let mut all = Environment::default();
        for name in ["TARGET_ROOT", "TMPDIR", "VIRTUAL_ENV", "BASH_FUNC_die%%", "SITE"] {
            all.set(name, "x");
        }
        let chroot = in_chroot(&all);
        let names: Vec<_> = chroot.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["HOME", "PATH", "SITE"]);
    }

    #[test]
    fn the_element_map_is_yaml_and_bash() {
        let places = [("a", PathBuf::from("/e/a")), ("b", PathBuf::from("/it's/b"))];
        assert_eq!(element_yaml(&places), "a: /e/a\nb: /it's/b\n");
        assert_eq!(element_array(&places), r"() { echo '[a]=/e/a [b]=/it'\''s/b '; }");
    }
}

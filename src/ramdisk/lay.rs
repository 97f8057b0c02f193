//! Lays out the root of a ramdisk of busybox: programs and their libraries, modules, firmware, rules of udev, and `/init`
//! of all fragments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::firmware::{self, Firmware};
use super::libraries::Loader;
use super::modules::{self, Index, Modules};
use super::source::Source;
use super::target::{Target, told};
use super::wishes::{self, Wish};
use super::{BUILD, HOOKS};
use crate::error::{Context, Error, Kind, Result};
use crate::room::mib;
use crate::{given, ui};

/// What busybox has too, and has less of: its `ip` is short of much, its loader of modules unpacks not all that kernels
/// of today do.
const OWN: [&str; 8] = [
    "depmod", "insmod", "ip", "kmod", "lsmod", "modinfo", "modprobe", "rmmod",
];

/// The variables that say what `lib/modules` and `lib/firmware`, and what `lib/udev`, lie below.
pub const MODULE_ROOT: &str = "DIB_MODULE_ROOT";
const UDEV_ROOT: &str = "DIB_LIB_UDEV_ROOT";

/// Where the daemon of udev lies, if it is not on the path.
const UDEVD: [&str; 6] = [
    "/sbin/udevd",
    "/lib/udev/udevd",
    "/lib/systemd/systemd-udevd",
    "/usr/lib/systemd/systemd-udevd",
    "/usr/lib/udev/udevd",
    "/usr/sbin/udevd",
];

/// Where the rules of udev lie.
const RULES: [&str; 2] = ["lib/udev/rules.d", "usr/lib/udev/rules.d"];

/// Rules that the ramdisk has from the tree, and whether it cannot do without.
const TREE_RULES: [(&str, bool); 4] = [
    ("50-firmware.rules", false),
    ("60-persistent-storage.rules", false),
    ("60-persistent-storage-dm.rules", false),
    ("80-drivers.rules", true),
];

/// What those rules run.
const UDEV_PROGRAMS: [&str; 4] = ["firmware", "ata_id", "scsi_id", "cdrom_id"];

/// Bytes of firmware that are told: a machine that boots over the network loads them each time.
const MUCH_FIRMWARE: u64 = 64 << 20;

/// What the kernel looks at of a file to know what it is run by.
const HEAD: u64 = 256;

/// Places of the script that dhclient runs.
const DHCLIENT: [&str; 3] = [
    "/sbin/dhclient-script",
    "/usr/sbin/dhclient-script",
    "/etc/dhclient-script",
];

/// A ramdisk that is laid out.
#[derive(Debug)]
pub struct Laying<'a> {
    /// The tree.
    pub source: &'a Source,
    /// The hooks of the build, as this process sees them.
    pub hooks: PathBuf,
    /// The skeleton, likewise.
    pub build: PathBuf,
    /// Where programs are looked for.
    pub path: Vec<PathBuf>,
    /// The commands that busybox has.
    pub applets: BTreeSet<String>,
    /// Busybox: a name, or a path.
    pub busybox: String,
    /// The directory, mostly `/`, below which `lib/modules` and `lib/firmware` lie.
    pub module_root: PathBuf,
    /// The same of `lib/udev`.
    pub udev_root: PathBuf,
}

impl<'a> Laying<'a> {
    /// As a build in the chroot has it.
    pub fn in_chroot(source: &'a Source, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let build = PathBuf::from(BUILD);
        let applets = match fs::read_to_string(build.join("applets")) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error).host(|| "cannot read the commands of busybox".to_owned()),
        };
        // What the builder lends to hooks is none of the tree.
        let path = variable("PATH").unwrap_or_default();
        let path = path
            .split(':')
            .map(PathBuf::from)
            .filter(|dir| !dir.starts_with(HOOKS));
        Ok(Self {
            source,
            hooks: HOOKS.into(),
            build,
            path: path.collect(),
            applets,
            busybox: variable("BUSYBOX").unwrap_or_else(|| "busybox".to_owned()),
            module_root: prefix(variable(MODULE_ROOT)),
            udev_root: prefix(variable(UDEV_ROOT)),
        })
    }

    /// Where a program is; a word may be a path.
    pub fn find(&self, word: &str) -> Option<PathBuf> {
        let runs = |path: &PathBuf| {
            let real = self.source.file(path);
            real.and_then(|real| fs::metadata(self.source.outside(&real)).ok())
                .is_some_and(|meta| meta.permissions().mode() & 0o111 != 0)
        };
        if word.starts_with('/') {
            return Some(PathBuf::from(word)).filter(runs);
        }
        self.path.iter().map(|dir| dir.join(word)).find(runs)
    }

    /// The programs that elements want; an error that names all that are nowhere.
    pub fn wanted(&self) -> Result<Vec<Wish>> {
        let wishes =
            wishes::wishes(&self.hooks, "binary-deps.d").host(|| "cannot read binary-deps.d".to_owned())?;
        let missing: Vec<&Wish> = wishes
            .iter()
            .filter(|wish| self.find(&wish.word).is_none() && !self.is_brought(&wish.word))
            .collect();
        if missing.is_empty() {
            return Ok(wishes);
        }
        let lines = missing.iter().map(|wish| {
            format!(
                "\n    {} is not found in PATH, which element {} wants",
                wish.word, wish.element
            )
        });
        let message = format!(
            "programs for the ramdisk are missing:{}",
            lines.collect::<String>()
        );
        Err(Error::new(Kind::Elements, message).hint("Please ensure your elements install them"))
    }

    /// Whether it comes with busybox, or is that, which may lie anywhere.
    fn of_busybox(&self, word: &str) -> bool {
        let itself = word == "busybox" && self.find(&self.busybox).is_some();
        itself || (self.applets.contains(word) && !OWN.contains(&word))
    }

    /// Whether the ramdisk has it, whatever the tree has: of busybox, or of the skeleton.
    fn is_brought(&self, word: &str) -> bool {
        let of_skeleton = !word.contains('/') && self.build.join("d/bin").join(word).is_file();
        of_skeleton || self.of_busybox(word)
    }

    /// `/init`: its start, the fragments in the order of their names, its end.
    pub fn init(&self) -> Result<Vec<u8>> {
        let part = |path: &Path| given::read(path).host(|| format!("cannot read {}", path.display()));
        let mut init = part(&self.build.join("init"))?;
        let fragments = wishes::files(&self.hooks, "init.d").host(|| "cannot read init.d".to_owned())?;
        for path in fragments {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            init.extend(format!("\n# init fragment from {name}\n").bytes());
            init.extend(part(&path)?);
        }
        init.extend(part(&self.build.join("init-end"))?);
        Ok(init)
    }

    /// Lays everything out.
    pub fn lay(&self, root: &Path, version: &str, modules: &Modules, firmware: Firmware) -> Result<()> {
        let wanted = self.wanted()?;
        let tried = || "cannot lay out the ramdisk".to_owned();
        let mut target = Target::begin(root, self.source).host(tried)?;
        target.take_from(&self.module_root);
        let mut programs = self.programs(&wanted)?;
        self.files(&mut target).host(tried)?;
        self.udev(&mut target, &mut programs)?;
        self.lay_programs(&mut target, programs)?;
        for applet in self.applets.iter().filter(|applet| !applet.contains('/')) {
            target
                .link(&format!("bin/{applet}"), Path::new("busybox"))
                .host(tried)?;
        }
        let names = self.modules(&mut target, version, modules, firmware)?;
        self.firmware(&mut target, version, firmware, &names)
            .host(|| "cannot lay firmware into the ramdisk".to_owned())?;
        target.write("init", 0o755, &self.init()?).host(tried)
    }

    /// The programs by the names that they get.
    fn programs(&self, wanted: &[Wish]) -> Result<BTreeMap<String, PathBuf>> {
        let mut programs: BTreeMap<String, PathBuf> = BTreeMap::new();
        for wish in wanted.iter().filter(|wish| !self.is_brought(&wish.word)) {
            if let Some(path) = self.find(&wish.word) {
                let name = wish.word.rsplit('/').next().unwrap_or(&wish.word);
                if let Some(other) = programs.insert(name.to_owned(), path.clone())
                    && other != path
                {
                    let message = format!(
                        "{} and {} would both be /bin/{name}",
                        other.display(),
                        path.display()
                    );
                    return Err(Error::new(Kind::Elements, message));
                }
            }
        }
        let busybox = self.find(&self.busybox).ok_or("busybox is not found in PATH");
        programs.insert(
            "busybox".to_owned(),
            busybox.host(|| "there is no ramdisk without busybox".to_owned())?,
        );
        let daemon = UDEVD
            .map(PathBuf::from)
            .into_iter()
            .find(|path| self.source.file(path).is_some());
        let daemon = daemon.ok_or("the daemon of udev is in none of its usual places");
        programs.insert(
            "udevd".to_owned(),
            daemon.host(|| "there is no ramdisk without udevd".to_owned())?,
        );
        Ok(programs)
    }

    /// Lays programs and what they need.
    fn lay_programs(&self, target: &mut Target<'_>, mut programs: BTreeMap<String, PathBuf>) -> Result<()> {
        let loader = Loader::new(self.source);
        let mut done = BTreeSet::new();
        while let Some((name, path)) = programs.pop_first() {
            let tried = || format!("cannot lay {} into the ramdisk", path.display());
            if name.contains('/') {
                target.copy(&path, &name).host(tried)?;
            } else {
                target.program(&name, &path).host(tried)?;
            }
            let real = self.source.file(&path);
            if !real.is_some_and(|real| done.insert(real)) {
                continue;
            }
            self.add_interpreters(&path, &mut programs);
            let closure = loader.closure(&path);
            for (library, of) in &closure.missing {
                ui::warn(format_args!(
                    "{library}, which {} needs, is nowhere in the tree",
                    of.display()
                ));
            }
            let silent = loader.silent(&path, &closure);
            for library in closure.libraries.iter().chain(&silent) {
                target.library(&library.asked, &library.path).host(tried)?;
            }
        }
        Ok(())
    }

    /// What a script asks to be run by: the path that stands in it, and a program that `env` looks for.
    fn interpreters(&self, path: &Path) -> Vec<String> {
        let text = self.source.head(path, HEAD).unwrap_or_default();
        let Some(text) = text.strip_prefix(b"#!") else {
            return Vec::new();
        };
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else {
            return Vec::new();
        };
        let by_env = first.ends_with("/env");
        let looked_for = words.find(|word| !word.starts_with('-') && !word.contains('='));
        let looked_for = looked_for.filter(|_| by_env).map(str::to_owned);
        [Some(first.to_owned()), looked_for]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Adds the interpreters of a script to what is to be laid; those that are nowhere are told.
    fn add_interpreters(&self, script: &Path, programs: &mut BTreeMap<String, PathBuf>) {
        for word in self.interpreters(script) {
            let name = word.rsplit('/').next().unwrap_or(&word).to_owned();
            if self.of_busybox(&name) {
                continue;
            }
            let Some(path) = self.find(&word) else {
                ui::warn(format_args!(
                    "{word}, by which {} is run, is nowhere in the tree",
                    script.display()
                ));
                continue;
            };
            let usual = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"].map(Path::new);
            let parent = path.parent().unwrap_or(Path::new("/"));
            // Elsewhere the script would look for it in vain, were it in /bin.
            let key = if usual.contains(&parent) || !word.starts_with('/') {
                name
            } else {
                word.trim_start_matches('/').to_owned()
            };
            programs.entry(key).or_insert(path);
        }
    }

    /// Files that are in every ramdisk.
    fn files(&self, target: &mut Target<'_>) -> io::Result<()> {
        target.write("etc/fstab", 0o644, b"")?;
        target.write("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n")?;
        target.write("etc/group", 0o644, b"root:x:0:\n")?;
        target.write("etc/modprobe.d/blacklist-evbug.conf", 0o644, b"blacklist evbug\n")?;
        let configured = Path::new("/etc/modprobe.d");
        for name in self.source.list(configured)? {
            let path = configured.join(name);
            if path.extension().is_some_and(|end| end == "conf") && self.source.file(&path).is_some() {
                target.copy(&path, path.strip_prefix("/").unwrap_or(&path))?;
            }
        }
        for path in DHCLIENT.map(Path::new) {
            if self.source.file(path).is_some() {
                target.copy(path, path.strip_prefix("/").unwrap_or(path))?;
            }
        }
        let scripts = self.build.join("d");
        let here = Source::new("/");
        for path in here.walk(&scripts)? {
            let name = path.strip_prefix(&scripts).unwrap_or(&path).to_owned();
            let copied = || {
                let mut file = given::open(&path)?;
                let mode = file.metadata()?.permissions().mode() & 0o777;
                target.write_from(&name.to_string_lossy(), mode, &mut file)
            };
            copied().map_err(|error| told(&path, &error))?;
        }
        Ok(())
    }

    /// udev's configuration, its rules, and what they run.
    fn udev(&self, target: &mut Target<'_>, programs: &mut BTreeMap<String, PathBuf>) -> Result<()> {
        let tried = || "cannot lay rules of udev into the ramdisk".to_owned();
        let configuration = b"udev_root=\"/dev\"\nudev_rules=\"/lib/udev/rules.d\"\nudev_log=\"no\"\n";
        target
            .write("etc/udev/udev.conf", 0o644, configuration)
            .host(tried)?;
        for (name, required) in TREE_RULES {
            let places = RULES.map(|dir| self.udev_root.join(dir).join(name));
            let place = places.into_iter().find(|path| self.source.file(path).is_some());
            match place {
                Some(place) => target
                    .copy(&place, Path::new("lib/udev/rules.d").join(name))
                    .host(tried)?,
                None if required => {
                    let usual = self.udev_root.join(RULES[0]).join(name);
                    let message = format!("the tree has no {}, by which modules are loaded", usual.display());
                    return Err(Error::new(Kind::Elements, message).hint("is udev installed?"));
                }
                None => {}
            }
        }
        for name in UDEV_PROGRAMS {
            let places = ["lib/udev", "usr/lib/udev"].map(|dir| self.udev_root.join(dir).join(name));
            if let Some(place) = places.into_iter().find(|path| self.source.file(path).is_some()) {
                programs.insert(format!("lib/udev/{name}"), place);
            }
        }
        for path in wishes::files(&self.hooks, "udev.d").host(tried)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let text = given::read(&path).host(|| format!("cannot read {}", path.display()))?;
            target
                .write(&format!("lib/udev/rules.d/{name}"), 0o644, &text)
                .host(tried)?;
        }
        Ok(())
    }

    /// Lays modules; returns the names of the firmware that they ask for.
    fn modules(
        &self,
        target: &mut Target<'_>,
        version: &str,
        wanted: &Modules,
        firmware: Firmware,
    ) -> Result<BTreeSet<String>> {
        let directory = modules::directory(&self.module_root, version);
        let tried = || format!("cannot lay modules of {version} into the ramdisk");
        if *wanted == Modules::None {
            return Ok(BTreeSet::new());
        }
        if self.source.directory(&directory).is_none() {
            let message = format!("the tree has no {}, of kernel {version}", directory.display());
            return Err(Error::new(Kind::Elements, message).hint("DIB_RAMDISK_MODULES=none does without"));
        }
        let chosen = match wanted {
            Modules::Wanted(words) => Some(Index::read(self.source, &directory)?.closure(words)?),
            _ => None,
        };
        let mut names = BTreeSet::new();
        for path in self.source.walk(&directory).host(tried)? {
            let file = path
                .strip_prefix(&directory)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            if !modules::is_laid(&file, chosen.as_ref()) {
                continue;
            }
            target.copy_in_place(&path, &directory).host(tried)?;
            if modules::is_module(&file) && firmware == Firmware::Needed {
                let asked = modules::firmware(self.source, &path);
                names.extend(asked.host(|| format!("cannot read the module {}", path.display()))?);
            }
        }
        Ok(names)
    }

    fn firmware(
        &self,
        target: &mut Target<'_>,
        version: &str,
        wanted: Firmware,
        names: &BTreeSet<String>,
    ) -> io::Result<()> {
        let place = self.module_root.join(firmware::PLACE);
        let paths = match wanted {
            Firmware::None => return Ok(()),
            Firmware::All => self.source.walk(&place)?,
            Firmware::Needed => firmware::needed(self.source, &place, version, names)?
                .into_iter()
                .collect(),
        };
        let mut len = 0_u64;
        for path in &paths {
            target.copy_in_place(path, &place)?;
            let meta = fs::symlink_metadata(self.source.outside(path))?;
            len = len.saturating_add(if meta.is_file() { meta.len() } else { 0 });
        }
        if len >= MUCH_FIRMWARE {
            let less = match wanted {
                Firmware::All => {
                    "DIB_RAMDISK_FIRMWARE=needed takes what its modules ask for, none leaves all out"
                }
                _ => "DIB_RAMDISK_MODULES can name fewer modules, which ask for less",
            };
            ui::warn(format_args!(
                "{} of firmware are in the ramdisk: {less}",
                mib(len)
            ));
        }
        Ok(())
    }
}

/// A directory of the tree, be it said with a `/` before it or without.
pub fn prefix(word: Option<String>) -> PathBuf {
    Path::new("/").join(word.unwrap_or_default())
}

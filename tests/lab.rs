//! A place to build in: a directory of probe elements, a directory for outputs, a small environment.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oracle::blackbox;

pub(crate) const DIB: &str = env!("CARGO_BIN_EXE_dib");
pub(crate) const DISK_IMAGE_CREATE: &str = env!("CARGO_BIN_EXE_disk-image-create");
pub(crate) const DIB_LINT: &str = env!("CARGO_BIN_EXE_dib-lint");
pub(crate) const DISKIMAGE_BUILDER: &str = env!("CARGO_BIN_EXE_diskimage-builder");
pub(crate) const ELEMENT_INFO: &str = env!("CARGO_BIN_EXE_element-info");
pub(crate) const GET_KERNEL: &str = env!("CARGO_BIN_EXE_disk-image-get-kernel");
pub(crate) const RAMDISK_IMAGE_CREATE: &str = env!("CARGO_BIN_EXE_ramdisk-image-create");
pub(crate) const RUN_PARTS: &str = env!("CARGO_BIN_EXE_dib-run-parts");

pub(crate) struct Lab {
    dir: tempfile::TempDir,
    variables: Vec<(String, String)>,
}

/// What a program said.
pub(crate) struct Said {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub(crate) fn failed(self, status: i32, with: &str) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.out, self.err);
        assert!(self.err.contains(with), "no '{with}' in {}", self.err);
        self
    }
}

impl Lab {
    /// A lab, or `None` where nothing can be built.
    pub(crate) fn new() -> Option<Self> {
        (oracle::require_root() && oracle::require(&["bash", "ldd", "cp"])).then(Self::unprivileged)
    }

    /// A lab for what needs no build.
    pub(crate) fn unprivileged() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["elements", "out", "tmp"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/elements");
        let path = format!("{}:{fixtures}", dir.path().join("elements").display());
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let variables = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("HOME", text(dir.path().join("home"))),
            ("TMP_DIR", text(dir.path().join("tmp"))),
            ("ELEMENTS_PATH", path),
            ("MINI_OS_SMALL", "1".to_owned()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { dir, variables }
    }

    /// Sets a variable of what runs.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets all variables of what runs.
    pub(crate) fn restore(&mut self, variables: Vec<(String, String)>) {
        self.variables = variables;
    }

    /// Removes a file of a probe element.
    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.dir.path().join("elements").join(path)).unwrap();
    }

    /// Writes a file of a probe element; what begins with `#!` may be run.
    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.dir.path().join("elements").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    /// Writes a hook of the element `probe` in bash.
    pub(crate) fn hook(&self, path: &str, script: &str) -> &Self {
        self.file(
            &format!("probe/{path}"),
            &format!("#!/bin/bash\nset -eu\n{script}\n"),
        )
    }

    /// A path in the directory where builds run.
    pub(crate) fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    /// The text of a file there.
    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.out(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A text as it is in every run, on every machine: without this lab's and the checkout's paths.
    pub(crate) fn plain(&self, text: &str) -> String {
        let programs = Path::new(DIB).parent().unwrap().display().to_string() + "/";
        text.replace(&programs, "")
            .replace(self.dir.path().to_str().unwrap(), "LAB")
            .replace(env!("CARGO_MANIFEST_DIR"), "SOURCE")
    }

    /// The names there, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        names(&self.out(""))
    }

    /// The names in the directory of builds under way.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        names(&self.dir.path().join("tmp"))
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        let pairs = self.variables.iter();
        pairs
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// Runs a program.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Said {
        let output = blackbox::run(Path::new(program), args, &self.environment(), &self.out(""));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            status: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// Builds in a mount namespace of its own, after `before` and before `after`, both in bash.
    pub(crate) fn build_between(&self, before: &str, args: &[&str], after: &str) -> Said {
        let script = format!("set -e; {before}\nstatus=0; \"$@\" || status=$?\n{after}\nexit $status");
        let shell = ["-m", "bash", "-c", &script, "bash", DISK_IMAGE_CREATE, "-n"];
        self.run("/usr/bin/unshare", &[&shell, args].concat())
    }

    /// Builds without the element `base`.
    pub(crate) fn build(&self, args: &[&str]) -> Said {
        let said = self.run(DISK_IMAGE_CREATE, &[&["-n"], args].concat());
        assert_eq!(self.left_behind(), [""; 0], "a build leaves nothing");
        said
    }

    /// Builds no image, only runs the hooks of `probe` on a small root.
    pub(crate) fn rehearse(&self) -> Said {
        self.build(&["no-final-image", "mini-os", "probe"])
    }

    /// Builds with the element `base`, which finds neither packages to install nor to upgrade.
    pub(crate) fn build_with_base(&mut self, args: &[&str]) -> Said {
        self.set("DIB_SKIP_BASE_PACKAGE_INSTALL", "1")
            .set("DIB_AVOID_PACKAGES_UPDATE", "1");
        if !self.variables.iter().any(|(name, _)| name == "DIB_INIT_SYSTEM") {
            self.set("DIB_INIT_SYSTEM", "systemd");
        }
        let said = self.run(DISK_IMAGE_CREATE, args);
        assert_eq!(self.left_behind(), [""; 0], "a build leaves nothing");
        said
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

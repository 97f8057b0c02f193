//! Trees for the tests of what reads them: files by their paths, links, and what dpkg says is installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::Package;
use crate::sandbox::rooted::Rooted;

/// A tree of a test.
pub(super) struct Sample(TempDir);

impl Sample {
    /// One of these files.
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let sample = Self(tempfile::tempdir().unwrap());
        for (path, text) in files {
            sample.write(path, text);
        }
        sample
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn tree(&self) -> Rooted {
        Rooted::open(self.path()).unwrap()
    }

    /// A path in it, with the directories above.
    fn place(&self, path: &str) -> PathBuf {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        fs::write(self.place(path), text).unwrap();
    }

    pub(super) fn link(&self, path: &str, to: impl AsRef<Path>) {
        symlink(to, self.place(path)).unwrap();
    }

    /// Has dpkg say that these are installed: names, and more fields of each.
    pub(super) fn installed<Fields: AsRef<str>>(&self, packages: &[(&str, Fields)]) {
        let one = |(name, fields): &(&str, Fields)| {
            let fields = fields.as_ref();
            format!("Package: {name}\nStatus: install ok installed\nVersion: 1\n{fields}\n")
        };
        let text = packages.iter().map(one).collect::<Vec<_>>().join("\n");
        self.write("var/lib/dpkg/status", &text);
    }
}

/// `NAME ELEMENT` of each package.
pub(super) fn told(packages: &[Package]) -> Vec<String> {
    let one = |package: &Package| {
        let element = package.element.as_deref().unwrap_or("-");
        format!("{} {element}", package.name)
    };
    packages.iter().map(one).collect()
}

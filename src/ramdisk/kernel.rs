//! Which kernel of the tree a ramdisk is for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::modules;
use super::source::Source;
use crate::error::{Context, Error, Kind, Result};
use crate::inspect::kernels::by_version;

/// Where packages of signed kernels say which one to take.
const SIGNED: &str = "/dib-signed-kernel-version";

/// What signed kernels' names end with, and the directories of their modules do not.
const SIGNED_END: &str = ".efi.signed";

/// A kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The version by which its modules are found.
    pub version: String,
    /// Its file.
    pub path: PathBuf,
}

/// Finds the kernel of a version, or the last one. Its modules lie below a directory, mostly `/`.
pub fn choose(source: &Source, module_root: &Path, version: Option<&str>) -> Result<Kernel> {
    let signed = source
        .text(Path::new(SIGNED))
        .host(|| format!("cannot read {SIGNED}"))?;
    let signed = signed
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty());
    if let Some(version) = version.map(str::to_owned).or(signed) {
        return named(source, module_root, &version);
    }
    let names = source
        .list(Path::new("/boot"))
        .host(|| "cannot read /boot of the tree".to_owned())?;
    let versions: Vec<String> = names.iter().filter_map(version_of).collect();
    if let Some(last) = versions
        .iter()
        .max_by(|a, b| by_version(a.as_bytes(), b.as_bytes()))
    {
        return named(source, module_root, last);
    }
    // Where nothing is mounted on /boot, some distributions leave it empty.
    let place = modules::directory(module_root, "");
    let modules = source
        .list(&place)
        .host(|| format!("cannot read {}", place.display()))?;
    let modules = modules.into_iter().filter_map(|name| name.into_string().ok());
    let with_kernel = modules.filter(|version| of_modules(source, module_root, version).is_some());
    let last = with_kernel.max_by(|a, b| by_version(a.as_bytes(), b.as_bytes()));
    let missing = || {
        Error::new(
            Kind::Elements,
            "the tree has no kernel: there is no /boot/vmlinuz-*, nor /boot/vmlinux-*",
        )
        .hint("-p linux-image-amd64 or the like installs one, as does an element of the operating system")
    };
    named(source, module_root, &last.ok_or_else(missing)?)
}

fn named(source: &Source, module_root: &Path, version: &str) -> Result<Kernel> {
    let boot = ["vmlinuz", "vmlinux"].map(|name| PathBuf::from(format!("/boot/{name}-{version}")));
    let path = boot.into_iter().find(|path| source.file(path).is_some());
    let path = path.or_else(|| of_modules(source, module_root, version));
    let Some(path) = path else {
        let message = format!("the tree has no kernel {version}: there is no /boot/vmlinuz-{version}");
        return Err(
            Error::new(Kind::Elements, message).hint("DIB_KERNEL_VERSION names it, else it is the last one")
        );
    };
    Ok(Kernel {
        version: version.strip_suffix(SIGNED_END).unwrap_or(version).to_owned(),
        path,
    })
}

/// The version that a file's name says. What is packed, as some distributions do beside the kernel that boots, is none.
fn version_of(name: &OsString) -> Option<String> {
    let name = name.to_str()?;
    let packed = [".gz", ".xz", ".zst"].iter().any(|end| name.ends_with(end));
    let rest = name
        .strip_prefix("vmlinuz-")
        .or_else(|| name.strip_prefix("vmlinux-"))?;
    (!packed).then(|| rest.to_owned())
}

fn of_modules(source: &Source, module_root: &Path, version: &str) -> Option<PathBuf> {
    let path = modules::directory(module_root, version).join("vmlinuz");
    source.file(&path).is_some().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("boot")).unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn the_last_version_is_taken_unless_one_is_named() {
        let dir = tree(&[
            "boot/vmlinuz-6.1.0-9-amd64",
            "boot/vmlinuz-6.1.0-10-amd64",
            "boot/vmlinux-6.1.0-10-amd64",
            "boot/vmlinux-6.1.0-10-amd64.gz",
            "boot/initrd.img-7",
        ]);
        let source = Source::new(dir.path());
        let told = |version| {
            choose(&source, Path::new("/"), version).map(|kernel| kernel.path.display().to_string())
        };
        assert_eq!(told(None).unwrap(), "/boot/vmlinuz-6.1.0-10-amd64");
        assert_eq!(
            told(Some("6.1.0-9-amd64")).unwrap(),
            "/boot/vmlinuz-6.1.0-9-amd64"
        );
        let error = told(Some("5")).unwrap_err().to_string();
        assert!(error.contains("/boot/vmlinuz-5"), "{error}");
    }

    #[test]
    fn signed_kernels_have_the_modules_of_the_unsigned() {
        let dir = tree(&[
            "boot/vmlinuz-3.13.0-generic",
            "boot/vmlinuz-3.13.0-generic.efi.signed",
        ]);
        fs::write(
            dir.path().join("dib-signed-kernel-version"),
            "3.13.0-generic.efi.signed\n",
        )
        .unwrap();
        let kernel = choose(&Source::new(dir.path()), Path::new("/"), None).unwrap();
        assert_eq!(kernel.version, "3.13.0-generic");
        assert_eq!(kernel.path, Path::new("/boot/vmlinuz-3.13.0-generic.efi.signed"));
    }

    #[test]
    fn a_kernel_may_lie_among_its_modules_or_nowhere() {
        let dir = tree(&[
            "lib/modules/6.9/vmlinuz",
            "lib/modules/6.10/vmlinuz",
            "lib/modules/6.11/x",
        ]);
        let kernel = choose(&Source::new(dir.path()), Path::new("/"), None).unwrap();
        assert_eq!(kernel.path, Path::new("/lib/modules/6.10/vmlinuz"));
        let error = choose(&Source::new(tree(&[]).path()), Path::new("/"), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no kernel"), "{error}");
    }
}

//! The ESP: GRUB where firmware looks for the loader of a removable disk, `EFI/BOOT/BOOT….EFI`.
//!
//! An image has met no firmware, so no variable of one names its loader; this is the one path that all of them try.
//! Where the tree has a signed shim and a signed GRUB these are taken, so that the image boots with Secure Boot
//! enforced. A signed GRUB looks for its configuration where its distributor says: a few lines there lead to the real one.

use std::fs;
use std::path::{Path, PathBuf};

use super::install::{Home, Request};
use crate::blockdevice::facts::Facts;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};

/// Signed loaders of a tree.
#[derive(Debug, PartialEq, Eq)]
struct Signed {
    /// What firmware trusts.
    shim: PathBuf,
    /// What that trusts.
    grub: PathBuf,
    /// What enrols keys, if there is such a program.
    keys: Option<PathBuf>,
}

/// Puts GRUB on the ESP. `image` makes an unsigned one.
pub(super) fn install(
    request: &Request,
    word: &str,
    home: &Home<'_>,
    facts: &Facts,
    core: &Path,
    image: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let esp = esp(request.efi.as_deref(), facts)?;
    let vendor = vendor();
    let signed = request
        .signed
        .then(|| signed(Path::new("/"), &esp, &vendor, word))
        .flatten();
    let mut places = vec![(esp.join("EFI/BOOT"), format!("BOOT{}.EFI", word.to_uppercase()))];
    if let Some(id) = &request.id {
        let first = if signed.is_some() { "shim" } else { "grub" };
        places.push((esp.join("EFI").join(id), format!("{first}{word}.efi")));
    }
    if signed.is_none() {
        image(core)?;
    }
    for (dir, first) in &places {
        let tried = || format!("grub-install: cannot write to {}", dir.display());
        fs::create_dir_all(dir).host(tried)?;
        let Some(signed) = &signed else {
            fs::copy(core, dir.join(first)).host(tried)?;
            continue;
        };
        lay(&signed.shim, &dir.join(first)).host(tried)?;
        lay(&signed.grub, &dir.join(format!("grub{word}.efi"))).host(tried)?;
        if let Some(keys) = &signed.keys {
            lay(keys, &dir.join(format!("mm{word}.efi"))).host(tried)?;
        }
    }
    if signed.is_some() {
        for dir in [esp.join("EFI/BOOT"), esp.join("EFI").join(&vendor)] {
            let tried = || format!("grub-install: cannot write to {}", dir.display());
            fs::create_dir_all(&dir).host(tried)?;
            fs::write(dir.join("grub.cfg"), stub(home)).host(tried)?;
        }
        // Beside a shim it writes variables of the firmware and boots anew, for a loader that is found as it is.
        let fallback = esp.join(format!("EFI/BOOT/fb{word}.efi"));
        if fs::symlink_metadata(&fallback).is_ok() {
            fs::remove_file(&fallback)
                .host(|| format!("grub-install: cannot remove {}", fallback.display()))?;
        }
    }
    Ok(())
}

/// Copies a file, unless it is there already: a distribution's own package may have laid it.
fn lay(from: &Path, to: &Path) -> std::io::Result<()> {
    if fs::canonicalize(from)? == fs::canonicalize(to).unwrap_or_default() {
        return Ok(());
    }
    fs::copy(from, to).map(drop)
}

/// Where the ESP is mounted.
fn esp(given: Option<&Path>, facts: &Facts) -> Result<PathBuf> {
    let is_esp = |path: &Path| {
        let held = facts.holding(path);
        held.is_some_and(|(filesystem, inside)| {
            ["vfat", "fat", "msdos"].contains(&filesystem.kind.as_str()) && inside == Path::new("/")
        })
    };
    let usual = ["/boot/efi", "/efi", "/boot"].map(Path::new);
    let found = given.into_iter().chain(usual).find(|path| is_esp(path));
    match (found, given) {
        (Some(found), None) => Ok(found.to_owned()),
        (Some(found), Some(given)) if found == given => Ok(found.to_owned()),
        (_, given) => {
            let place = given.unwrap_or(Path::new("/boot/efi"));
            let message = format!(
                "grub-install: {} is no EFI system partition of the layout",
                place.display()
            );
            Err(Error::new(Kind::Elements, message)
                .hint("it is a FAT file system that is mounted there; element block-device-efi lays one out"))
        }
    }
}

/// The distributor's directory on an ESP: `debian`.
fn vendor() -> String {
    let environment = Environment::capture();
    let given = environment.text("EFI_BOOT_DIR").ok().flatten();
    let named = given
        .and_then(|dir| dir.trim_end_matches('/').rsplit('/').next())
        .map(str::to_owned);
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
        distributor(&text).to_owned()
    })
}

/// What `os-release` calls the distribution.
fn distributor(os_release: &str) -> &str {
    let mut lines = os_release.lines();
    let id = lines.find_map(|line| line.strip_prefix("ID="));
    id.map(|id| id.trim_matches('"'))
        .filter(|id| !id.contains('/'))
        .unwrap_or("grub")
}

/// The signed loaders, where packages of Debian's and Red Hat's families leave them.
fn signed(root: &Path, esp: &Path, vendor: &str, word: &str) -> Option<Signed> {
    let packaged = esp.join("EFI").join(vendor);
    let platform = if word == "x64" { "x86_64" } else { "arm64" };
    let first = |names: &[String]| {
        let paths = names.iter().map(|name| root.join(name.trim_start_matches('/')));
        let more = paths.filter(|path| path.is_file());
        more.into_iter().next()
    };
    let own = |name: String| packaged.join(name).to_string_lossy().into_owned();
    Some(Signed {
        shim: first(&[
            format!("usr/lib/shim/shim{word}.efi.signed.latest"),
            format!("usr/lib/shim/shim{word}.efi.signed"),
            own(format!("shim{word}.efi")),
        ])?,
        grub: first(&[
            format!("usr/lib/grub/{platform}-efi-signed/grub{word}.efi.signed"),
            own(format!("grub{word}.efi")),
        ])?,
        keys: first(&[
            format!("usr/lib/shim/mm{word}.efi.signed"),
            format!("usr/lib/shim/mm{word}.efi"),
            own(format!("mm{word}.efi")),
        ]),
    })
}

/// What leads a signed GRUB from the ESP to its configuration.
fn stub(home: &Home<'_>) -> String {
    format!(
        "search --no-floppy --fs-uuid --set=root {}\nset prefix=($root){}\nconfigfile $prefix/grub.cfg\n",
        home.filesystem.uuid,
        home.inside.display()
    )
}

#[cfg(test)]
mod tests {
    use super::super::answers::tests::facts;
    use super::*;

    #[test]
    fn the_esp_is_a_fat_file_system_where_it_is_mounted() {
        let mut facts = facts();
        assert_eq!(esp(None, &facts).unwrap(), Path::new("/boot/efi"));
        assert_eq!(
            esp(Some(Path::new("/boot/efi/")), &facts).unwrap(),
            Path::new("/boot/efi")
        );
        for wrong in ["/boot", "/boot/efi/EFI", "/mnt"] {
            let error = esp(Some(Path::new(wrong)), &facts).unwrap_err().message();
            assert!(
                error.contains(&format!("{wrong} is no EFI system partition")),
                "{error}"
            );
        }
        facts.filesystems.pop();
        assert!(esp(None, &facts).is_err());
    }

    #[test]
    fn signed_loaders_are_found_together_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let file = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.to_str().unwrap()).unwrap();
            path
        };
        let find = |word: &str| signed(root, Path::new("/boot/efi"), "debian", word);
        let shim = file("usr/lib/shim/shimx64.efi.signed");
        assert_eq!(find("x64"), None);
        let grub = file("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed");
        let keys = file("usr/lib/shim/mmx64.efi");
        assert_eq!(
            find("x64"),
            Some(Signed {
                shim,
                grub,
                keys: Some(keys)
            })
        );
        let [shim, grub] = ["shim", "grub"].map(|name| file(&format!("boot/efi/EFI/debian/{name}aa64.efi")));
        assert_eq!(
            find("aa64"),
            Some(Signed {
                shim,
                grub,
                keys: None
            })
        );
    }

    #[test]
    fn the_distributor_is_the_one_of_os_release() {
        assert_eq!(distributor("NAME=\"X\"\nID=debian\n"), "debian");
        assert_eq!(distributor("ID=\"opensuse-leap\"\n"), "opensuse-leap");
        assert_eq!(distributor("ID=../x\n"), "grub");
        assert_eq!(distributor(""), "grub");
    }
}

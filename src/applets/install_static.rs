//! `install-static SOURCE ROOT`: lays the files of a directory over a root, as `static/` directories of elements want it.
//!
//! Links stay links; owners become root; modes are kept. Directories that exist keep theirs, and links to directories are
//! gone through, inside the root. A file that has the same content already is left alone.
//!
//! With `--programs` the files are commands, as in `bin/`: whatever a link leads to is copied, and all may be run by all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};

use crate::sandbox::rooted::Rooted;
use crate::ui;

/// Lays the files of a directory over a root.
#[derive(Debug, Parser)]
#[command(name = "install-static")]
struct Args {
    /// Copy what links lead to, and let everybody run it
    #[arg(long)]
    programs: bool,
    /// The directory
    source: PathBuf,
    /// The root
    root: PathBuf,
}

/// Runs the command.
pub fn run(args: &[OsString]) -> u8 {
    let args: Args = match super::parsed(args) {
        Ok(args) => args,
        Err(status) => return status,
    };
    let done = Rooted::open(&args.root)
        .map_err(|error| (args.root.clone(), error))
        .and_then(|root| lay(&args.source, &root, &mut Vec::new(), args.programs));
    match done {
        Ok(()) => 0,
        Err((path, error)) => {
            ui::note(format_args!("install-static: {}: {error}", path.display()));
            1
        }
    }
}

/// Lays what is in a directory into the place `names` of the root.
fn lay(
    source: &Path,
    root: &Rooted,
    names: &mut Vec<Vec<u8>>,
    programs: bool,
) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (source.to_owned(), error);
    let mut entries = fs::read_dir(source)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let here: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let place = root.make_dirs(&here, 0o755).map_err(failed)?;
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let failed = |error| (path.clone(), error);
        let kind = entry.file_type().map_err(failed)?;
        if programs && fs::metadata(&path).is_ok_and(|meta| meta.is_file()) {
            lay_file(&path, &place, name.as_bytes(), Some(0o755)).map_err(failed)?;
            continue;
        }
        if kind.is_dir() {
            let mode = entry.metadata().map_err(failed)?.permissions().mode() & 0o7777;
            let made = match rustix::fs::mkdirat(place.fd(), &name, Mode::from_raw_mode(0o700)) {
                Ok(()) => own(&place, name.as_bytes(), Some(mode)),
                Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            };
            made.map_err(failed)?;
            names.push(name.as_bytes().to_vec());
            lay(&path, root, names, programs)?;
            names.pop();
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(failed)?;
            let linked = place.remove(name.as_bytes()).and_then(|_| {
                rustix::fs::symlinkat(&target, place.fd(), &name)?;
                own(&place, name.as_bytes(), None)
            });
            linked.map_err(failed)?;
        } else if kind.is_file() {
            lay_file(&path, &place, name.as_bytes(), None).map_err(failed)?;
        } else {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither file, directory nor link",
            )));
        }
    }
    Ok(())
}

fn lay_file(path: &Path, place: &Rooted, name: &[u8], mode: Option<u32>) -> io::Result<()> {
    let mut from = File::open(path)?;
    let mode = mode.unwrap_or(from.metadata()?.permissions().mode() & 0o7777);
    let there = match place.kind(name)? {
        Some(FileType::RegularFile) => same(&mut from, place.file(name, false)?)?,
        _ => false,
    };
    if !there {
        from.rewind()?;
        let mut to = place.create(name, 0o600)?;
        io::copy(&mut from, &mut to)?;
    }
    own(place, name, Some(mode))
}

/// Makes root the owner of a name, and sets its mode; in that order, since a new owner takes the set-uid bit away.
fn own(place: &Rooted, name: &[u8], mode: Option<u32>) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        rustix::fs::chownat(
            place.fd(),
            name,
            Some(Uid::ROOT),
            Some(Gid::ROOT),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    match mode {
        Some(mode) => Ok(rustix::fs::chmodat(
            place.fd(),
            name,
            Mode::from_raw_mode(mode),
            AtFlags::empty(),
        )?),
        None => Ok(()),
    }
}

/// Whether two files have the same content.
fn same(a: &mut File, mut b: File) -> io::Result<bool> {
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let len = a.read(&mut one)?;
        if len == 0 {
            return Ok(true);
        }
        if b.read_exact(&mut other[..len]).is_err() || one[..len] != other[..len] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    #[test]
    fn files_are_laid_over_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (source, root) = (dir.path().join("static"), dir.path().join("root"));
        for made in ["static/etc/new", "static/lib/x", "root/etc", "root/usr/lib"] {
            fs::create_dir_all(dir.path().join(made)).unwrap();
        }
        symlink("usr/lib", root.join("lib")).unwrap();
        symlink("/nowhere", source.join("etc/link")).unwrap();
        symlink(dir.path(), root.join("etc/host")).unwrap();
        for (name, mode) in [
            ("etc/changed", 0o4755),
            ("etc/host", 0o600),
            ("lib/x/deep", 0o640),
            ("etc/.hidden", 0o644),
        ] {
            fs::write(source.join(name), name).unwrap();
            fs::set_permissions(source.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::write(root.join("etc/changed"), "old").unwrap();
        fs::write(root.join("etc/.hidden"), "etc/.hidden").unwrap();
        fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o711)).unwrap();
        let before = fs::metadata(root.join("etc/.hidden")).unwrap();
        let words = [
            "install-static".into(),
            source.into_os_string(),
            root.clone().into_os_string(),
        ];
        assert_eq!(run(&words), 0);
        let mode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().mode() & 0o7777;
        assert_eq!(mode("etc/changed"), 0o4755);
        assert_eq!(
            mode("etc/host"),
            0o600,
            "a link in the way is replaced, not followed"
        );
        assert_eq!(mode("usr/lib/x/deep"), 0o640, "a link on the way is followed");
        assert_eq!(mode("etc"), 0o711);
        assert_eq!(
            fs::read_link(root.join("etc/link")).unwrap(),
            Path::new("/nowhere")
        );
        assert!(root.join("etc/new").is_dir());
        assert_eq!(
            fs::read_to_string(root.join("etc/changed")).unwrap(),
            "etc/changed"
        );
        let after = fs::metadata(root.join("etc/.hidden")).unwrap();
        assert_eq!(
            (before.ino(), before.mtime_nsec()),
            (after.ino(), after.mtime_nsec())
        );
    }
}

//! Where a source is kept in the cache, and where it goes in the tree.
//!
//! `DIB_IMAGE_CACHE/source-repositories/NAME_SHA1`: caches of the original program are used as they are. Older ones had
//! the directory `repository-sources`, and no NAME before the SHA-1: they are renamed when they are met.

use std::fs;
use std::path::{Path, PathBuf};

use crate::element::source_repositories::Repository;
use crate::error::{Context as _, Error, Kind, Result};
use crate::ui;

/// The directory of the cache that sources are kept in.
#[derive(Clone, Debug)]
pub(super) struct Caches {
    dir: PathBuf,
}

impl Caches {
    /// Makes it, of the older one where there is one.
    pub(super) fn open(cache: &Path) -> Result<Self> {
        let dir = cache.join("source-repositories");
        rename_older(&cache.join("repository-sources"), &dir)?;
        fs::create_dir_all(&dir).host(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The lock of all of it.
    pub(super) fn lock(&self) -> PathBuf {
        self.dir.join("repositories_flock")
    }

    /// The place of a repository.
    pub(super) fn of(&self, repository: &Repository) -> Result<PathBuf> {
        let name = repository.cache_name();
        let place = self.dir.join(&name);
        if let Some((_, digest)) = name.rsplit_once('_') {
            rename_older(&self.dir.join(digest), &place)?;
        }
        Ok(place)
    }
}

fn rename_older(older: &Path, newer: &Path) -> Result<()> {
    if fs::symlink_metadata(older).is_err() {
        return Ok(());
    }
    if fs::symlink_metadata(newer).is_ok() {
        ui::note(format_args!(
            "{} is older than {}, and not used",
            older.display(),
            newer.display()
        ));
        return Ok(());
    }
    fs::rename(older, newer).host(|| format!("cannot rename {} to {}", older.display(), newer.display()))
}

/// The names that lead to a path of the image.
pub(super) fn destination(path: &str) -> Result<Vec<&str>> {
    let wrong = |why: &str| Err(Error::new(Kind::Elements, format!("destination '{path}' {why}")));
    if !path.starts_with('/') {
        return wrong("does not begin with /");
    }
    let names: Vec<&str> = path
        .split('/')
        .filter(|name| !matches!(*name, "" | "."))
        .collect();
    if names.is_empty() {
        return wrong("is the whole image");
    }
    if names.contains(&"..") {
        return wrong("holds '..'");
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_of_the_original_program_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let repository: Repository = "my.repo git /opt/x https://example.org/x".parse().unwrap();
        // echo git_https://example.org/x | sha1sum
        let sha1 = "5690fd7be4873b68eb5e5d2afa440fa78970bb2a";
        fs::create_dir_all(dir.path().join("repository-sources").join(sha1)).unwrap();
        let caches = Caches::open(dir.path()).unwrap();
        let place = caches.of(&repository).unwrap();
        assert_eq!(
            place,
            dir.path().join(format!("source-repositories/my_repo_{sha1}"))
        );
        assert!(place.is_dir() && !dir.path().join("repository-sources").exists());
        // What is there is never replaced.
        fs::create_dir(dir.path().join("source-repositories").join(sha1)).unwrap();
        fs::create_dir(dir.path().join("repository-sources")).unwrap();
        let caches = Caches::open(dir.path()).unwrap();
        assert_eq!(caches.of(&repository).unwrap(), place);
        assert!(dir.path().join("repository-sources").exists());
    }

    #[test]
    fn destinations_lie_in_the_image() {
        assert_eq!(destination("//opt/./x/").unwrap(), ["opt", "x"]);
        for (path, why) in [
            ("opt/x", "does not begin with /"),
            ("/.", "is the whole image"),
            ("/opt/../../x", "holds '..'"),
        ] {
            assert!(
                destination(path).unwrap_err().to_string().ends_with(why),
                "{path}"
            );
        }
    }
}

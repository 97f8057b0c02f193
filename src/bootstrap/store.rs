//! Packages and indexes by their digest, below `DIB_IMAGE_CACHE`, for all builds.
//!
//! `packages/sha256/AB/ABCD…` is a file with that SHA-256, an entry of [`crate::cache`] with all that this means: it is
//! there whole or not at all, two builds that want it fetch it once, and what is damaged is fetched again. Since the name
//! is the digest, nobody is ever asked whether there is another.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::{CacheError, Done, Entry, State, Wish};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::fetch::Fetcher;
use crate::fetch::error::Why;
use crate::fetch::url::Url;

/// The store.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    fetcher: Fetcher,
    environment: Environment,
    fetched: AtomicU64,
}

impl Store {
    /// The store of a cache.
    pub fn open(cache: &Path, environment: &Environment) -> Result<Self> {
        let directory = cache.join("packages");
        fs::create_dir_all(&directory).host(|| format!("cannot make {}", directory.display()))?;
        Ok(Self {
            directory,
            fetcher: Fetcher::new(environment),
            environment: environment.clone(),
            fetched: AtomicU64::new(0),
        })
    }

    /// Whether what is there is taken without asking.
    pub fn is_offline(&self) -> bool {
        self.environment.non_empty("DIB_OFFLINE").is_some()
    }

    /// How many bytes came over the network so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// The file with a digest, which is at an address if it is not here.
    pub fn by_digest(&self, url: &Url, sha256: &str, size: u64, what: &str) -> Result<PathBuf> {
        let sha256 = sha256.to_ascii_lowercase();
        let directory = self.directory.join("sha256").join(&sha256[..2]);
        fs::create_dir_all(&directory).host(|| format!("cannot make {}", directory.display()))?;
        let entry = Entry::at(&directory.join(&sha256));
        let mut wish = Wish {
            force: false,
            offline: true,
            sha256: Some(&sha256),
            ..Wish::default()
        };
        let mut done = entry.obtain(&self.fetcher, url, wish, &self.environment);
        // What is damaged cannot be asked about, only fetched anew.
        if matches!(done, Err(CacheError::Cache(_))) && matches!(entry.state(), Ok(State::Damaged { .. })) {
            wish.force = true;
            done = entry.obtain(&self.fetcher, url, wish, &self.environment);
        }
        let done = done.map_err(|error| told(error, what))?;
        let found = fs::metadata(entry.path())
            .host(|| format!("cannot read {}", entry.path().display()))?
            .len();
        if found != size {
            let message = format!("{what} has {found} bytes, not {size} as the archive says");
            return Err(Error::new(Kind::Host, message));
        }
        if done == Done::Fetched {
            self.fetched.fetch_add(found, Ordering::Relaxed);
        }
        Ok(entry.path().to_owned())
    }

    /// The description of a suite, as the server has it now; `None`: the server has none.
    pub fn release(&self, url: &Url, what: &str) -> Result<Option<Vec<u8>>> {
        let directory = self.directory.join("releases");
        fs::create_dir_all(&directory).host(|| format!("cannot make {}", directory.display()))?;
        let entry = self.release_entry(url);
        let wish = Wish {
            offline: self.is_offline() && !matches!(entry.state()?, State::Damaged { .. }),
            ..Wish::default()
        };
        match entry.obtain(&self.fetcher, url, wish, &self.environment) {
            Ok(_) => {
                let bytes =
                    fs::read(entry.path()).host(|| format!("cannot read {}", entry.path().display()))?;
                Ok(Some(bytes))
            }
            Err(CacheError::Fetch(error)) if is_absent(&error.why) => Ok(None),
            Err(error) => Err(told(error, what)),
        }
    }

    /// Forgets what a server said of a suite: it is not to be believed.
    pub fn forget_release(&self, url: &Url) {
        // What cannot be removed is asked about again anyway.
        let _ = fs::remove_file(self.release_entry(url).path());
    }

    fn release_entry(&self, url: &Url) -> Entry {
        use sha2::Digest as _;
        let name = crate::fetch::hex(&sha2::Sha256::digest(url.to_string()));
        Entry::at(&self.directory.join("releases").join(&name[..32]))
    }
}

/// Whether there is no such file, on a server or in a directory.
fn is_absent(why: &Why) -> bool {
    match why {
        Why::Local { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        why => why.is_not_found(),
    }
}

fn told(error: CacheError, what: &str) -> Error {
    let full = |error: &Error| {
        let kind = error.system().map(std::io::Error::kind);
        kind == Some(std::io::ErrorKind::StorageFull)
    };
    match error {
        CacheError::Cache(error) => {
            let is_full = full(&error);
            let error = Error::new(error.kind(), format!("cannot keep {what}")).because(error);
            if is_full {
                error.hint("the cache's disk is full; --image-cache names another place")
            } else {
                error
            }
        }
        CacheError::Fetch(error) => {
            let is_full = matches!(&error.why, Why::Local { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
            let hint = match &error.why {
                _ if is_full => Some("the cache's disk is full; --image-cache names another place"),
                Why::Digest { .. } => Some(
                    "the mirror is broken or out of date, or somebody changes what it sends: try another",
                ),
                Why::Resolve(_) | Why::Connection(_) | Why::Timeout { .. } => {
                    Some("DIB_DISTRIBUTION_MIRROR names another mirror")
                }
                why if why.is_not_found() => {
                    Some("the mirror may just be changing: try again, or try another")
                }
                _ => None,
            };
            let error = Error::new(Kind::Host, format!("cannot have {what}")).because(error);
            hint.into_iter().fold(error, Error::hint)
        }
    }
}

//! Locks: of two builds that want the same, one waits.
//!
//! A lock is a file in `DIB_LOCKFILES` that is held by flock(2): the kernel releases it when its holder ends, however that
//! happens. The file stays: one that is removed could be locked by two. It says who holds it, so that who waits for long
//! can say for whom.
//!
//! Elements lock the image that they work on as `DIB_LOCKFILES/IMAGE.lock`, and fetch it while they do. The lock of a
//! download has another name: one process that waits for itself would wait for ever.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha1::{Digest as _, Sha1};

use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::fetch::hex;
use crate::ui;

/// How long a download of another build may take.
const ENTRY_PATIENCE: Duration = Duration::from_mins(20);

/// Between two looks at a lock that is held.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A lock that is held as long as this value lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// The lock of an entry of the cache.
    pub fn of_entry(path: &Path, environment: &Environment) -> Result<Self> {
        use std::os::unix::ffi::OsStrExt as _;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let digest = hex(&Sha1::digest(path.as_os_str().as_bytes()));
        let what = format!("{} of the cache", path.display());
        let file = if let Some(dir) = environment.non_empty("DIB_LOCKFILES").map(Path::new) {
            std::fs::create_dir_all(dir).host(|| format!("cannot make {}", dir.display()))?;
            dir.join(format!("{name}.{}.fetch.lock", &digest[..8]))
        } else {
            // Without a place for locks the one beside the entry must do.
            path.with_file_name(format!(".{name}.dib-lock"))
        };
        Self::take(&file, &what, ENTRY_PATIENCE, environment)
    }

    /// Takes the lock at `path`, for `what`, which others may hold for as long as `patience`, or as
    /// `DIB_LOCK_SECONDS` says.
    pub fn take(path: &Path, what: &str, patience: Duration, environment: &Environment) -> Result<Self> {
        let given = environment
            .non_empty("DIB_LOCK_SECONDS")
            .and_then(|text| text.to_str());
        let given = given.and_then(|text| text.parse::<f64>().ok());
        let given = given.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let patience = given.unwrap_or(patience);
        let tried = || format!("cannot lock {}", path.display());
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .host(tried)?;
        super::belong_to_parent(&file, path).host(tried)?;
        let start = Instant::now();
        let mut told = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return Err(error).host(tried),
            }
            let holder = || read_holder(&mut &file);
            if start.elapsed() >= patience {
                let message = format!(
                    "{what} is locked by {} for more than {} s ({})",
                    holder(),
                    patience.as_secs_f64(),
                    path.display()
                );
                return Err(Error::new(Kind::Host, message).hint("DIB_LOCK_SECONDS says how long to wait"));
            }
            if !told {
                ui::note(format_args!("waiting for {what}, locked by {}", holder()));
                told = true;
            }
            std::thread::sleep(LOOK_EVERY.min(patience));
        }
        // Who waits can do without the name, and so can the lock.
        let _ = write_holder(&mut file, environment);
        Ok(Self { _file: file })
    }
}

fn write_holder(file: &mut File, environment: &Environment) -> std::io::Result<()> {
    let word = |name| {
        environment
            .non_empty(name)
            .map(|value| value.display().to_string())
    };
    let image = word("IMAGE_NAME").map_or("a build".into(), |image| format!("the build of '{image}'"));
    let place = word("TMP_BUILD_DIR").map_or(String::new(), |dir| format!(" in {dir}"));
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{image}{place}")
}

/// Who says to hold a lock. Other programs say nothing.
fn read_holder(file: &mut &File) -> String {
    let mut text = Vec::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| file.take(4096).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    match text
        .lines()
        .next()
        .filter(|line| read.is_ok() && !line.is_empty())
    {
        Some(line) => line.to_owned(),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_too_long_is_told_for_whom() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let mut environment = Environment::default();
        environment.set("IMAGE_NAME", "web");
        environment.set("TMP_BUILD_DIR", "/tmp/dib_build.A");
        let long = Duration::from_secs(5);
        let held = Lock::take(&path, "it", long, &environment).unwrap();
        environment.set("DIB_LOCK_SECONDS", "0.2");
        let told = Lock::take(&path, "it", long, &environment)
            .unwrap_err()
            .to_string();
        let expected = format!(
            "it is locked by the build of 'web' in /tmp/dib_build.A for more than 0.2 s ({})\n\
             hint: DIB_LOCK_SECONDS says how long to wait",
            path.display()
        );
        assert_eq!(told, expected);
        let waiting = std::thread::spawn(move || {
            environment.set("DIB_LOCK_SECONDS", "5");
            Lock::take(&path, "it", long, &environment).is_ok()
        });
        std::thread::sleep(Duration::from_millis(100));
        drop(held);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn entries_have_locks_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut environment = Environment::default();
        environment.set("DIB_LOCKFILES", dir.path().join("locks"));
        environment.set("DIB_LOCK_SECONDS", "0.1");
        let held = Lock::of_entry(&dir.path().join("a/x"), &environment).unwrap();
        let other = Lock::of_entry(&dir.path().join("b/x"), &environment);
        assert!(other.is_ok() && Lock::of_entry(&dir.path().join("a/x"), &environment).is_err());
        drop(held);
        assert_eq!(std::fs::read_dir(dir.path().join("locks")).unwrap().count(), 2);
    }
}

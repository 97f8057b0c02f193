//! Places: directories that take what a test wants to put there.

use std::path::PathBuf;

use rustix::fs::{XattrFlags, lsetxattr};
use tempfile::TempDir;

/// A directory whose file system takes every kind of extended attribute, or `None`, with the reason told: tmpfs takes
/// `user.` only since Linux 6.6, and all but `user.` is root's.
pub fn for_xattrs() -> Option<TempDir> {
    let beside_the_test = std::env::current_exe().ok();
    let beside_the_test = beside_the_test.and_then(|test| test.parent().map(PathBuf::from));
    let places = ["/dev/shm", "/var/tmp"].map(PathBuf::from);
    let taken = places.into_iter().chain(beside_the_test).find_map(|place| {
        let dir = tempfile::tempdir_in(place).ok()?;
        let set = |name: &str| lsetxattr(dir.path(), name, b"1", XattrFlags::empty()).is_ok();
        let all = ["user.probe", "trusted.probe", "security.probe"]
            .into_iter()
            .all(set);
        all.then(|| tempfile::tempdir_in(dir.path().parent().expect("it lies somewhere")).ok())?
    });
    if taken.is_none() {
        crate::skip("no file system here takes every extended attribute");
    }
    taken
}

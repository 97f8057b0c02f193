//! What hooks call by name: the same binary under other names, in a directory of the tree of hooks.
//!
//! It comes first on the `PATH` of host hooks and last on that in the chroot, where the image's own programs win.
//!
//! | name | what it stands for |
//! |---|---|
//! | `sudo` | runs its command: hooks of a build are root already |
//! | `pkg-map` | generic package names → those of a distribution |
//! | `cache-url` | an address → a file, fetched only if the server has another |
//! | `package-installs-squash` | the package lists of all elements → one file |
//! | `package-installs-list` | that file → the packages of one phase |
//! | `source-repositories` | what elements want from elsewhere → the cache, then the tree |

pub mod cache_url;
pub mod package_installs;
pub mod pkg_map;
pub mod source_repositories;
pub mod sudo;

use std::ffi::OsString;

/// An applet: takes its arguments, the first being its name, and returns its exit status.
pub type Applet = fn(&[OsString]) -> u8;

/// Every applet, by name.
pub const APPLETS: [(&str, Applet); 6] = [
    ("sudo", sudo::run),
    ("cache-url", cache_url::run),
    ("pkg-map", pkg_map::run),
    ("package-installs-squash", package_installs::run_squash),
    ("package-installs-list", package_installs::run_list),
    ("source-repositories", source_repositories::run),
];

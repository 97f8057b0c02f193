//! What hooks call by name: the same binary under other names, in a directory of the tree of hooks.
//!
//! It comes first on the `PATH` of host hooks and last on that in the chroot, where the image's own programs win. But for
//! the names of GRUB's tools, which come first where the disks are planned already, and are on no `PATH` before.
//!
//! | name | what it stands for |
//! |---|---|
//! | `sudo` | runs its command: hooks of a build are root already |
//! | `pkg-map`, `pkg-map-install` | generic package names → those of a distribution; the maps → the tree |
//! | `svc-map-install` | the service maps of all elements → one in the tree |
//! | `cache-url` | an address → a file, fetched only if the server has another |
//! | `extract-image` | a cloud image, or one of a container → the tree |
//! | `package-installs-squash` | the package lists of all elements → one file |
//! | `package-installs-list` | that file → the packages of one phase |
//! | `install-static` | a directory of files → the root, links and modes kept |
//! | `in-tree` | a program of a tree, run there with `/dev`, `/proc` and `/sys` |
//! | `deb-bootstrap` | the archive of Debian or Ubuntu → a root |
//! | `cached-root` | a root → the cache, and back |
//! | `deb-lock` | packages that were installed since → the lock of a build |
//! | `dib-uki` | a kernel, its initial ramdisk and its command line → a unified kernel image |
//! | `dib-ramdisk` | what elements want in a ramdisk → its root, and that → an archive |
//! | `dib-iso` | a directory → an ISO image that boots by BIOS and by UEFI |
//! | `dib-block-device` | what is asked about the disks → the answer |
//! | `grub-install`, `grub-bios-setup` | GRUB's tools, for a disk that is only planned: boot code, the ESP |
//! | `grub-mkconfig`, `update-grub` | the tree's own, with `grub-probe` answered by us for one call |
//! | `grub-probe`, `grub-mkrelpath` | answers from the plan of the disks |
//! | `losetup`, `partprobe`, `kpartx`, `udevadm` | in `block-device.d` only: partitions of a file, made known |
//! | `source-repositories` | what elements want from elsewhere → the cache, then the tree |

pub mod block_device;
pub mod cache_url;
pub mod cached_root;
pub mod deb_bootstrap;
pub mod deb_lock;
pub mod extract_image;
pub mod grub_install;
pub mod grub_probe;
pub mod in_tree;
pub mod install_static;
pub mod iso;
pub mod package_installs;
pub mod pkg_map;
mod published;
pub mod ramdisk;
pub mod source_repositories;
pub mod stand_ins;
pub mod sudo;
pub mod svc_map;
pub mod uki;

use std::ffi::OsString;

use clap::Parser;

use crate::environment::Environment;
use crate::error::Result;
use crate::sandbox::tier::Tier;

/// An applet: takes its arguments, the first being its name, and returns its exit status.
pub type Applet = fn(&[OsString]) -> u8;

/// Every applet, by name.
pub const APPLETS: [(&str, Applet); 33] = [
    ("sudo", sudo::run),
    ("cache-url", cache_url::run),
    ("extract-image", extract_image::run),
    ("in-tree", in_tree::run),
    ("deb-bootstrap", deb_bootstrap::run),
    ("deb-lock", deb_lock::run),
    ("cached-root", cached_root::run),
    ("install-static", install_static::run),
    ("pkg-map", pkg_map::run),
    ("pkg-map-install", pkg_map::run_install),
    ("package-installs-squash", package_installs::run_squash),
    ("package-installs-list", package_installs::run_list),
    ("source-repositories", source_repositories::run),
    ("svc-map-install", svc_map::run_install),
    ("dib-block-device", block_device::run),
    ("dib-ramdisk", ramdisk::run),
    ("dib-iso", iso::run),
    ("dib-uki", uki::run),
    ("grub-bios-setup", grub_install::run_setup),
    ("grub-install", grub_install::run),
    ("grub-mkconfig", grub_probe::run_config),
    ("grub-mkrelpath", grub_probe::run_relative),
    ("grub-probe", grub_probe::run),
    ("update-grub", grub_probe::run_update),
    ("grub2-bios-setup", grub_install::run_setup),
    ("grub2-install", grub_install::run),
    ("grub2-mkconfig", grub_probe::run_config),
    ("grub2-mkrelpath", grub_probe::run_relative),
    ("grub2-probe", grub_probe::run),
    ("losetup", stand_ins::run_losetup),
    ("partprobe", stand_ins::run_partprobe),
    ("kpartx", stand_ins::run_kpartx),
    ("udevadm", stand_ins::run_udevadm),
];

/// The arguments of an applet; where they are none, or ask for help, that is said, and the status is what it ends with.
fn parsed<A: Parser>(args: &[OsString]) -> Result<A, u8> {
    A::try_parse_from(args).map_err(|error| {
        let _ = error.print();
        u8::from(error.use_stderr())
    })
}

/// The privileges of the build that this is part of; alone, those of root.
fn tier(environment: &Environment) -> Result<Tier> {
    let word = environment
        .text("DIB_PRIVILEGES")?
        .filter(|word| !word.is_empty());
    word.map_or(Ok(Tier::T0), str::parse)
}

/// Whether a name is one of GRUB's tools, and of the second of its two families of names.
pub fn of_grub(name: &str) -> Option<bool> {
    let second = name.starts_with("grub2-");
    (second || name.starts_with("grub-") || name == "update-grub").then_some(second)
}

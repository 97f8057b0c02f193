//! Ramdisks: what goes from a tree into the root that a kernel unpacks into memory, and how that is packed.
//!
//! A ramdisk is laid out inside the chroot, where elements' hooks can add to it, by the applet `dib-ramdisk`; the builder
//! takes the archive out of the finished tree.
//!
//! | module | what it does |
//! |---|---|
//! | [`source`] | the tree: its paths and links as programs in it see them |
//! | [`wishes`] | words that elements leave in files, and which element wants each |
//! | [`elf`] | what a program says of the libraries that it needs |
//! | [`libraries`] | where the loader of the tree finds them |
//! | [`target`] | the root of the ramdisk: files are laid in once, under every name that leads to them |
//! | [`modules`] | kernel modules, whole or those wanted with what they need |
//! | [`firmware`] | firmware, whole or what modules ask for |
//! | [`kernel`] | which kernel of the tree |
//! | [`lay`](mod@lay) | all of this together |
//! | [`pack`](mod@pack) | the root → an archive, compressed as the kernel takes it |

use crate::environment::Environment;
use crate::error::Result;

pub mod elf;
pub mod firmware;
pub mod kernel;
pub mod lay;
pub mod libraries;
pub mod modules;
pub mod pack;
pub mod source;
pub mod target;
pub mod wishes;

/// Whether the variables that only the applet reads make sense: better to hear of it before the first hook runs.
pub fn check(environment: &Environment) -> Result<()> {
    if let Some(word) = environment
        .text("DIB_RAMDISK_FIRMWARE")?
        .filter(|word| !word.is_empty())
    {
        word.parse::<firmware::Firmware>()?;
    }
    pack::wants_microcode(environment.text("DIB_RAMDISK_MICROCODE")?).map(|_| ())
}

/// Where the hooks of a build lie in the chroot.
pub const HOOKS: &str = "/tmp/in_target.d";

/// The directory, in the tree of hooks, of what the builder tells the applet. Hidden: no element brings anything into it.
pub const RECORDS: &str = ".ramdisk";

/// Where the skeleton of the ramdisk lies in the chroot: files of all elements, copied for later hooks to add to.
pub const BUILD: &str = "/tmp/ramdisk-build";

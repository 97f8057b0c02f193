//! `dib-ramdisk`: what the elements of ramdisks call, on the host once and in the chroot then.
//!
//! | verb | what it does |
//! |---|---|
//! | `origins` | on the host: lays the skeleton into the tree, and writes down which element brought what |
//! | `begin ROOT` | makes the directories that every ramdisk has |
//! | `require` | fails unless all programs that elements want are there; says all that are not |
//! | `kernel` | prints the version and the path of the kernel, a line each |
//! | `init FILE` | puts `/init` together |
//! | `lay ROOT` | lays out the root of the ramdisk |
//! | `pack ROOT FILE` | packs it |

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use clap::{Parser, Subcommand};
use image_core::tree::Time;

use super::published;
use crate::error::{Context, Result};
use crate::ramdisk::firmware::{self, Firmware};
use crate::ramdisk::lay::{Laying, MODULE_ROOT, prefix};
use crate::ramdisk::modules::Modules;
use crate::ramdisk::pack::{Packing, microcode, pack, wants_microcode};
use crate::ramdisk::source::Source;
use crate::ramdisk::target::Target;
use crate::ramdisk::{HOOKS, RECORDS, kernel, wishes};
use crate::sandbox::node_list;
use crate::sandbox::rooted::Rooted;
use crate::ui;

/// Makes a ramdisk of the tree that this runs in.
#[derive(Debug, Parser)]
#[command(name = "dib-ramdisk")]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write down, on the host, which element brought what
    Origins,
    /// Fail unless all programs that elements want are in the tree
    Require,
    /// Print the version and the path of the kernel
    Kernel,
    /// Put the init together
    Init {
        /// The file
        file: PathBuf,
    },
    /// Make the directories that every ramdisk has
    Begin {
        /// An empty directory
        root: PathBuf,
    },
    /// Lay out the root of the ramdisk
    Lay {
        /// The version of the kernel whose modules it gets
        #[arg(long)]
        kernel_version: String,
        /// An empty directory
        root: PathBuf,
    },
    /// Pack the root of the ramdisk
    Pack {
        /// The directory
        root: PathBuf,
        /// The archive
        file: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: &[OsString]) -> u8 {
    let args: Args = match super::parsed(args) {
        Ok(args) => args,
        Err(status) => return status,
    };
    match perform(&args.verb) {
        Ok(()) => 0,
        Err(error) => {
            ui::error(&error);
            error.kind().status()
        }
    }
}

fn perform(verb: &Verb) -> Result<()> {
    let source = Source::new("/");
    let laying = || Laying::in_chroot(&source, variable);
    let module_root = prefix(variable(MODULE_ROOT));
    match verb {
        Verb::Origins => origins(),
        Verb::Require => {
            let words = laying()?.wanted()?.into_iter().map(|wish| wish.word + "\n");
            let list = "/etc/dib_binary_deps";
            fs::write(list, words.collect::<String>()).host(|| format!("cannot write {list}"))
        }
        Verb::Kernel => {
            let kernel = kernel::choose(&source, &module_root, variable("DIB_KERNEL_VERSION").as_deref())?;
            ui::print(format_args!("{}\n{}\n", kernel.version, kernel.path.display()))
        }
        Verb::Init { file } => {
            let tried = || format!("cannot write {}", file.display());
            fs::write(file, laying()?.init()?).host(tried)?;
            fs::set_permissions(file, fs::Permissions::from_mode(0o755)).host(tried)
        }
        Verb::Begin { root } => {
            let begun = Target::begin(root, &source);
            begun.map(|_| ()).host(|| "cannot lay out the ramdisk".to_owned())
        }
        Verb::Lay { kernel_version, root } => {
            let Ok(modules) = Modules::from_str(&variable("DIB_RAMDISK_MODULES").unwrap_or_default());
            let firmware = variable("DIB_RAMDISK_FIRMWARE").unwrap_or_else(|| "all".to_owned());
            laying()?.lay(root, kernel_version, &modules, firmware.parse::<Firmware>()?)
        }
        Verb::Pack { root, file } => pack(root, file, &packing(&source, &module_root.join(firmware::PLACE))?),
    }
}

/// A variable that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn packing(source: &Source, firmware: &Path) -> Result<Packing> {
    let compression = variable("DIB_RAMDISK_COMPRESSION")
        .map(|word| word.parse())
        .transpose()?;
    let epoch = variable("SOURCE_DATE_EPOCH").map(|epoch| epoch.parse::<i64>());
    let epoch = epoch
        .transpose()
        .host(|| "SOURCE_DATE_EPOCH is no number".to_owned())?;
    let early = if wants_microcode(variable("DIB_RAMDISK_MICROCODE").as_deref())? {
        let early = microcode(source, firmware)?;
        if early.is_none() {
            ui::warn(format_args!(
                "DIB_RAMDISK_MICROCODE: the tree has no microcode in {}",
                firmware.display()
            ));
        }
        early
    } else {
        None
    };
    Ok(Packing {
        compression: compression.unwrap_or_default(),
        latest: epoch.map(|secs| Time { secs, nanos: 0 }),
        early,
        stand_ins: node_list::read(&Path::new(HOOKS).join(RECORDS).join(node_list::NAME))
            .host(|| "cannot tell which files stand for devices".to_owned())?,
    })
}

fn origins() -> Result<()> {
    let elements = published::elements().host(|| "cannot tell the elements of the build".to_owned())?;
    let tried = || "cannot tell what elements bring for the ramdisk".to_owned();
    let origins = wishes::origins(&elements).host(tried)?;
    let hooks = variable("TMP_HOOKS_PATH").ok_or("TMP_HOOKS_PATH is not set: this is for hooks of a build");
    let hooks = PathBuf::from(hooks.host(tried)?);
    let scripts = hooks.join("extra-data.d/scripts");
    if scripts.is_dir() {
        let lay = || {
            let tree = published::tree().map_err(std::io::Error::other)?;
            // No link of the tree leads out of it.
            let into = tree.make_dirs(&[b"tmp", b"ramdisk-build"], 0o755)?;
            into.copy_from(&Rooted::open(&scripts)?)
        };
        lay().host(|| {
            "cannot lay the skeleton of the ramdisk into /tmp/ramdisk-build of the tree".to_owned()
        })?;
    }
    let json = serde_json::to_vec(&origins).host(tried)?;
    let write = || {
        let records = Rooted::open(&hooks)?.make_dirs(&[RECORDS.as_bytes()], 0o755)?;
        records.write(wishes::ORIGINS, 0o644, &json)
    };
    write().host(|| format!("cannot write {RECORDS}/{} among the hooks", wishes::ORIGINS))
}

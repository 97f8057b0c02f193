//! `in-tree DIR PROGRAM [ARGUMENT]...`: runs a program in a tree, as chroot does, with `/dev`, `/proc` and `/sys` in it as
//! hooks of the chroot find them. Hooks of `root.d`, whose tree has none of these, so need no mount of their own.
//!
//! Where the tier of the build has no mounts, the tree is taken as it is. The status is the program's.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use super::tier;
use crate::environment::Environment;
use crate::error::{Context as _, Result};
use crate::sandbox;
use crate::sandbox::launch::Sandbox;
use crate::sandbox::mounts::TreeMounts;
use crate::ui;

/// Runs a program in a tree, with /dev, /proc and /sys in it.
#[derive(Debug, Parser)]
#[command(name = "in-tree")]
struct Args {
    /// The tree
    tree: PathBuf,
    /// The program, which lies in the tree
    program: OsString,
    /// What it is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// Runs the command.
pub fn run(args: &[OsString]) -> u8 {
    let args: Args = match super::parsed(args) {
        Ok(args) => args,
        Err(status) => return status,
    };
    enter(&args, &Environment::capture()).unwrap_or_else(|error| {
        ui::error(&error);
        error.kind().status()
    })
}

fn enter(args: &Args, environment: &Environment) -> Result<u8> {
    let tier = tier(environment)?;
    sandbox::own_mounts(tier).host(|| "cannot have mounts of my own".to_owned())?;
    let mounts = tier
        .has_namespaces()
        .then(|| TreeMounts::mount(&args.tree, tier))
        .transpose()?;
    let ending = Sandbox::chroot(&args.tree).run(&args.program, &args.words, environment);
    if let Some(mounts) = mounts {
        mounts.unmount(&args.tree)?;
    }
    let ending = ending.host(|| format!("cannot run {} in the tree", args.program.display()))?;
    Ok(ending.status())
}

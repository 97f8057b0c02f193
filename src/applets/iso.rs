//! `dib-iso DIR`: a directory → an ISO image, which boots by what is given for the BIOS and for UEFI.
//!
//! Everything is root's, and read by all, as on a disc that was pressed. What UEFI boots from is a directory of
//! the tree, which stands in a FAT file system beside.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use image_core::sink::FileSink;
use image_core::tree::{Content, Meta, Node, NodeId, Tree, TreeError};
use image_core::{Identity, Map, copy, scan};
use image_formats::{fat, iso9660};

use crate::environment::Environment;
use crate::error::{Context as _, Error, Result};
use crate::given;
use crate::identity::{self, Repeat};
use crate::ui;

/// Bytes of the longest loader that is taken in.
const LOADER_MAX: u64 = 16 << 20;

/// Makes an ISO image of a directory.
#[derive(Debug, Parser)]
#[command(name = "dib-iso")]
struct Args {
    /// The label: A to Z, 0 to 9 and _
    #[arg(long, default_value = "DIB")]
    label: String,
    /// What a BIOS starts: an image by grub-mkimage -O i386-pc-eltorito
    #[arg(long)]
    bios: Option<PathBuf>,
    /// GRUB's `boot_hybrid.img`: so that a BIOS starts it from a disk, too
    #[arg(long, requires = "bios")]
    hybrid: Option<PathBuf>,
    /// The directory of the tree that UEFI boots from, such as EFI
    #[arg(long)]
    efi: Option<String>,
    /// The image
    #[arg(long)]
    output: PathBuf,
    /// The directory
    tree: PathBuf,
}

/// Runs the command.
pub fn run(args: &[OsString]) -> u8 {
    let args: Args = match super::parsed(args) {
        Ok(args) => args,
        Err(status) => return status,
    };
    match make(&args, &Environment::capture()) {
        Ok(()) => 0,
        Err(error) => {
            ui::error(&error);
            error.kind().status()
        }
    }
}

fn make(args: &Args, environment: &Environment) -> Result<()> {
    let identity = identity(&args.label, environment)?;
    let tried = || format!("dib-iso: cannot scan {}", args.tree.display());
    let (found, store) = scan(&args.tree, &scan::Options::default()).image(tried)?;
    let tree = pressed(&found, |_| true).image(tried)?;
    let read = |path: &PathBuf| read(path).host(|| format!("dib-iso: cannot read {}", path.display()));
    let bios = match &args.bios {
        Some(image) => Some(iso9660::Bios {
            image: read(image)?,
            hybrid: args.hybrid.as_ref().map(read).transpose()?,
        }),
        None => None,
    };
    let options = iso9660::Options {
        label: args.label.clone(),
        epoch: identity.epoch,
        clamp: identity.clamp,
        bios,
        efi: match &args.efi {
            Some(name) => Some(partition(&found, name, &identity)?),
            None => None,
        },
        disk_uuid: identity.uuid("iso disk"),
        efi_uuid: identity.uuid("iso partition"),
    };
    let map =
        iso9660::plan(&tree, &options).image(|| format!("dib-iso: cannot plan {}", args.output.display()))?;
    write(&map, &store, &args.output)
}

/// Writes the image: whole, or not at all.
fn write(map: &Map, store: &scan::DirStore, output: &Path) -> Result<()> {
    let tried = || format!("dib-iso: cannot write {}", output.display());
    let dir = output.parent().filter(|dir| !dir.as_os_str().is_empty());
    let file = tempfile::Builder::new()
        .prefix(".dib-iso.")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(dir.unwrap_or(Path::new(".")))
        .image(tried)?;
    let mut sink = FileSink::new(file.reopen().image(tried)?);
    copy(map, store, &mut sink).image(tried)?;
    file.as_file().sync_all().image(tried)?;
    file.persist(output).image(tried)?;
    Ok(())
}

/// What `SOURCE_DATE_EPOCH` makes the same, and what else is fresh.
fn identity(label: &str, environment: &Environment) -> Result<Identity> {
    let epoch = environment.text("SOURCE_DATE_EPOCH")?;
    let epoch = epoch.map(|text| {
        let number = text.trim().parse();
        number.map_err(|_| Error::usage(format!("SOURCE_DATE_EPOCH: '{text}' is no number")))
    });
    let repeat = Repeat {
        epoch: epoch.transpose()?,
        seed: None,
    };
    identity::fix(&repeat, label).host(|| "dib-iso: the system has no random numbers".to_owned())
}

/// The file system that UEFI reads: a directory of the root, under its own name.
fn partition(tree: &Tree, name: &str, identity: &Identity) -> Result<Map> {
    let tried = || format!("dib-iso: cannot plan the file system of {name} for UEFI");
    let tree = pressed(tree, |entry| entry == name.as_bytes()).image(tried)?;
    if tree.nodes().len() == 1 {
        let message = format!("dib-iso: there is no {name} in the tree");
        return Err(Error::usage(message));
    }
    let id = identity.uuid("iso FAT").as_u128();
    let mut options = fat::Options {
        kind: fat::Kind::Auto,
        len: 0,
        sector: 512,
        hidden_sectors: 0,
        label: *b"EFIBOOT    ",
        volume_id: u32::try_from(id & u128::from(u32::MAX)).expect("32 bits are kept"),
        cluster: None,
        epoch: identity.epoch,
    };
    options.len = fat::least(&tree, &options)
        .image(tried)?
        .next_multiple_of(iso9660::BLOCK);
    fat::plan(&tree, &options).image(tried)
}

/// A tree as a disc has it, with those entries of the root that are to be kept.
fn pressed(tree: &Tree, keep: impl Fn(&[u8]) -> bool) -> Result<Tree, TreeError> {
    let mut builder = Tree::builder(meta(tree.node(NodeId::ROOT)));
    let mut copies: Vec<Option<NodeId>> = vec![None; tree.nodes().len()];
    copies[NodeId::ROOT.index()] = Some(NodeId::ROOT);
    // A directory is numbered before all that is in it.
    for (id, node) in tree.iter() {
        let (Content::Directory(entries), Some(parent)) = (&node.content, copies[id.index()]) else {
            continue;
        };
        for (name, child) in tree.entries(*entries) {
            if id == NodeId::ROOT && !keep(name) {
                continue;
            }
            let node = tree.node(child);
            let copy = match copies[child.index()] {
                Some(copy) => copy,
                None => builder.node(meta(node), tree.new_content(node))?,
            };
            copies[child.index()] = Some(copy);
            builder.link(parent, name, copy)?;
        }
    }
    builder.build()
}

/// Root's, for all to read.
fn meta(node: &Node) -> Meta {
    let mode = match node.content {
        Content::Directory(_) => 0o555,
        Content::Symlink(_) => 0o777,
        _ if node.meta.mode & 0o111 != 0 => 0o555,
        _ => 0o444,
    };
    Meta {
        mtime: node.meta.mtime,
        ..Meta::root(mode)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = given::open(path)?;
    let len = file.metadata()?.len();
    if len > LOADER_MAX {
        let message = format!("it has {len} bytes, more than {LOADER_MAX}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    let mut bytes = Vec::new();
    file.take(LOADER_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

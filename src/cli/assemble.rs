//! `dib assemble`: images of a directory or a tar archive, without elements. The writers' own front door.

use std::fs::File;
use std::num::NonZero;
use std::path::PathBuf;

use clap::{ArgAction, Parser};
use image_core::scan::{self, scan};
use image_core::{Store, Tree};

use super::after_help;
use crate::blockdevice::{self, Defaults};
use crate::environment::Environment;
use crate::error::{Context, Result};
use crate::identity;
use crate::inspect::layout as containers;
use crate::output::archive::Facts;
use crate::output::stdout;
use crate::pipeline::{Making, archive};
use crate::settings::{Flags, Settings};
use crate::ui;
use crate::ui::colour::When;

const EXAMPLES: &str = "\
Examples:
  dib assemble ./rootfs -o image -t raw,qcow2
      image.raw and image.qcow2, an ext4 file system that holds ./rootfs

  dib assemble rootfs.tar -o small --minimal --label data --mkfs-options '-O ^has_journal'
      the smallest image of an archive, owners and devices as in the archive, without root

  dib assemble ./rootfs -o disk -t raw --block-device layout.yaml
      disk.raw with the partitions that layout.yaml describes, for example

        - local_loop:
            name: image0
            partitioning:
              label: gpt
              partitions:
                - {name: ESP, type: EF00, size: 64MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi}}}
                - {name: root, size: 100%, mkfs: {mount: {mount_point: /}}}

  dib assemble ./rootfs -o web -t squashfs,docker --docker-target team/web:1.0
      web.squash, and web.docker.tar for docker load

  SOURCE_DATE_EPOCH=1700000000 dib assemble ./rootfs -o same --seed same
      the same bytes every time";

/// Write images of a directory or a tar archive, without elements.
#[derive(Debug, Parser)]
#[command(name = "assemble", args_override_self = true, after_help = after_help(EXAMPLES))]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line are bools")]
pub struct Args {
    /// Directory, or uncompressed tar archive: a root, or a container image (OCI, docker) with the root
    #[arg(value_name = "TREE")]
    tree: PathBuf,
    /// Name of the image, without the suffix of its type; - is standard output
    #[arg(short = 'o', value_name = "NAME")]
    output: Option<String>,
    /// Types of the image: qcow2, raw, vdi, vhd, vmdk; of the tree itself: tar, tgz, tar.zst, tar.xz, cpio, squashfs,
    /// docker, oci, aci [default: qcow2]
    #[arg(short = 't', value_name = "TYPE,...", value_delimiter = ',', action = ArgAction::Set)]
    types: Vec<String>,
    /// Do not compress the image
    #[arg(short = 'u')]
    uncompressed: bool,
    /// Write MD5 and SHA-256 digests beside the image
    #[arg(long)]
    checksum: bool,
    /// Size of the image in GiB [default: as the tree needs]
    #[arg(long, value_name = "GIB")]
    image_size: Option<String>,
    /// Room in MiB that the tree gets besides what it needs
    #[arg(long, value_name = "MIB")]
    image_extra_size: Option<String>,
    /// Make the smallest image that holds the tree
    #[arg(long, conflicts_with_all = ["image_size", "image_extra_size"])]
    minimal: bool,
    /// Blocks to which the file system can grow while it is mounted; past 256 TiB resize2fs needs two calls
    #[arg(long, value_name = "BLOCKS")]
    max_online_resize: Option<String>,
    /// Size of the journal in MiB [default: 64, less in small images]
    #[arg(long, value_name = "MIB")]
    mkfs_journal_size: Option<String>,
    /// Options of the file system, in the words of mke2fs
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    mkfs_options: Option<String>,
    /// Options of the image's format, in the words of qemu-img convert -o
    #[arg(long, value_name = "KEY=VALUE,...")]
    qemu_img_options: Option<String>,
    /// Who shall take a VHD: xen, azure or hyperv; or who is said to have made it: tap, win or qem2 [default: xen]
    #[arg(long, value_name = "WORD")]
    vhd_creator: Option<String>,
    /// Repository, and tag after a colon, of an image of type docker or oci [default of docker: its name]
    #[arg(long, value_name = "REPO[:TAG]")]
    docker_target: Option<String>,
    /// Load the image of type docker into the engine of this machine, by docker load
    #[arg(long)]
    docker_load: bool,
    /// Compression of a squashfs image, which holds no ACLs: gzip, xz or zstd [default: xz]
    #[arg(long, value_name = "WORD")]
    squashfs_compression: Option<String>,
    /// Label of the file system [default: cloudimg-rootfs]
    #[arg(long, visible_alias = "root-label", value_name = "LABEL")]
    label: Option<String>,
    /// Layout of the disk, or disks, in YAML: partitions, LVM, file systems and mount points [default: one file system]
    #[arg(long, value_name = "FILE")]
    block_device: Option<PathBuf>,
    /// Derive UUIDs from this text
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    /// When messages have colour: auto, always or never [default: auto]
    #[arg(long, value_name = "WHEN", value_parser = When::WORDS, hide_possible_values = true)]
    color: Option<String>,
    /// Threads that scan and compress; the image is the same for any number [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
}

impl Args {
    fn flags(&self) -> Flags {
        Flags {
            output: self.output.clone(),
            types: self.types.clone(),
            uncompressed: self.uncompressed,
            checksum: self.checksum,
            image_size: self.image_size.clone(),
            image_extra_size: self.image_extra_size.clone(),
            minimal: self.minimal,
            max_online_resize: self.max_online_resize.clone(),
            journal_size: self.mkfs_journal_size.clone(),
            mkfs_options: self.mkfs_options.clone(),
            format_options: self.qemu_img_options.clone(),
            vhd_creator: self.vhd_creator.clone(),
            docker_target: self.docker_target.clone(),
            docker_load: self.docker_load,
            squashfs: self.squashfs_compression.clone(),
            root_label: self.label.clone(),
            seed: self.seed.clone(),
            threads: self.threads,
            ..Flags::default()
        }
    }
}

/// Writes them.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let settings = Settings::new(args.flags(), environment)?;
    stdout::claim(&settings.name)?;
    let identity = identity::fix(&settings.repeat, settings.base_name())
        .host(|| "cannot get a random seed".to_owned())?;
    let defaults = Defaults {
        settings: &settings,
        environment,
        identity,
    };
    let layout = match &args.block_device {
        Some(file) => blockdevice::of_file(file, &defaults)?,
        None => blockdevice::bare(&defaults)?,
    };
    for warning in &layout.warnings {
        ui::warn(warning);
    }
    let facts = Facts::new(&settings, environment, identity)?;
    let making = Making {
        settings: &settings,
        layout: &layout,
        identity,
        kept: None,
        boot: None,
        umask: current_umask(),
    };
    let tried = || format!("cannot read {}", args.tree.display());
    let container = args.tree.join("oci-layout").is_file();
    if args.tree.is_dir() && !container {
        let how = scan::Options {
            threads: args.threads,
            ..scan::Options::default()
        };
        let (tree, store) = scan(&args.tree, &how).image(tried)?;
        write(&making, &facts, &tree, &store)
    } else {
        let choice = containers::choice(environment, &settings.arch)?;
        let read = if container {
            containers::of_dir(&args.tree, &choice, &settings.tmp_dir)
        } else {
            let archive = File::open(&args.tree).image(tried)?;
            containers::of_archive(archive, &args.tree, &choice, &settings.tmp_dir)
        };
        let (tree, store) = read.image(tried)?;
        write(&making, &facts, &tree, &store)
    }
}

/// Writes a tree in every type, archives first.
fn write(making: &Making<'_>, facts: &Facts, tree: &Tree, store: &impl Store) -> Result<()> {
    if archive(making.settings, facts, tree, store, making.umask)? {
        making.make(tree, store)?;
    }
    Ok(())
}

/// The umask can only be read by setting it; no other thread runs yet.
pub(super) fn current_umask() -> u32 {
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    umask.as_raw_mode()
}

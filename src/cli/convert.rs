//! `dib convert`: a disk image of anyone in other formats.
//!
//! The image is read where it lies, by all threads; what its container, or its file system, knows to be a hole is not
//! read at all, and what turns out to be zero becomes one.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use clap::{ArgAction, Parser};
use image_core::{Map, ReadAt as _};
use image_formats::guest::{self, GuestStore};

use super::after_help;
use super::assemble::current_umask;
use crate::environment::Environment;
use crate::error::{Context, Result};
use crate::identity;
use crate::inspect::container;
use crate::output::{self, Format, Rules, stdout};
use crate::settings::{Flags, Settings};
use crate::ui;
use crate::ui::colour::When;

const EXAMPLES: &str = "\
Examples:
  dib convert image.qcow2 -o image -t raw,vmdk
      image.raw and image.vmdk, the same disk

  dib convert image.raw -o azure -t vhd --vhd-creator azure
      a fixed VHD of whole MiB

  dib convert image.qcow2 -o - -t vmdk --qemu-img-options subformat=streamOptimized | ssh host 'cat >image.vmdk'
      a disk that is sent while it is made";

/// Bytes in a sector: a disk has whole ones.
const SECTOR: u64 = 512;

/// Write a disk image in other formats.
#[derive(Debug, Parser)]
#[command(name = "convert", args_override_self = true, after_help = after_help(EXAMPLES))]
pub struct Args {
    /// Image: raw, qcow2, vdi, vhd or vmdk, as its first bytes say; it may be compressed as a whole
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Name of the new image, without the suffix of its type; - is standard output
    #[arg(short = 'o', value_name = "NAME")]
    output: Option<String>,
    /// Types of the new image: qcow2, raw, vdi, vhd, vmdk [default: as NAME ends, else qcow2]
    #[arg(short = 't', value_name = "TYPE,...", value_delimiter = ',', action = ArgAction::Set)]
    types: Vec<String>,
    /// Do not compress the image
    #[arg(short = 'u')]
    uncompressed: bool,
    /// Write MD5 and SHA-256 digests beside the image
    #[arg(long)]
    checksum: bool,
    /// Options of the image's format, in the words of qemu-img convert -o
    #[arg(long, value_name = "KEY=VALUE,...")]
    qemu_img_options: Option<String>,
    /// Who shall take a VHD: xen, azure or hyperv; or who is said to have made it: tap, win or qem2 [default: xen]
    #[arg(long, value_name = "WORD")]
    vhd_creator: Option<String>,
    /// Derive UUIDs from this text
    #[arg(long, value_name = "TEXT")]
    seed: Option<String>,
    /// When messages have colour: auto, always or never [default: auto]
    #[arg(long, value_name = "WHEN", value_parser = When::WORDS, hide_possible_values = true)]
    color: Option<String>,
    /// Threads that compress; the image is the same for any number [default: one a processor]
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
}

impl Args {
    fn flags(&self) -> Flags {
        let suffix = self
            .output
            .as_deref()
            .and_then(|name| Path::new(name).extension()?.to_str());
        let suffix = suffix.filter(|suffix| Format::from_str(suffix).is_ok());
        let types = match suffix {
            Some(suffix) if self.types.is_empty() => vec![suffix.to_owned()],
            _ => self.types.clone(),
        };
        Flags {
            output: self.output.clone(),
            types,
            uncompressed: self.uncompressed,
            checksum: self.checksum,
            format_options: self.qemu_img_options.clone(),
            vhd_creator: self.vhd_creator.clone(),
            seed: self.seed.clone(),
            threads: self.threads,
            ..Flags::default()
        }
    }
}

/// Converts.
pub fn run(args: &Args, environment: &Environment) -> Result<()> {
    let settings = Settings::new(args.flags(), environment)?;
    let identity = identity::fix(&settings.repeat, settings.base_name())
        .host(|| "cannot get a random seed".to_owned())?;
    let rules = Rules::of(&settings, identity, current_umask());
    rules.check(&settings.formats)?;
    stdout::claim(&settings.name)?;
    output::rehearse(&settings.name, &settings.formats)?;
    let tried = || format!("cannot read {}", args.image.display());
    let guest = container::guest(&args.image, &settings.tmp_dir);
    let (disk, packed) = guest.map_err(|error| error.of_named(&args.image)).image(tried)?;
    let len = rules.rounded(&settings.formats, disk.len().next_multiple_of(SECTOR));
    rules.check_len(&settings.formats, len)?;
    let map = guest::map(&*disk, rules.threads()).image(tried)?;
    let map = if len == map.len() {
        map
    } else {
        ui::warn(format_args!(
            "the disk grows from {} to {len} bytes, as its new format asks: a GUID partition table then does not end it",
            map.len()
        ));
        let mut longer = Map::builder(len);
        longer.map(0, &map).image(tried)?;
        longer.build().image(tried)?
    };
    let store = GuestStore::new(disk, args.image.as_os_str().as_encoded_bytes().to_vec());
    if packed {
        output::write_packed(&map, &store, &settings.formats, &rules)
    } else {
        output::write_all(&map, &store, &settings.formats, &rules)
    }
}

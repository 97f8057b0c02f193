//! `disk-image-create`: builds an image from elements.
//!
//! Options and elements interleave, `--` ends options, long options may be abbreviated, short ones cluster.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{ArgAction, Parser};

use super::after_help;
use crate::bootstrap::lock::Lock;
use crate::environment::Environment;
use crate::error::{Context as _, Kind, Result};
use crate::pipeline;
use crate::plan::BuildPlan;
use crate::settings::{Flags, Settings};
use crate::ui::colour::When;
use crate::ui::events::Events;

const EXAMPLES: &str = "\
Examples:
  disk-image-create -o debian debian-minimal
      debian.qcow2, a Debian image

  ELEMENTS_PATH=~/elements disk-image-create -o web -t qcow2,raw -p nginx debian-minimal my-site
      web.qcow2 and web.raw, with an element of one's own and a package

  SOURCE_DATE_EPOCH=1700000000 disk-image-create -o same --seed same debian-minimal
      the same bytes every time, as long as the packages are the same

  disk-image-create --image-extra-size 500 --mkfs-journal-size 16 -o roomy debian-minimal
      500 MiB of room besides what the tree needs, and a journal of 16 MiB

Long options may be abbreviated, options and elements may be mixed, -- ends the options.
Many options have a variable (ARCH, IMAGE_NAME, DIB_IMAGE_SIZE, DIB_OFFLINE, ...); an option beats it.
'dib plan' takes the same options and prints what the build would do, and where each value comes from.";

/// The heading of options that the original program does not have.
pub(super) const BEYOND: &str = "Options that only this program has";

/// Build an image from elements.
#[derive(Debug, Parser)]
#[command(name = "disk-image-create", version, disable_version_flag = true)]
#[command(args_override_self = true, after_help = after_help(EXAMPLES))]
#[group(skip)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line are bools")]
pub struct Args {
    /// Architecture of the image, such as amd64, arm64, armhf or i386 [default: the host's]
    #[arg(short = 'a', value_name = "ARCH", allow_hyphen_values = true)]
    arch: Option<String>,
    /// Name of the image, without the suffix of its type; - is standard output [default: image]
    #[arg(short = 'o', value_name = "NAME")]
    output: Option<String>,
    /// Types of the image: qcow2, raw, vdi, vhd, vmdk; of the tree itself: tar, tgz, tar.zst, tar.xz, cpio, squashfs,
    /// docker, oci, aci. Other words are refused [default: qcow2]
    #[arg(short = 't', value_name = "TYPE,...", value_delimiter = ',', action = ArgAction::Set)]
    types: Vec<String>,
    /// Trace hooks; twice: more
    #[arg(short = 'x', action = ArgAction::Count)]
    trace: u8,
    /// Do not compress the image
    #[arg(short = 'u')]
    uncompressed: bool,
    /// Clear the environment first: hooks see no variable of the caller but PATH and HOME
    #[arg(short = 'c')]
    clear: bool,
    /// Leave out the element base
    #[arg(short = 'n')]
    skip_base: bool,
    /// Packages to install besides; may be given again
    #[arg(short = 'p', value_name = "PACKAGE,...", value_delimiter = ',', action = ArgAction::Append)]
    packages: Vec<String>,
    /// Write MD5 and SHA-256 digests beside the image
    #[arg(long)]
    checksum: bool,
    /// Size of the image in GiB [default: as the tree needs]
    #[arg(long, value_name = "GIB")]
    image_size: Option<String>,
    /// Room in MiB that the tree gets besides what it needs
    #[arg(long, value_name = "MIB")]
    image_extra_size: Option<String>,
    /// Directory of cached downloads [default: ~/.cache/image-create]
    #[arg(long, value_name = "DIR")]
    image_cache: Option<PathBuf>,
    /// Blocks to which the file system can grow while it is mounted; past 256 TiB resize2fs needs two calls
    #[arg(long, value_name = "BLOCKS")]
    max_online_resize: Option<String>,
    /// GiB that a tmpfs must be able to hold [default: 2]
    #[arg(long, value_name = "GIB")]
    min_tmpfs: Option<String>,
    /// Size of the journal in MiB [default: 64]
    #[arg(long, value_name = "MIB")]
    mkfs_journal_size: Option<String>,
    /// Options of the root file system, in the words of mke2fs
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    mkfs_options: Option<String>,
    /// Do not build in a tmpfs
    #[arg(long)]
    no_tmpfs: bool,
    /// Do not refresh cached downloads
    #[arg(long)]
    offline: bool,
    /// Options of the image's format, in the words of qemu-img convert -o
    #[arg(long, value_name = "KEY=VALUE,...")]
    qemu_img_options: Option<String>,
    /// Who shall take a VHD: xen, azure or hyperv; or who is said to have made it: tap, win or qem2 [default: xen]
    #[arg(long, value_name = "WORD", help_heading = BEYOND)]
    vhd_creator: Option<String>,
    /// Label of the root file system [default: cloudimg-rootfs]
    #[arg(long, value_name = "LABEL")]
    root_label: Option<String>,
    /// Element that makes a ramdisk of the tree, in builds of ramdisks [default: ramdisk]
    #[arg(long, value_name = "ELEMENT")]
    ramdisk_element: Option<String>,
    /// How a ramdisk is compressed: gzip, xz, zstd, lz4 or none, and how hard [default: gzip:6]
    #[arg(long, value_name = "METHOD[:LEVEL]", help_heading = BEYOND)]
    ramdisk_compression: Option<String>,
    /// Whether it is one.
    #[arg(skip)]
    ramdisk: bool,
    /// How elements install by default, source or package [default: source]
    #[arg(long, value_name = "TYPE")]
    install_type: Option<String>,
    /// Repository, and tag after a colon, that an image of type docker gets [default: its name]
    #[arg(long, value_name = "REPO[:TAG]")]
    docker_target: Option<String>,
    /// Load the image of type docker into the engine of this machine, by docker load
    #[arg(long, help_heading = BEYOND)]
    docker_load: bool,
    /// Compression of a squashfs image, which holds no ACLs: gzip, xz or zstd [default: xz]
    #[arg(long, value_name = "WORD", help_heading = BEYOND)]
    squashfs_compression: Option<String>,
    /// Write the log to a file, and nothing to standard output
    #[arg(long, value_name = "FILE")]
    logfile: Option<PathBuf>,
    /// Write the course of the build as JSON Lines to a file, or to an open descriptor of this number
    #[arg(long, value_name = "FILE|FD", help_heading = BEYOND)]
    events: Option<OsString>,
    /// When messages have colour: auto, always or never [default: auto]
    #[arg(long, value_name = "WHEN", value_parser = When::WORDS, hide_possible_values = true, help_heading = BEYOND)]
    color: Option<String>,
    /// Derive UUIDs from this text
    #[arg(long, value_name = "TEXT", help_heading = BEYOND)]
    seed: Option<String>,
    /// Tier of privileges, T0, T1 or T2, as 'dib doctor' explains them [default: the first that works]
    #[arg(long, value_name = "TIER", help_heading = BEYOND)]
    privileges: Option<String>,
    /// Network of hooks: host, or none [default: host]
    #[arg(long, value_name = "NETWORK", help_heading = BEYOND)]
    network: Option<String>,
    /// Cut hooks off from the network, whatever else is said of it; with --offline nothing is fetched at all
    #[arg(long, help_heading = BEYOND)]
    hermetic: bool,
    /// Refuse elements none of which is an operating system, instead of adding ubuntu
    #[arg(long, help_heading = BEYOND)]
    strict: bool,
    /// Install the packages that a lock of 'dib lock' names, in their versions, and no others
    #[arg(long, value_name = "FILE", help_heading = BEYOND)]
    locked: Option<PathBuf>,
    /// List the packages of the image beside it, each with the element that brought it, where known: NAME.spdx.json,
    /// and NAME.cdx.json for those who read `CycloneDX`
    #[arg(long, help_heading = BEYOND)]
    sbom: bool,
    /// Print the version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    /// Elements of the image; their dependencies come by themselves
    #[arg(value_name = "ELEMENT")]
    elements: Vec<String>,
}

impl Args {
    /// The flags, and the whole command line as the image will record it.
    pub(super) fn flags(self, line: &[OsString]) -> Flags {
        Flags {
            arch: self.arch,
            output: self.output,
            types: self.types,
            trace: self.trace,
            uncompressed: self.uncompressed,
            skip_base: self.skip_base,
            packages: self.packages,
            checksum: self.checksum,
            image_size: self.image_size,
            image_extra_size: self.image_extra_size,
            image_cache: self.image_cache,
            max_online_resize: self.max_online_resize,
            min_tmpfs: self.min_tmpfs,
            journal_size: self.mkfs_journal_size,
            mkfs_options: self.mkfs_options,
            no_tmpfs: self.no_tmpfs,
            offline: self.offline,
            format_options: self.qemu_img_options,
            vhd_creator: self.vhd_creator,
            root_label: self.root_label,
            ramdisk_element: self.ramdisk_element,
            ramdisk_compression: self.ramdisk_compression,
            ramdisk: self.ramdisk,
            install_type: self.install_type,
            docker_target: self.docker_target,
            docker_load: self.docker_load,
            squashfs: self.squashfs_compression,
            logfile: self.logfile,
            seed: self.seed,
            privileges: self.privileges,
            network: self.network,
            hermetic: self.hermetic,
            strict: self.strict,
            sbom: self.sbom,
            minimal: false,
            threads: None,
            elements: self.elements,
            line: line.get(1..).unwrap_or_default().join(OsStr::new(" ")),
        }
    }

    /// The same for a ramdisk.
    pub(super) fn for_ramdisk(mut self, ramdisk: bool) -> Self {
        self.ramdisk = ramdisk;
        self
    }

    /// The same with an element more.
    pub(super) fn with_element(mut self, name: &str) -> Self {
        self.elements.push(name.to_owned());
        self
    }

    /// The environment that the build sees: the caller's, or with `-c` nearly nothing of it.
    pub(super) fn surroundings(&self, mut environment: Environment) -> Environment {
        if self.clear {
            // Without these two neither programs nor caches would be found.
            environment.retain(|name| name == b"PATH" || name == b"HOME");
        }
        environment
    }
}

/// Builds.
pub fn run(args: Args, line: &[OsString], environment: Environment) -> Result<()> {
    let place = args.events.as_deref().or_else(|| environment.get("DIB_EVENTS"));
    let mut events = Events::open(place)?;
    let result = plan(args, line, environment).and_then(|plan| pipeline::run(&plan, &mut events));
    events.end(&result);
    result
}

/// Decides everything about a build.
pub(super) fn plan(args: Args, line: &[OsString], environment: Environment) -> Result<BuildPlan> {
    let lost = args.clear && environment.non_empty("ELEMENTS_PATH").is_some();
    let mut environment = args.surroundings(environment);
    if let Some(path) = &args.locked {
        Lock::read(path)?;
        let path = std::path::absolute(path).host(|| format!("cannot read the lock {}", path.display()))?;
        environment.set("DIB_LOCKED", path);
    }
    let flags = args.flags(line);
    let exports = flags.exports();
    let settings = Settings::new(flags, &environment)?;
    for (name, value) in exports {
        environment.set(name, value);
    }
    BuildPlan::new(settings, environment).map_err(|error| match error.kind() {
        Kind::Elements if lost => error.hint("-c cleared ELEMENTS_PATH, too"),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::super::getopt;
    use super::*;

    fn read(words: &[&str]) -> Result<Args> {
        let mut command = Args::command();
        command.build();
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let arranged = getopt::arrange(&command, &words)?;
        let all = [OsString::from("disk-image-create")].into_iter().chain(arranged);
        Ok(Args::try_parse_from(all).unwrap())
    }

    fn parsed(line: &str) -> Args {
        read(&line.split_whitespace().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn options_are_read_as_getopt_long_does() {
        let args = parsed("a -xx -o n b --image-si=0.1 -un --no-t -p p,q -p r -t raw,qcow2 -- -c");
        assert_eq!(args.elements, ["a", "b", "-c"]);
        assert_eq!(
            (args.trace, args.uncompressed, args.skip_base, args.no_tmpfs),
            (2, true, true, true)
        );
        assert_eq!(args.image_size.as_deref(), Some("0.1"));
        assert_eq!(args.packages, ["p", "q", "r"]);
        assert_eq!(args.types, ["raw", "qcow2"]);
    }

    /// Each line with what the named fields must say; `-` is an option not given.
    #[test]
    fn values_are_taken_whatever_they_look_like() {
        for (line, output, mkfs, elements) in [
            ("-o a -o b x", "b", "-", "x"),
            ("x -ob", "b", "-", "x"),
            ("-o=b x", "=b", "-", "x"),
            ("-o -x x", "-x", "-", "x"),
            ("-o -- x", "--", "-", "x"),
            ("-cnuo b x", "b", "-", "x"),
            ("--mkfs-options -i x", "-", "-i", "x"),
            ("--mkfs-opt=-i=1 x", "-", "-i=1", "x"),
            ("--mkfs-options= x", "-", "", "x"),
            ("x - y", "-", "-", "x - y"),
            ("x -- -- y", "-", "-", "x -- y"),
        ] {
            let args = parsed(line);
            assert_eq!(args.output.as_deref().unwrap_or("-"), output, "{line}");
            assert_eq!(args.mkfs_options.as_deref().unwrap_or("-"), mkfs, "{line}");
            assert_eq!(args.elements.join(" "), elements, "{line}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        for (line, told) in [
            (
                "--imagesize 1 x",
                "unrecognized option '--imagesize'\nhint: did you mean --image-size?",
            ),
            (
                "--quite-else x",
                "unrecognized option '--quite-else'\nhint: --help lists the options",
            ),
            (
                "-ofline -q x",
                "unrecognized option '-q'\nhint: --help lists the options",
            ),
            (
                "-zoffline x",
                "unrecognized option '-z'\nhint: did you mean --offline?",
            ),
            (
                "--image 1 x",
                "option '--image' is ambiguous\n\
                 hint: it may stand for --image-size, --image-extra-size, --image-cache",
            ),
            ("--checksum=1 x", "option '--checksum' takes no value"),
            ("x -o", "option '-o' needs a value: -o NAME"),
            (
                "x --image-siz",
                "option '--image-size' needs a value: --image-size GIB",
            ),
        ] {
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!(read(&words).unwrap_err().to_string(), told, "{line}");
        }
    }

    #[test]
    fn abbreviations_of_the_original_program_stay_unambiguous() {
        let mut command = Args::command();
        command.build();
        let original: Vec<&str> = command
            .get_arguments()
            .filter(|arg| arg.get_help_heading().is_none())
            .filter_map(clap::Arg::get_long)
            .collect();
        let known = [
            "checksum",
            "image-size",
            "image-extra-size",
            "image-cache",
            "max-online-resize",
            "min-tmpfs",
            "mkfs-journal-size",
            "mkfs-options",
            "no-tmpfs",
            "offline",
            "qemu-img-options",
            "root-label",
            "ramdisk-element",
            "install-type",
            "docker-target",
            "logfile",
            "version",
            "help",
        ];
        assert_eq!(
            original.iter().collect::<BTreeSet<_>>(),
            known.iter().collect::<BTreeSet<_>>(),
            "what the original program lacks stands under a heading of its own"
        );
    }
}

//! Settings: what a build was asked for, each the flag, else the variable, else the default.

mod exports;
pub mod idle;
pub mod origins;

use std::ffi::OsString;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image_formats::{squashfs, vhd};

use crate::environment::Environment;
use crate::error::{Context, Error, Result};
use crate::identity::Repeat;
use crate::output::Format;
use crate::ramdisk::pack::Compression;
use crate::sandbox::tier::{Network, Tier};
use crate::suggest::nearest;

use origins::Origin;

/// The options of a build as the command line gave them; `None` and empty where it did not.
#[derive(Clone, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line are bools")]
pub struct Flags {
    /// `-a`
    pub arch: Option<String>,
    /// `-o`
    pub output: Option<String>,
    /// `-t`
    pub types: Vec<String>,
    /// `-x`
    pub trace: u8,
    /// `-u`
    pub uncompressed: bool,
    /// `-n`
    pub skip_base: bool,
    /// `-p`
    pub packages: Vec<String>,
    /// `--checksum`
    pub checksum: bool,
    /// `--image-size`
    pub image_size: Option<String>,
    /// `--image-extra-size`
    pub image_extra_size: Option<String>,
    /// `--image-cache`
    pub image_cache: Option<PathBuf>,
    /// `--max-online-resize`
    pub max_online_resize: Option<String>,
    /// `--min-tmpfs`
    pub min_tmpfs: Option<String>,
    /// `--mkfs-journal-size`
    pub journal_size: Option<String>,
    /// `--mkfs-options`
    pub mkfs_options: Option<String>,
    /// `--no-tmpfs`
    pub no_tmpfs: bool,
    /// `--offline`
    pub offline: bool,
    /// `--qemu-img-options`
    pub format_options: Option<String>,
    /// `--vhd-creator`
    pub vhd_creator: Option<String>,
    /// `--squashfs-compression`
    pub squashfs: Option<String>,
    /// `--root-label`
    pub root_label: Option<String>,
    /// `--ramdisk-element`
    pub ramdisk_element: Option<String>,
    /// `--ramdisk-compression`
    pub ramdisk_compression: Option<String>,
    /// Whether it is a ramdisk that is built.
    pub ramdisk: bool,
    /// `--install-type`
    pub install_type: Option<String>,
    /// `--docker-target`
    pub docker_target: Option<String>,
    /// `--docker-load`
    pub docker_load: bool,
    /// `--logfile`
    pub logfile: Option<PathBuf>,
    /// `--minimal`
    pub minimal: bool,
    /// `--threads`
    pub threads: Option<NonZero<usize>>,
    /// `--seed`
    pub seed: Option<String>,
    /// `--privileges`
    pub privileges: Option<String>,
    /// `--network`
    pub network: Option<String>,
    /// `--hermetic`
    pub hermetic: bool,
    /// `--strict`
    pub strict: bool,
    /// `--sbom`
    pub sbom: bool,
    /// The elements.
    pub elements: Vec<String>,
    /// All arguments, joined by spaces: what the image records.
    pub line: OsString,
}

/// What a build was asked for.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "what is asked for or not is a bool")]
pub struct Settings {
    /// The architecture's word; elements decide what it means.
    pub arch: String,
    /// The name of the outputs, a path perhaps, without the suffix.
    pub name: String,
    /// The formats, in order, raw last.
    pub formats: Vec<Format>,
    /// Whether formats that can compress do.
    pub compress: bool,
    /// Options of the format, as `qemu-img -o` has them.
    pub format_options: Option<String>,
    /// Who shall take a VHD.
    pub vhd: vhd::Profile,
    /// What compresses a squashfs image.
    pub squashfs: squashfs::Compression,
    /// Which digests to write beside each output.
    pub checksums: Checksums,
    /// Whether an older output is replaced instead of renamed.
    pub overwrite: bool,
    /// The elements asked for, `base` included.
    pub elements: Vec<String>,
    /// The directories of `ELEMENTS_PATH`.
    pub elements_path: Vec<PathBuf>,
    /// Packages to install besides.
    pub packages: Vec<String>,
    /// How much to trace.
    pub trace: u32,
    /// The size of the image.
    pub size: SizeRule,
    /// The journal of the root file system, in MiB; `None`: what suits the size.
    pub journal_mib: Option<u64>,
    /// How many threads scan and compress; `None`: one a processor.
    pub threads: Option<NonZero<usize>>,
    /// The type of the root file system.
    pub fs_type: String,
    /// Its label.
    pub root_label: String,
    /// Its options, in the words of mke2fs.
    pub mkfs_options: String,
    /// To how many blocks it shall be able to grow while mounted.
    pub max_online_resize: Option<u64>,
    /// Whether the build's directory may be a tmpfs.
    pub tmpfs: Tmpfs,
    /// Where the build's directory is made.
    pub tmp_dir: PathBuf,
    /// Where downloads are kept.
    pub cache: PathBuf,
    /// Where locks are kept.
    pub lockfiles: PathBuf,
    /// Whether downloads are taken from the cache as they are.
    pub offline: bool,
    /// Whether a ramdisk is built, and no image.
    pub ramdisk: bool,
    /// The element that makes a ramdisk of the tree.
    pub ramdisk_element: String,
    /// How that ramdisk is compressed.
    pub ramdisk_compression: Compression,
    /// How elements install by default.
    pub install_type: String,
    /// Where compilations are cached; `None`: nowhere.
    pub ccache: Option<PathBuf>,
    /// What an image of type docker is called.
    pub docker_target: Option<String>,
    /// Whether it is loaded into the engine.
    pub docker_load: bool,
    /// The log.
    pub logging: Logging,
    /// Whether an operating system must be named.
    pub strict: bool,
    /// Whether the packages of the image are listed beside it.
    pub sbom: bool,
    /// What makes the build repeat.
    pub repeat: Repeat,
    /// What hooks may do.
    pub isolation: Isolation,
    /// All arguments, joined by spaces.
    pub line: OsString,
    /// Where each word of `elements` comes from.
    pub word_origins: Vec<WordOrigin>,
    /// Where each setting comes from, in the order of [`origins::ROWS`].
    pub origins: Vec<Origin>,
}

/// Where a word that names an element comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordOrigin {
    /// Every build has it that does not leave it out.
    Base,
    /// Every build of a ramdisk has one.
    Ramdisk,
    /// The variable `IMAGE_ELEMENT`.
    Inherited,
    /// The command line.
    Given,
    /// The element `vm` wants it.
    ForVm,
    /// No element provides an operating system.
    Implicit,
}

/// Settings of nothing but images.
const OF_IMAGES: [&str; 11] = [
    "types",
    "compress",
    "format_options",
    "vhd_creator",
    "squashfs_compression",
    "size",
    "journal_mib",
    "mkfs_options",
    "max_online_resize",
    "docker_target",
    "docker_load",
];

/// Which digests to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksums {
    /// MD5, for old consumers.
    pub md5: bool,
    /// SHA-256.
    pub sha256: bool,
}

/// How the size of the image is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SizeRule {
    /// As given.
    Kib(u64),
    /// What the tree uses and so many MiB.
    Extra(f64),
    /// What the tree uses, as six tenths of the whole.
    Headroom,
    /// As little as holds the tree.
    Minimal,
}

/// When the build's directory is a tmpfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tmpfs {
    /// Never.
    No,
    /// When the machine has twice as many KiB of memory.
    With {
        /// What one tmpfs may come to need.
        kib: u64,
    },
}

/// Where the log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// A file.
    pub file: Option<PathBuf>,
    /// Not to standard output.
    pub quiet: bool,
    /// With the time before each line on standard output.
    pub timestamps: bool,
}

/// What hooks may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// The tier of privileges, if not the first that works.
    pub tier: Option<Tier>,
    /// Which network they have.
    pub network: Network,
}

impl Settings {
    /// Layers the flags over the environment over the defaults.
    pub fn new(flags: Flags, environment: &Environment) -> Result<Self> {
        let origins = origins::origins(&flags, environment);
        let size = size(&flags, environment)?;
        let tmpfs = tmpfs(&flags, environment)?;
        let text = |name: &str| environment.text(name).map(|text| text.map(str::to_owned));
        let pick = |flag: Option<String>, name: &str| flag.map_or_else(|| text(name), |flag| Ok(Some(flag)));
        let set = |name: &str| Ok::<_, Error>(!matches!(environment.text(name)?, None | Some("0")));
        let path =
            |name: &str, or: &dyn Fn() -> PathBuf| environment.non_empty(name).map_or_else(or, PathBuf::from);
        let caches = path("HOME", &|| "/root".into()).join(".cache");
        let cache = path("DIB_IMAGE_CACHE", &|| caches.join("image-create"));
        let cache = absolute(&flags.image_cache.unwrap_or(cache))?;
        let temporary = path("TMP_DIR", &|| "/tmp".into());
        let (name, formats) = outputs(&flags.types, pick(flags.output, "IMAGE_NAME")?)?;
        let fs_type = text("FS_TYPE")?.unwrap_or_else(|| "ext4".into());
        let arch = pick(flags.arch, "ARCH")?.unwrap_or_else(host_arch);
        let ramdisk_element =
            pick(flags.ramdisk_element.clone(), "RAMDISK_ELEMENT")?.unwrap_or_else(|| "ramdisk".into());
        let ramdisk = flags.ramdisk.then_some(ramdisk_element.as_str());
        let words = element_words(ramdisk, flags.skip_base, &flags.elements, &arch, environment)?;
        let (elements, word_origins) = words.into_iter().unzip();
        Ok(Self {
            name,
            formats,
            compress: !flags.uncompressed,
            format_options: pick(flags.format_options, "QEMU_IMG_OPTIONS")?,
            vhd: vhd_profile(pick(flags.vhd_creator, "DIB_VHD_CREATOR")?.as_deref())?,
            squashfs: squashfs_compression(pick(flags.squashfs, "DIB_SQUASHFS_COMPRESSION")?.as_deref())?,
            checksums: checksums(flags.checksum, environment.text("DIB_CHECKSUM")?),
            overwrite: set("OVERWRITE_OLD_IMAGE")?,
            elements,
            word_origins,
            origins,
            arch,
            threads: flags.threads,
            elements_path: elements_path(environment),
            packages: named(flags.packages),
            trace: trace(flags.trace, environment)?,
            size,
            journal_mib: number(
                "DIB_JOURNAL_SIZE",
                pick(flags.journal_size, "DIB_JOURNAL_SIZE")?.as_deref(),
            )?,
            root_label: pick(flags.root_label, "ROOT_LABEL")?.unwrap_or_else(|| default_label(&fs_type)),
            fs_type,
            mkfs_options: flags.mkfs_options.unwrap_or_default(),
            max_online_resize: number(
                "--max-online-resize",
                pick(flags.max_online_resize, "MAX_ONLINE_RESIZE")?.as_deref(),
            )?,
            tmpfs,
            tmp_dir: path("TMPDIR", &|| temporary.clone()),
            ccache: ccache(environment, &cache)?,
            cache,
            lockfiles: absolute(&path("DIB_LOCKFILES", &|| caches.join("dib/lockfiles")))?,
            offline: flags.offline || environment.non_empty("DIB_OFFLINE").is_some(),
            install_type: pick(flags.install_type, "DIB_DEFAULT_INSTALLTYPE")?
                .unwrap_or_else(|| "source".into()),
            ramdisk: flags.ramdisk,
            ramdisk_element,
            ramdisk_compression: compression(pick(flags.ramdisk_compression, "DIB_RAMDISK_COMPRESSION")?)?,
            docker_target: pick(flags.docker_target, "DOCKER_TARGET")?,
            docker_load: flags.docker_load || set("DIB_DOCKER_LOAD")?,
            logging: Logging::new(flags.logfile, environment),
            strict: flags.strict || strict(environment)?,
            sbom: flags.sbom || set("DIB_SBOM")?,
            repeat: Repeat::new(pick(flags.seed, "DIB_IMAGE_SEED")?, environment)?,
            isolation: Isolation::new(flags.privileges, flags.network, flags.hermetic, environment)?,
            line: flags.line,
        })
    }
}

/// How much more than the caller's variable says is to be traced.
fn trace(more: u8, environment: &Environment) -> Result<u32> {
    let inherited = number::<u32>("DIB_DEBUG_TRACE", environment.text("DIB_DEBUG_TRACE")?)?;
    Ok(inherited.unwrap_or(0).saturating_add(more.into()))
}

/// The default where no word is given.
fn compression(word: Option<String>) -> Result<Compression> {
    word.map_or_else(|| Ok(Compression::default()), |word| word.parse())
}

impl Repeat {
    fn new(seed: Option<String>, environment: &Environment) -> Result<Self> {
        Ok(Self {
            epoch: number("SOURCE_DATE_EPOCH", environment.text("SOURCE_DATE_EPOCH")?)?,
            seed,
        })
    }
}

impl Isolation {
    /// A hermetic build has no network, whatever else is said of it.
    fn new(
        tier: Option<String>,
        network: Option<String>,
        hermetic: bool,
        environment: &Environment,
    ) -> Result<Self> {
        let word = |flag: Option<String>, name| match flag {
            Some(word) => Ok(Some(word)),
            None => environment.text(name).map(|text| text.map(str::to_owned)),
        };
        let hermetic = hermetic || !matches!(environment.text("DIB_HERMETIC")?, None | Some("0"));
        let tier = word(tier, "DIB_PRIVILEGES")?;
        let network = word(network, "DIB_NETWORK")?;
        Ok(Self {
            tier: tier.map(|word| word.parse()).transpose()?,
            network: match network {
                _ if hermetic => Network::None,
                Some(word) => word.parse()?,
                None => Network::Host,
            },
        })
    }
}

impl Logging {
    /// A log that goes to a file goes nowhere else, unless `DIB_QUIET` says so.
    fn new(file: Option<PathBuf>, environment: &Environment) -> Self {
        let quiet = environment.get("DIB_QUIET");
        Self {
            quiet: quiet.map_or(file.is_some(), |quiet| quiet == "1"),
            timestamps: environment.get("DIB_NO_TIMESTAMP").is_none_or(|no| no != "1"),
            file,
        }
    }
}

impl Settings {
    /// What is odd about them, though a build may be right.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !ARCHITECTURES.contains(&self.arch.as_str()) {
            let meant = nearest(&self.arch, ARCHITECTURES);
            let meant = meant.map_or(String::new(), |near| format!("; did you mean {near}?"));
            warnings.push(format!("unknown architecture '{}'{meant}", self.arch));
        }
        warnings.extend(self.idle_options());
        warnings
    }

    /// Options of the command line that a ramdisk has no use for.
    fn idle_options(&self) -> Option<String> {
        let rows = origins::ROWS.iter().zip(&self.origins);
        let idle: Vec<&str> = rows
            .filter_map(|(row, origin)| match origin {
                Origin::Flag(option) if OF_IMAGES.contains(&row.name) => Some(*option),
                _ => None,
            })
            .collect();
        (self.ramdisk && !idle.is_empty()).then(|| {
            format!(
                "without effect: {}; a ramdisk build makes {name}.initramfs and {name}.kernel, and no image",
                idle.join(", "),
                name = self.name
            )
        })
    }

    /// Notes that a setting has another origin than it seemed.
    pub fn set(&mut self, name: &str, origin: Origin) {
        if let Some(at) = origins::ROWS.iter().position(|row| row.name == name) {
            self.origins[at] = origin;
        }
    }

    /// How long a disk shall be, in whole 64 KiB; `None`: as long as it needs.
    pub fn disk_size(&self) -> Option<u64> {
        match self.size {
            SizeRule::Kib(kib) => Some(kib.next_multiple_of(64).saturating_mul(1024)),
            _ => None,
        }
    }

    /// Whether the size was said by a variable.
    pub fn size_is_inherited(&self) -> bool {
        let row = origins::ROWS.iter().position(|row| row.name == "size");
        row.is_some_and(|row| matches!(self.origins[row], Origin::Environment(_)))
    }

    /// The name of the outputs without the directory.
    pub fn base_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

/// Words without the empty ones of `-p ""` and `-p a,,b`.
fn named(mut words: Vec<String>) -> Vec<String> {
    words.retain(|word| !word.trim().is_empty());
    words
}

/// Whether the environment wants an operating system to be named.
pub fn strict(environment: &Environment) -> Result<bool> {
    Ok(!matches!(environment.text("DIB_STRICT")?, None | Some("0")))
}

/// The directories of `ELEMENTS_PATH`.
pub fn elements_path(environment: &Environment) -> Vec<PathBuf> {
    let path = environment.non_empty("ELEMENTS_PATH").unwrap_or_default();
    std::env::split_paths(path)
        .filter(|dir| !dir.as_os_str().is_empty())
        .collect()
}

/// The name of the outputs, and their formats with raw last: it alone needs no copy where the file system can clone.
fn outputs(types: &[String], name: Option<String>) -> Result<(String, Vec<Format>)> {
    let mut formats: Vec<Format> = Vec::new();
    for word in types {
        let format = Format::from_str(word)?;
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    if formats.is_empty() {
        formats.push(Format::Qcow2);
    }
    let mut name = name.unwrap_or_else(|| "image".into());
    if let [format] = &formats[..]
        && let Some(stem) = name.strip_suffix(&format!(".{}", format.suffix()))
    {
        name.truncate(stem.len());
    }
    if matches!(name.rsplit('/').next(), None | Some("" | "." | "..")) {
        let message = format!("-o: '{name}' ends in no name that an image could have");
        return Err(Error::usage(message).hint("for example: -o images/web"));
    }
    formats.sort_by_key(|format| *format == Format::Raw);
    Ok((name, formats))
}

/// Who shall take a VHD: Xen, for whom the original program writes it, unless another is named.
fn vhd_profile(word: Option<&str>) -> Result<vhd::Profile> {
    let Some(word) = word else {
        return Ok(vhd::Profile::Xen);
    };
    vhd::Profile::of(word).ok_or_else(|| {
        let words = [vhd::Profile::WORDS, vhd::options::Creator::WORDS].concat();
        let error = Error::usage(format!("--vhd-creator: '{word}' is unknown"));
        match nearest(word, words.iter().copied()) {
            Some(near) => error.hint(format!("did you mean {near}?")),
            None => error.hint(format!("the words are {}", words.join(", "))),
        }
    })
}

fn squashfs_compression(word: Option<&str>) -> Result<squashfs::Compression> {
    let Some(word) = word else {
        return Ok(squashfs::Compression::Xz);
    };
    let words = squashfs::Compression::WORDS;
    let found = words.iter().find(|(known, _)| *known == word);
    found.map(|(_, compression)| *compression).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let error = Error::usage(format!("--squashfs-compression: '{word}' is unknown"));
        error.hint(format!("the words are {}", words.join(", ")))
    })
}

/// Words for architectures that elements are known to understand.
const ARCHITECTURES: [&str; 16] = [
    "aarch64", "amd64", "arm64", "armel", "armhf", "i386", "loong64", "mips64el", "powerpc", "ppc64",
    "ppc64el", "ppc64le", "riscv64", "s390x", "x86_64", "i686",
];

/// The words to resolve: what makes a ramdisk, if it shall be one, `base` unless it is left out, the inherited ones,
/// those of the command line. The element `vm` wants a disk with partitions: the usual ones of the architecture, unless
/// a word names others.
fn element_words(
    ramdisk: Option<&str>,
    skip_base: bool,
    given: &[String],
    arch: &str,
    environment: &Environment,
) -> Result<Vec<(String, WordOrigin)>> {
    let skip_base = skip_base || environment.get("SKIP_BASE").is_some_and(|skip| skip == "1");
    let base = (!skip_base).then(|| ("base".to_owned(), WordOrigin::Base));
    let inherited = environment.text("IMAGE_ELEMENT")?.unwrap_or_default();
    let inherited = inherited.split_whitespace();
    let ramdisk = ramdisk.map(|word| (word.to_owned(), WordOrigin::Ramdisk));
    let mut words: Vec<_> = ramdisk
        .into_iter()
        .chain(base)
        .chain(inherited.map(|word| (word.to_owned(), WordOrigin::Inherited)))
        .chain(given.iter().map(|word| (word.clone(), WordOrigin::Given)))
        .collect();
    let partitioned = words.iter().any(|(word, _)| word.starts_with("block-device-"));
    if words.iter().any(|(word, _)| word == "vm") && !partitioned {
        let efi = ["arm64", "aarch64"].contains(&arch);
        let word = if efi {
            "block-device-efi"
        } else {
            "block-device-mbr"
        };
        words.push((word.into(), WordOrigin::ForVm));
    }
    Ok(words)
}

/// The directory of the cache of compilations, as far as it is wanted.
fn ccache(environment: &Environment, cache: &Path) -> Result<Option<PathBuf>> {
    match environment.text("DIB_CCACHE")? {
        Some("0") => Ok(None),
        None | Some("1" | "auto") => {
            let dir = environment.non_empty("DIB_CCACHE_DIR").map(PathBuf::from);
            absolute(&dir.unwrap_or_else(|| cache.join("ccache"))).map(Some)
        }
        Some(other) => Err(Error::usage(format!(
            "DIB_CCACHE: '{other}' is none of 0, 1 and auto"
        ))),
    }
}

fn checksums(flag: bool, variable: Option<&str>) -> Checksums {
    match variable {
        _ if flag => Checksums {
            md5: true,
            sha256: true,
        },
        Some("1") => Checksums {
            md5: true,
            sha256: true,
        },
        text => Checksums {
            md5: text.is_some_and(|text| text.contains("md5")),
            sha256: text.is_some_and(|text| text.contains("sha256")),
        },
    }
}

fn tmpfs(flags: &Flags, environment: &Environment) -> Result<Tmpfs> {
    // Hardened Gentoo needs extended attributes, which not every kernel's tmpfs keeps.
    let hardened = |profile: &str| profile.contains("hardened");
    // Trees of ramdisks are small, the tmpfs would be half of the memory: it must be asked for.
    let no = flags.no_tmpfs
        || environment
            .text("DIB_NO_TMPFS")?
            .map_or(flags.ramdisk, |no| no != "0")
        || environment.text("GENTOO_PROFILE")?.is_some_and(hardened);
    if no {
        return Ok(Tmpfs::No);
    }
    let given = match &flags.min_tmpfs {
        Some(flag) => Some(flag.as_str()),
        None => environment.text("DIB_MIN_TMPFS")?,
    };
    let kib = gib("--min-tmpfs", given.unwrap_or("2"))?;
    Ok(Tmpfs::With { kib })
}

/// Any of the options beats both variables.
fn size(flags: &Flags, environment: &Environment) -> Result<SizeRule> {
    let text = |name: &str| environment.text(name).map(|text| text.map(str::to_owned));
    match (flags.image_size.clone(), flags.image_extra_size.clone()) {
        (None, None) => size_rule(
            flags.minimal,
            text("DIB_IMAGE_SIZE")?,
            text("DIB_IMAGE_EXTRA_SIZE")?,
        ),
        (size, extra) => size_rule(flags.minimal, size, extra),
    }
}

fn size_rule(minimal: bool, size: Option<String>, extra: Option<String>) -> Result<SizeRule> {
    match (size, extra) {
        _ if minimal => Ok(SizeRule::Minimal),
        (Some(size), _) => match gib("--image-size", &size)? {
            0 => Err(Error::usage(format!("--image-size: '{size}' holds nothing"))),
            kib => Ok(SizeRule::Kib(kib)),
        },
        (None, Some(extra)) => decimal("--image-extra-size", &extra).map(SizeRule::Extra),
        (None, None) => Ok(SizeRule::Headroom),
    }
}

/// GiB, decimal perhaps, as KiB.
fn gib(what: &str, text: &str) -> Result<u64> {
    let kib = decimal(what, text)? * 1024.0 * 1024.0;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounds down; decimal() gave a number between 0 and 10^9"
    )]
    Ok(kib as u64)
}

fn decimal(what: &str, text: &str) -> Result<f64> {
    let number = text
        .trim()
        .parse()
        .ok()
        .filter(|number| (0.0..=1e9).contains(number));
    number.ok_or_else(|| Error::usage(format!("{what}: '{text}' is no size")))
}

fn number<T: FromStr>(what: &str, text: Option<&str>) -> Result<Option<T>> {
    let parse = |text: &str| text.trim().parse();
    let number = text.map(parse).transpose();
    number.map_err(|_| Error::usage(format!("{what}: '{}' is no number", text.unwrap_or_default())))
}

fn default_label(fs_type: &str) -> String {
    // xfs has room for 12 characters.
    let label = if fs_type == "xfs" {
        "img-rootfs"
    } else {
        "cloudimg-rootfs"
    };
    label.into()
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).host(|| format!("cannot tell where {} is", path.display()))
}

/// The host's architecture, in the words of Debian: that of its packages where it has such, else the kernel's.
pub fn host_arch() -> String {
    let status = std::fs::read("/var/lib/dpkg/status").unwrap_or_default();
    dpkg_arch(&String::from_utf8_lossy(&status)).map_or_else(kernel_arch, str::to_owned)
}

/// The architecture of the package `dpkg` itself, which is what it calls the host's.
fn dpkg_arch(status: &str) -> Option<&str> {
    let (_, stanza) = status.split_once("Package: dpkg\n")?;
    let mut fields = stanza.lines().take_while(|line| !line.is_empty());
    fields.find_map(|line| line.strip_prefix("Architecture: "))
}

fn kernel_arch() -> String {
    let machine = rustix::system::uname().machine().to_string_lossy().into_owned();
    match machine.as_str() {
        "x86_64" => "amd64".into(),
        "aarch64" => "arm64".into(),
        "i386" | "i486" | "i586" | "i686" => "i386".into(),
        "ppc64le" => "ppc64el".into(),
        arm if arm.starts_with("armv") => "armhf".into(),
        _ => machine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: Flags, variables: &[(&str, &str)]) -> Result<Settings> {
        let mut environment = Environment::default();
        for (name, value) in variables {
            environment.set(*name, *value);
        }
        let elements = if flags.elements.is_empty() {
            vec!["os".into()]
        } else {
            flags.elements.clone()
        };
        Settings::new(Flags { elements, ..flags }, &environment)
    }

    #[test]
    fn empty_words_name_no_package() {
        let flags = Flags {
            packages: ["a", "", "b", " "].map(str::to_owned).to_vec(),
            ..Flags::default()
        };
        assert_eq!(settings(flags, &[]).unwrap().packages, ["a", "b"]);
    }

    #[test]
    fn flag_beats_variable_beats_default() {
        let flag = Flags {
            arch: Some("armhf".into()),
            ..Flags::default()
        };
        assert_eq!(settings(flag, &[("ARCH", "s390x")]).unwrap().arch, "armhf");
        assert_eq!(
            settings(Flags::default(), &[("ARCH", "s390x")]).unwrap().arch,
            "s390x"
        );
        let default = settings(Flags::default(), &[]).unwrap();
        assert_eq!(default.elements, ["base", "os"]);
        assert_eq!(
            (default.name.as_str(), &default.formats[..]),
            ("image", &[Format::Qcow2][..])
        );
        assert_eq!(default.root_label, "cloudimg-rootfs");
        let xfs = settings(Flags::default(), &[("FS_TYPE", "xfs")]).unwrap();
        assert_eq!(xfs.root_label, "img-rootfs");
        let more = settings(Flags::default(), &[("IMAGE_ELEMENT", "a b"), ("SKIP_BASE", "1")]).unwrap();
        assert_eq!(more.elements, ["a", "b", "os"]);
    }

    #[test]
    fn a_vm_gets_the_usual_partitions_unless_others_are_named() {
        let words = |arch: &str, line: &str| {
            let flags = Flags {
                elements: line.split_whitespace().map(str::to_owned).collect(),
                skip_base: true,
                ..Flags::default()
            };
            settings(flags, &[("ARCH", arch)]).unwrap().elements.join(" ")
        };
        assert_eq!(words("amd64", "os vm"), "os vm block-device-mbr");
        assert_eq!(words("arm64", "vm os"), "vm os block-device-efi");
        assert_eq!(words("amd64", "vm block-device-gpt os"), "vm block-device-gpt os");
        assert_eq!(words("amd64", "os"), "os");
    }

    #[test]
    fn an_unknown_architecture_is_odd_but_allowed() {
        let warnings = |arch: &str| settings(Flags::default(), &[("ARCH", arch)]).unwrap().warnings();
        assert_eq!(warnings("i386"), [""; 0]);
        assert_eq!(
            warnings("amd46"),
            ["unknown architecture 'amd46'; did you mean amd64?"]
        );
        assert_eq!(warnings("quantum"), ["unknown architecture 'quantum'"]);
    }

    #[test]
    fn the_host_is_what_its_dpkg_is() {
        let status = "Package: dpkg-dev\nArchitecture: all\n\nPackage: dpkg\nStatus: install ok installed\n\
                      Architecture: armel\n\nPackage: z\nArchitecture: armhf\n";
        assert_eq!(dpkg_arch(status), Some("armel"));
        assert_eq!(dpkg_arch("Package: dpkg\n\nArchitecture: x\n"), None);
        assert_eq!(dpkg_arch(""), None);
    }

    #[test]
    fn a_suffix_is_cut_off_for_a_single_type_only() {
        let named = |types: &[&str]| {
            let types: Vec<String> = types.iter().map(|word| (*word).into()).collect();
            outputs(&types, Some("d/n.qcow2".into())).unwrap()
        };
        assert_eq!(named(&[]), ("d/n".into(), vec![Format::Qcow2]));
        assert_eq!(named(&["raw"]).0, "d/n.qcow2");
        assert_eq!(
            named(&["raw", "qcow2", "raw"]),
            ("d/n.qcow2".into(), vec![Format::Qcow2, Format::Raw])
        );
    }

    #[test]
    fn sizes_are_decimal() {
        let rule = |size: Option<&str>, extra: Option<&str>| {
            size_rule(false, size.map(Into::into), extra.map(Into::into))
        };
        assert_eq!(rule(Some("0.1"), None).unwrap(), SizeRule::Kib(104_857));
        assert_eq!(rule(Some("2"), Some("1")).unwrap(), SizeRule::Kib(2 << 20));
        assert_eq!(rule(None, Some("10")).unwrap(), SizeRule::Extra(10.0));
        assert_eq!(rule(None, None).unwrap(), SizeRule::Headroom);
        for bad in ["", "5k", "-3", "nan", "inf"] {
            assert!(rule(Some(bad), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn checksums_by_flag_or_word() {
        let both = Checksums {
            md5: true,
            sha256: true,
        };
        assert_eq!(checksums(true, None), both);
        assert_eq!(checksums(false, Some("1")), both);
        assert_eq!(checksums(false, Some("md5,sha256")), both);
        assert_eq!(
            checksums(false, Some("sha256")),
            Checksums {
                md5: false,
                sha256: true
            }
        );
        assert_eq!(checksums(false, Some("0")), Checksums::default());
    }

    #[test]
    fn a_log_file_makes_quiet_unless_told_otherwise() {
        let flags = || Flags {
            logfile: Some("log".into()),
            ..Flags::default()
        };
        assert!(settings(flags(), &[]).unwrap().logging.quiet);
        assert!(!settings(flags(), &[("DIB_QUIET", "0")]).unwrap().logging.quiet);
        assert!(
            settings(Flags::default(), &[("DIB_QUIET", "1")])
                .unwrap()
                .logging
                .quiet
        );
    }
}

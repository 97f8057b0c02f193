//! `deb-bootstrap [OPTION...] SUITE TARGET [MIRROR]`: a Debian or Ubuntu root out of its archive, by [`crate::bootstrap`].
//!
//! Arguments are those of `debootstrap`, as far as they make sense here; the others are refused by name, with the reason.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use clap::Parser;

use super::tier;
use crate::bootstrap::archive::Judgement;
use crate::bootstrap::lock::Lock;
use crate::bootstrap::repository;
use crate::bootstrap::signature::Keyring;
use crate::bootstrap::sources::Source;
use crate::bootstrap::store::Store;
use crate::bootstrap::{self, Wish, foreign};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Result};
use crate::sandbox::rooted::Rooted;
use crate::ui;

/// Makes a Debian or Ubuntu root out of its archive.
#[derive(Debug, Parser)]
#[command(name = "deb-bootstrap")]
#[allow(clippy::struct_excessive_bools, reason = "a command line has switches")]
struct Args {
    /// The architecture, this machine's by default
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Which base: minbase is the one there is
    #[arg(long, value_name = "NAME", default_value = "minbase")]
    variant: String,
    /// Components of MIRROR
    #[arg(long, value_name = "NAME,...", default_value = "main", value_delimiter = ',')]
    components: Vec<String>,
    /// Packages besides the base
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    include: Vec<String>,
    /// Packages that must not be in the root
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    exclude: Vec<String>,
    /// A key ring to believe, in the place of those of Debian and Ubuntu
    #[arg(long, value_name = "FILE")]
    keyring: Vec<PathBuf>,
    /// Another suite to take packages from, a line of apt's sources.list
    #[arg(long, value_name = "LINE")]
    source: Vec<String>,
    /// Take suites that nobody signed
    #[arg(long, visible_alias = "no-check-sig")]
    no_check_gpg: bool,
    /// Take suites that are past their time
    #[arg(long)]
    no_check_valid_until: bool,
    /// Write the packages down, each with its version and digest
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Take the packages that were written down, and ask the archive for no others
    #[arg(long, value_name = "FILE", conflicts_with = "lock")]
    locked: Option<PathBuf>,
    /// Lay the locked packages that come later into the root, as an archive at /var/cache/dib-locked
    #[arg(long, requires = "locked")]
    repository: bool,
    /// Choose packages, and write them down with --lock, but make no root
    #[arg(long)]
    print_packages: bool,
    /// Where to keep what is fetched
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Accepted, since debootstrap has them: this is how it works anyway
    #[arg(long, hide = true)]
    verbose: bool,
    #[arg(long, hide = true)]
    merged_usr: bool,
    #[arg(long, hide = true, visible_alias = "force-check-sig")]
    force_check_gpg: bool,
    /// Its name or code name
    suite: String,
    /// An empty directory
    target: PathBuf,
    /// Address of the archive, that of `DIB_DISTRIBUTION_MIRROR` by default
    mirror: Option<String>,
}

/// Arguments of debootstrap that make no sense here, and why.
const REFUSED: [(&str, &str); 21] = [
    (
        "--foreign",
        "programs of other architectures run by binfmt_misc, and there is one stage only",
    ),
    ("--second-stage", "there is one stage only"),
    ("--second-stage-target", "there is one stage only"),
    (
        "--no-merged-usr",
        "no suite that is kept has /bin beside /usr/bin",
    ),
    (
        "--download-only",
        "what is fetched is kept in the cache; --print-packages fetches none",
    ),
    (
        "--unpack-tarball",
        "--locked and the cache make the same root again",
    ),
    ("--make-tarball", "--lock and the cache make the same root again"),
    ("--cache-dir", "--cache names the cache"),
    ("--keep-debootstrap-dir", "nothing is left in the root"),
    ("--extractor", "packages are unpacked in-process"),
    (
        "--no-resolve-deps",
        "a root without what its packages need does not work",
    ),
    ("--resolve-deps", "it is always done"),
    (
        "--no-check-certificate",
        "SSL_CERT_FILE names certificates to believe",
    ),
    ("--certificate", "no archive asks for one"),
    ("--private-key", "no archive asks for one"),
    ("--ca-certificate", "SSL_CERT_FILE names certificates to believe"),
    ("--log-extra-deps", "--print-packages prints every package"),
    ("--extra-suites", "--source names other suites"),
    ("--setup-hook", "hooks of elements do that"),
    ("--customize-hook", "hooks of elements do that"),
    ("--aptopt", "hooks of elements write apt's configuration"),
];

/// Runs the command.
pub fn run(args: &[OsString]) -> u8 {
    let name = |word: &OsString| {
        word.to_string_lossy()
            .split('=')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let refused = args
        .iter()
        .map(name)
        .find_map(|word| REFUSED.iter().find(|(refused, _)| *refused == word));
    if let Some((word, why)) = refused {
        ui::error(&Error::usage(format!(
            "deb-bootstrap: {word} is not for this: {why}"
        )));
        return 1;
    }
    let args: Args = match super::parsed(args) {
        Ok(args) => args,
        Err(status) => return status,
    };
    match bootstrap(&args, &Environment::capture()) {
        Ok(()) => 0,
        Err(error) => {
            ui::error(&error);
            error.kind().status()
        }
    }
}

fn bootstrap(args: &Args, environment: &Environment) -> Result<()> {
    let start = Instant::now();
    if args.variant != "minbase" {
        let told = format!("there is no variant '{}', only minbase", args.variant);
        return Err(Error::usage(told).hint("--include adds packages"));
    }
    let wish = wish(args, environment)?;
    foreign::must_run(&wish.architecture)?;
    let judgement = Judgement {
        keyrings: match &args.keyring[..] {
            [] => Keyring::shipped()?,
            paths => paths
                .iter()
                .map(|path| Keyring::open(path))
                .collect::<Result<_>>()?,
        },
        unsigned: args.no_check_gpg,
        expired: args.no_check_valid_until,
        now: SystemTime::now(),
    };
    if !args.print_packages {
        must_be_empty(&args.target)?;
    }
    let store = Store::open(&cache(args, environment)?, environment)?;
    let (lock, locked) = (args.lock.as_deref(), args.locked.as_deref());
    let chosen = bootstrap::settle_packages(&wish, &store, &judgement, lock, locked)?;
    if args.print_packages {
        for package in &chosen {
            ui::print(format_args!(
                "{} {} {}\n",
                package.name, package.version, package.architecture
            ))?;
        }
        return Ok(());
    }
    let mebibytes = |bytes: u64| format!("{}.{} MiB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20);
    ui::note(format_args!(
        "deb-bootstrap: {} for {}: {} packages, {}",
        wish.suite,
        wish.architecture,
        chosen.len(),
        mebibytes(bootstrap::size_of(&chosen))
    ));
    let tier = tier(environment)?;
    crate::sandbox::own_mounts(tier).host(|| "cannot have mounts of my own".to_owned())?;
    bootstrap::build(&wish, &chosen, &store, &args.target, tier, environment)?;
    if args.repository {
        let later = locked
            .map(Lock::read)
            .transpose()?
            .map_or(Vec::new(), |lock| lock.later);
        let tree = Rooted::open(&args.target).host(|| format!("cannot open {}", args.target.display()))?;
        repository::lay(&wish.sources, &later, &store, &tree)?;
    }
    ui::note(format_args!(
        "deb-bootstrap: done in {:.1} s, {} of it fetched",
        start.elapsed().as_secs_f64(),
        mebibytes(store.fetched())
    ));
    Ok(())
}

fn wish(args: &Args, environment: &Environment) -> Result<Wish> {
    let mirror = match &args.mirror {
        Some(mirror) => Some(mirror.as_str()),
        None => environment
            .text("DIB_DISTRIBUTION_MIRROR")?
            .filter(|mirror| !mirror.is_empty()),
    };
    let words = |words: &[String]| -> Vec<String> {
        let words = words
            .iter()
            .flat_map(|word| word.split([',', ' ']))
            .filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    };
    let mut sources = Vec::new();
    if let Some(mirror) = mirror {
        sources.push(Source::of_mirror(mirror, &args.suite, &words(&args.components))?);
    }
    for line in &args.source {
        let source = Source::parse(line)?;
        sources.extend(source.filter(|source| !sources.contains(source)));
    }
    if sources.is_empty() {
        let error = Error::usage("no archive to take packages from");
        return Err(error.hint("name one after the target, or in DIB_DISTRIBUTION_MIRROR"));
    }
    Ok(Wish {
        suite: args.suite.clone(),
        architecture: args.arch.clone().unwrap_or_else(|| foreign::native().to_owned()),
        sources,
        include: words(&args.include),
        exclude: words(&args.exclude),
    })
}

fn cache(args: &Args, environment: &Environment) -> Result<PathBuf> {
    if let Some(cache) = &args.cache {
        return Ok(cache.clone());
    }
    if let Some(cache) = environment.non_empty("DIB_IMAGE_CACHE") {
        return Ok(cache.into());
    }
    let home = environment.non_empty("HOME").map(Path::new);
    let home = home.ok_or_else(|| Error::usage("no cache: neither DIB_IMAGE_CACHE nor HOME is set"))?;
    Ok(home.join(".cache/image-create"))
}

/// Refuses a target that holds anything: it would be mixed with the root, and two roots are none.
fn must_be_empty(target: &Path) -> Result<()> {
    let tried = || format!("cannot read {}", target.display());
    std::fs::create_dir_all(target).host(|| format!("cannot make {}", target.display()))?;
    for entry in std::fs::read_dir(target).host(tried)? {
        let name = entry.host(tried)?.file_name();
        if name != "lost+found" {
            let told = format!("{} is not empty: it has '{}'", target.display(), name.display());
            return Err(Error::usage(told));
        }
    }
    Ok(())
}

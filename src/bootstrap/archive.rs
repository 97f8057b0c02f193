//! A suite of an archive: described, verified, and its indexes read.
//!
//! - Nothing of a description is used before its signature was verified, and then only the text that was signed.
//! - An index is what the description says it is, byte for byte, or it is not used.
//! - What is past its time is refused: somebody may show an old archive for the sake of an old hole.

use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::release::Release;
use super::signature::{Keyring, verify_detached, verify_inline};
use super::sources::Source;
use super::store::Store;
use crate::error::{Context as _, Error, Kind, Result};
use crate::ui;
use crate::unpack::decompressed;

/// An index may not grow beyond that: what is unpacked is kept in memory.
const INDEX_MAX: u64 = 1 << 30;

/// The forms of an index, the one that is best to have first.
const FORMS: [&str; 4] = [".xz", ".zst", ".gz", ""];

/// How archives are judged.
#[derive(Debug)]
pub struct Judgement {
    /// Who is believed.
    pub keyrings: Vec<Keyring>,
    /// Whether suites that nobody signed are taken.
    pub unsigned: bool,
    /// Whether suites that are past their time are taken.
    pub expired: bool,
    /// The time.
    pub now: SystemTime,
}

/// The text of the packages of a suite for an architecture.
#[derive(Debug)]
pub struct Packages {
    /// Where they come from.
    pub archive: String,
    /// The text.
    pub text: String,
}

/// Reads the indexes of a suite.
pub fn packages(
    source: &Source,
    architecture: &str,
    store: &Store,
    judgement: &Judgement,
) -> Result<Vec<Packages>> {
    let release = described(source, store, judgement)?;
    let fail = |told: String| Error::new(Kind::Host, format!("{source}: {told}"));
    if !release.architectures.is_empty() && !release.architectures.iter().any(|name| name == architecture) {
        let known = release.architectures.join(", ");
        return Err(fail(format!("it has no packages for {architecture}")).hint(format!("it has {known}")));
    }
    let mut all = Vec::new();
    for component in &source.components {
        let mut found = false;
        let second = (!release.all_in_each).then_some("all");
        for architecture in std::iter::once(architecture).chain(second) {
            let path = format!("{component}/binary-{architecture}/Packages");
            if let Some(text) = index(source, &release, &path, store)? {
                found = true;
                let archive = source.archive.clone();
                all.push(Packages { archive, text });
            }
        }
        if !found {
            let known = release.components.join(", ");
            return Err(fail(format!("it has no component {component}")).hint(format!("it has {known}")));
        }
    }
    Ok(all)
}

/// The text of an index; `None`: the suite has none of that path.
fn index(source: &Source, release: &Release, path: &str, store: &Store) -> Result<Option<String>> {
    let forms = FORMS.iter().map(|form| format!("{path}{form}"));
    let mut known = forms.filter_map(|form| release.files.get_key_value(&form));
    let Some((name, (size, sha256))) = known.next() else {
        return Ok(None);
    };
    let at = if release.by_hash {
        let (dir, _) = name.rsplit_once('/').unwrap_or_default();
        format!("{dir}/by-hash/SHA256/{sha256}")
    } else {
        name.clone()
    };
    let what = format!("{name} of {source}");
    let file = store.by_digest(&source.url_of(&at)?, sha256, *size, &what)?;
    text_of(&file)
        .map(Some)
        .map_err(|error| Error::new(Kind::Host, format!("cannot read {what}")).because(error))
}

fn text_of(path: &Path) -> Result<String> {
    let tried = || format!("cannot read {}", path.display());
    let file = File::open(path).host(tried)?;
    let mut text = Vec::new();
    let mut reader = decompressed(BufReader::new(file)).host(tried)?.take(INDEX_MAX);
    reader.read_to_end(&mut text).host(tried)?;
    if text.len() as u64 == INDEX_MAX {
        return Err(Error::new(
            Kind::Host,
            format!("it unpacks to more than {INDEX_MAX} bytes"),
        ));
    }
    String::from_utf8(text).host(tried)
}

/// What a suite says of itself, if one may believe it.
fn described(source: &Source, store: &Store, judgement: &Judgement) -> Result<Release> {
    let own = source.signed_by.as_deref().map(Keyring::open).transpose()?;
    let rings = own.as_ref().map_or(&judgement.keyrings[..], std::slice::from_ref);
    let fail = |told: String| Error::new(Kind::Host, format!("{source}: {told}"));
    let what = |name: &str| format!("{name} of {source}");
    let unsigned = judgement.unsigned || source.trusted;
    let signed = store.release(&source.url_of("InRelease")?, &what("InRelease"))?;
    let (name, text, ring) = if let Some(bytes) = signed {
        let (text, ring) = inline(source, store, &bytes, rings, unsigned, judgement.now)?;
        ("InRelease", text, ring)
    } else {
        let (text, ring) = apart(source, store, rings, unsigned, judgement.now)?;
        ("Release", text, ring)
    };
    let release = Release::parse(&text).map_err(|error| fail(format!("{name} makes no sense: {error}")))?;
    if let Some(ring) = ring.filter(|ring| !ring.may_sign(&release.origin)) {
        let told = format!("{ring} signed {name}, but it says to be of '{}'", release.origin);
        return Err(untrusted(fail(told)));
    }
    in_time(&release, name, judgement).map_err(|told| {
        fail(told).hint(
            "a mirror that is no longer updated needs --no-check-valid-until in DIB_DEBOOTSTRAP_EXTRA_ARGS",
        )
    })?;
    Ok(release)
}

/// The text in an `InRelease`, and whoever signed it.
fn inline<'a>(
    source: &Source,
    store: &Store,
    bytes: &[u8],
    rings: &'a [Keyring],
    unsigned: bool,
    now: SystemTime,
) -> Result<(String, Option<&'a Keyring>)> {
    match verify_inline(bytes, rings, now) {
        Ok((text, ring)) => Ok((text, Some(ring))),
        Err(error) if unsigned => {
            ui::warn(format_args!(
                "{source}: InRelease: {error}; it is taken, as asked"
            ));
            let text = String::from_utf8_lossy(bytes).into_owned();
            Ok((without_armor(&text).to_owned(), None))
        }
        Err(error) => {
            store.forget_release(&source.url_of("InRelease")?);
            let told = format!("{source}: InRelease: {error}");
            Err(untrusted(Error::new(Kind::Host, told)))
        }
    }
}

/// `Release`, and whoever signed it in `Release.gpg`.
fn apart<'a>(
    source: &Source,
    store: &Store,
    rings: &'a [Keyring],
    unsigned: bool,
    now: SystemTime,
) -> Result<(String, Option<&'a Keyring>)> {
    let fail = |told: String| Error::new(Kind::Host, format!("{source}: {told}"));
    let what = |name: &str| format!("{name} of {source}");
    let text = store.release(&source.url_of("Release")?, &what("Release"))?;
    let text = text.ok_or_else(|| {
        fail("there is no such suite: it has neither InRelease nor Release".to_owned())
            .hint("DIB_RELEASE names the suite, DIB_DISTRIBUTION_MIRROR the archive")
    })?;
    let signature = store.release(&source.url_of("Release.gpg")?, &what("Release.gpg"))?;
    let ring = match signature {
        Some(signature) => verify_detached(&text, &signature, rings, now).map_err(|error| error.to_string()),
        None => Err("nobody signed it: there is no Release.gpg".to_owned()),
    };
    let text_in_utf8 = String::from_utf8_lossy(&text).into_owned();
    match ring {
        Ok(ring) => Ok((text_in_utf8, Some(ring))),
        Err(error) if unsigned => {
            ui::warn(format_args!("{source}: Release: {error}; it is taken, as asked"));
            Ok((text_in_utf8, None))
        }
        Err(error) => {
            for name in ["Release", "Release.gpg"] {
                store.forget_release(&source.url_of(name)?);
            }
            Err(untrusted(fail(format!("Release: {error}"))))
        }
    }
}

fn untrusted(error: Error) -> Error {
    error.hint("DIB_APT_KEYRING names the key ring of an archive that is neither Debian's nor Ubuntu's")
}

/// The text between the lines of a signed message, where nobody judges the signature.
fn without_armor(text: &str) -> &str {
    let Some((_, rest)) = text.split_once("-----BEGIN PGP SIGNED MESSAGE-----") else {
        return text;
    };
    let (_, body) = rest.split_once("\n\n").unwrap_or(("", rest));
    body.split("-----BEGIN PGP SIGNATURE-----").next().unwrap_or(body)
}

/// Whether the time of a description has come, and is not over.
fn in_time(release: &Release, name: &str, judgement: &Judgement) -> std::result::Result<(), String> {
    let written = |time: SystemTime| httpdate::fmt_http_date(time);
    if judgement.expired {
        return Ok(());
    }
    if let Some(end) = release.valid_until.filter(|end| *end <= judgement.now) {
        return Err(format!("{name} has expired: it was valid until {}", written(end)));
    }
    // The clock of a machine may be a little behind that of the archive.
    let soon = judgement.now + Duration::from_hours(24);
    if let Some(date) = release.date.filter(|date| *date > soon) {
        return Err(format!(
            "{name} is of the future, {}: is this machine's clock right?",
            written(date)
        ));
    }
    Ok(())
}

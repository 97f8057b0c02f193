//! Registries of container images: an image by its name → a layout of OCI in the cache, without an engine.
//!
//! Spec: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>, as much of it as pulling needs, and
//! <https://distribution.github.io/distribution/spec/auth/token/> for registries that want a token of everybody.
//!
//! Invariants:
//! - What is fetched by its digest has it, be it the digest of the image's name, and is fetched once for all builds.
//! - No more is taken of a registry than a document may have, or than the manifest says.
//! - `index.json` is written last: a layout that has one is whole, and serves builds that are offline.
//! - A token goes to the registry that asked for it, and to no other host.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use image_formats::oci::{DOCUMENT_MAX, Platform};
use serde::{Deserialize, Serialize};

use super::{CacheError, Entry, Wish, replace_text};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::fetch::error::FetchError;
use crate::fetch::part::Part;
use crate::fetch::url::Url;
use crate::fetch::{Fetcher, Request, hex};

/// The documents that name an image's parts, in the order of preference that does not matter: each is understood.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                        application/vnd.docker.distribution.manifest.list.v2+json, \
                        application/vnd.docker.distribution.manifest.v2+json";

/// The name of an image in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    host: String,
    repository: String,
    /// A tag, or a digest.
    reference: String,
}

/// What a manifest or an index names.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<Machine>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Machine {
    os: String,
    architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    variant: String,
}

/// An index, which names manifests, or a manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

/// The index of a layout.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

impl Name {
    /// Reads `[HOST/]REPOSITORY[:TAG][@DIGEST]`, as engines do: without a host it is one of Docker's.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
            _ => ("docker.io", name),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        let reference = digest.or(tag).unwrap_or("latest");
        let is_word = |text: &str, more: &str| {
            let plain =
                |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || more.contains(char);
            !text.is_empty() && text.chars().all(plain)
        };
        let is_tag = |text: &str| text.len() <= 128 && is_word(&text.to_ascii_lowercase(), "._-");
        let right = match digest {
            Some(digest) => digits(digest).is_some(),
            None => is_tag(reference),
        };
        let is_host = host.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[');
        let right = right && is_host;
        let parts = path.split('/');
        let right = right
            && parts
                .into_iter()
                .all(|part| is_word(part, "._-") && !part.starts_with('.'));
        let official = host == "docker.io" && !path.contains('/');
        right.then(|| Self {
            host: host.to_owned(),
            repository: format!("{}{path}", if official { "library/" } else { "" }),
            reference: reference.to_owned(),
        })
    }

    /// The address of something in the repository. Loopback speaks in the clear.
    fn url(&self, what: &str) -> Result<Url> {
        let host = match self.host.as_str() {
            "docker.io" => "registry-1.docker.io",
            host => host,
        };
        let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
        let scheme = match bare {
            "localhost" | "127.0.0.1" | "[::1]" => "http",
            _ => "https",
        };
        let text = format!("{scheme}://{host}/v2/{}/{what}", self.repository);
        Url::parse(&text).map_err(|error| Error::usage(format!("{text}: {error}")))
    }
}

/// The name as engines take it.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mark = if self.reference.contains(':') { '@' } else { ':' };
        write!(f, "{}/{}{mark}{}", self.host, self.repository, self.reference)
    }
}

/// The digits of a SHA-256.
fn digits(digest: &str) -> Option<&str> {
    let digits = digest.strip_prefix("sha256:")?;
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (digits.len() == 64 && digits.bytes().all(is_digit)).then_some(digits)
}

/// The name of a layout in the cache. No two images have the same: what may stand in a file's name and in both parts is
/// kept, every other byte is escaped, and so none of them is the comma.
fn label(name: &Name, platform: &Platform) -> String {
    let escaped = |text: String| {
        let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let bytes = text.bytes().map(|byte| match byte {
            _ if kept(byte) => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        });
        bytes.collect::<String>()
    };
    format!("{},{}", escaped(name.to_string()), escaped(platform.to_string()))
}

/// Fetches an image for a platform into the cache. Gives the layout's directory.
pub fn pull(name: &Name, platform: &Platform, cache: &Path, environment: &Environment) -> Result<PathBuf> {
    let dir = cache.join("containers").join(label(name, platform));
    let offline = environment.non_empty("DIB_OFFLINE").is_some();
    if offline && dir.join("index.json").is_file() {
        return Ok(dir);
    }
    fs::create_dir_all(dir.join("blobs/sha256")).host(|| format!("cannot make {}", dir.display()))?;
    let mut pull = Pull {
        name,
        dir: &dir,
        offline,
        environment,
        fetcher: Fetcher::accepting(environment, ACCEPTED),
    };
    let failed = |error: Error| Error::new(Kind::Host, format!("cannot pull {name}")).because(error);
    let manifest = pull.manifest(platform).map_err(failed)?;
    pull.parts(&manifest).map_err(failed)?;
    let index = Index {
        schema_version: 2,
        manifests: vec![manifest],
    };
    let written = serde_json::to_string(&index)
        .map_err(Into::into)
        .and_then(|text| {
            replace_text(&dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}\n")?;
            replace_text(&dir.join("index.json"), &text)
        });
    written.host(|| format!("cannot write {}", dir.display()))?;
    Ok(dir)
}

/// A pull under way.
struct Pull<'a> {
    name: &'a Name,
    dir: &'a Path,
    offline: bool,
    environment: &'a Environment,
    fetcher: Fetcher,
}

impl Pull<'_> {
    /// The manifest of the image for a platform, which is in the layout then.
    fn manifest(&mut self, platform: &Platform) -> Result<Descriptor> {
        let url = self.name.url(&format!("manifests/{}", self.name.reference))?;
        let bytes = self.document(&url)?;
        let document: Document = understood(&bytes, &url)?;
        let mut found = if document.manifests.is_empty() {
            Descriptor {
                media_type: document.media_type,
                digest: format!("sha256:{}", hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes))),
                size: bytes.len() as u64,
                platform: None,
                annotations: BTreeMap::new(),
            }
        } else {
            chosen(document.manifests, platform)?
        };
        self.blob("manifests", &found)?;
        found.annotations = BTreeMap::new();
        Ok(found)
    }

    /// Fetches what a manifest names.
    fn parts(&mut self, manifest: &Descriptor) -> Result<()> {
        let path = self.place(manifest)?;
        let bytes = fs::read(&path).host(|| format!("cannot read {}", path.display()))?;
        let url = self.name.url(&format!("manifests/{}", manifest.digest))?;
        let document: Document = understood(&bytes, &url)?;
        for part in document.config.iter().chain(&document.layers) {
            self.blob("blobs", part)?;
        }
        Ok(())
    }

    fn place(&self, named: &Descriptor) -> Result<PathBuf> {
        let digits = digits(&named.digest);
        let digits = digits
            .ok_or_else(|| Error::new(Kind::Host, format!("'{}' is no SHA-256 digest", named.digest)))?;
        Ok(self.dir.join("blobs/sha256").join(digits))
    }

    /// Fetches what a digest names into the layout, unless it is there.
    fn blob(&mut self, kind: &str, named: &Descriptor) -> Result<()> {
        let path = self.place(named)?;
        let url = self.name.url(&format!("{kind}/{}", named.digest))?;
        if kind == "manifests" && named.size > DOCUMENT_MAX {
            let message = format!("{url} has {} bytes, more than any document", named.size);
            return Err(Error::new(Kind::Host, message));
        }
        let wish = Wish {
            force: false,
            offline: self.offline,
            fixed: true,
            sha256: digits(&named.digest),
            len_max: Some(named.size),
        };
        let entry = Entry::at(&path);
        let obtained = entry.obtain(&self.fetcher, &url, wish, self.environment);
        let obtained = match obtained {
            Err(CacheError::Fetch(error)) if self.authorize(&error)? => {
                entry.obtain(&self.fetcher, &url, wish, self.environment)
            }
            other => other,
        };
        obtained.host(|| format!("no {}", named.digest))?;
        let meta = fs::metadata(&path).host(|| format!("cannot read {}", path.display()))?;
        if meta.len() != named.size {
            let message = format!("{url} has {} bytes, not {}", meta.len(), named.size);
            return Err(Error::new(Kind::Host, message));
        }
        Ok(())
    }

    /// Fetches the document that the image's name stands for, which may change unless that is a digest.
    fn document(&mut self, url: &Url) -> Result<Vec<u8>> {
        let sha256 = digits(&self.name.reference);
        match self.fetched(url, sha256)? {
            Ok(bytes) => Ok(bytes),
            Err(error) if self.authorize(&error)? => {
                self.fetched(url, sha256)?.host(|| "it is not given".to_owned())
            }
            Err(error) => Err(error).host(|| "it is not there".to_owned()),
        }
    }

    fn fetched(&self, url: &Url, sha256: Option<&str>) -> Result<Result<Vec<u8>, FetchError>> {
        let tried = || "cannot keep what is fetched".to_owned();
        let mut part = Part::new(tempfile::tempfile().host(tried)?);
        let request = Request {
            url,
            unless: None,
            reload: false,
            sha256: sha256.map(str::to_owned),
            len_max: Some(DOCUMENT_MAX),
        };
        if let Err(error) = self.fetcher.fetch(&request, &mut part) {
            return Ok(Err(error));
        }
        let mut bytes = Vec::new();
        let mut file = part.file();
        file.seek(SeekFrom::Start(0)).host(tried)?;
        file.read_to_end(&mut bytes).host(tried)?;
        Ok(Ok(bytes))
    }

    /// Gets a token, if that is what a failed fetch was for want of. Says whether there is one now.
    fn authorize(&mut self, error: &FetchError) -> Result<bool> {
        let Some(challenge) = error.why.challenge().and_then(Challenge::read) else {
            return Ok(false);
        };
        let registry = self.name.url("")?;
        let url = challenge.url(&format!("repository:{}:pull", self.name.repository));
        let url = Url::parse(&url).host(|| format!("the registry names {url} for a token"))?;
        if url.scheme() != registry.scheme() {
            return Err(Error::new(
                Kind::Host,
                format!("the registry names {url} for a token, which is less safe"),
            ));
        }
        let bytes = self.fetched(&url, None)?.host(|| "no token".to_owned())?;
        let token: Token = understood(&bytes, &url)?;
        let token = if token.token.is_empty() {
            token.access_token
        } else {
            token.token
        };
        let plain = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || token.is_empty() {
            return Err(Error::new(Kind::Host, format!("{url} gives no token")));
        }
        self.fetcher.bear(&registry, token);
        Ok(true)
    }
}

/// What a registry says of whom to ask for a token.
struct Challenge {
    realm: String,
    service: Option<String>,
}

impl Challenge {
    /// Reads `Bearer realm="...",service="..."`.
    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(' ')?;
        let value = |name: &str| {
            let (_, rest) = rest.split_once(&format!("{name}=\""))?;
            rest.split('"').next().map(str::to_owned)
        };
        scheme.eq_ignore_ascii_case("bearer").then_some(())?;
        Some(Self {
            realm: value("realm")?,
            service: value("service"),
        })
    }

    fn url(&self, scope: &str) -> String {
        let mut url = format!("{}?scope={scope}", self.realm);
        if let Some(service) = &self.service {
            url.push_str("&service=");
            url.push_str(service);
        }
        url
    }
}

fn understood<T: serde::de::DeserializeOwned>(bytes: &[u8], url: &Url) -> Result<T> {
    serde_json::from_slice(bytes).host(|| format!("cannot understand {url}"))
}

/// The one of several that is for a platform.
fn chosen(all: Vec<Descriptor>, platform: &Platform) -> Result<Descriptor> {
    let machines: Vec<String> = all
        .iter()
        .filter_map(|one| one.platform.as_ref())
        .map(|machine| format!("{}/{}", machine.os, machine.architecture))
        .collect();
    let fits = |machine: &Machine| {
        let variant = platform.variant.as_ref();
        machine.os == platform.os
            && machine.architecture == platform.architecture
            && variant.is_none_or(|variant| *variant == machine.variant)
    };
    let found = all
        .into_iter()
        .find(|one| one.platform.as_ref().is_some_and(fits));
    found.ok_or_else(|| {
        let message = format!("there is none for {platform}; there are: {}", machines.join(", "));
        Error::new(Kind::Host, message).hint("DIB_CONTAINER_PLATFORM names another")
    })
}

#[cfg(test)]
mod tests;

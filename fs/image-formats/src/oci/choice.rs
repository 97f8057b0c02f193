//! Which of a layout's images: by platform, and by name.

use std::fmt;

use image_core::Store;

use super::Error;
use super::documents::{Config, Descriptor, DockerImage, Index, Manifest, PlatformRecord};
use super::layers::{Layer, Proof};
use super::layout::{Digest, Layout};

/// The most images and indexes that a layout is believed to have: indexes may name one another over and over.
const ENTRIES_MAX: u32 = 4096;

/// Which image is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// For which machines.
    pub platform: Platform,
    /// Its name, with or without what stands before it: `12`, `debian:12` and `docker.io/library/debian:12` all name the
    /// last. `None`: the only one that there is.
    pub tag: Option<String>,
}

/// For which machines an image is, in the words of the Go language: `linux`, `arm64`, `v8`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The processor's architecture.
    pub architecture: String,
    /// Which kind of it; in a [`Choice`], `None` is any.
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant
            .iter()
            .try_for_each(|variant| write!(f, "/{variant}"))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tag) = &self.tag {
            write!(f, "'{tag}' ")?;
        }
        write!(f, "for {}", self.platform)
    }
}

impl From<PlatformRecord> for Platform {
    fn from(record: PlatformRecord) -> Self {
        Self {
            os: record.os,
            architecture: record.architecture,
            variant: record.variant.filter(|variant| !variant.is_empty()),
        }
    }
}

/// What images there are: the names of each, and its platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Available(pub Vec<(Vec<String>, Platform)>);

impl FromIterator<(Vec<String>, Platform)> for Available {
    fn from_iter<I: IntoIterator<Item = (Vec<String>, Platform)>>(images: I) -> Self {
        Self(images.into_iter().collect())
    }
}

impl fmt::Display for Available {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, (names, platform)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let names = if names.is_empty() {
                "an image without a name".to_owned()
            } else {
                // Whoever named them may have put anything in.
                let shown = names.iter().map(|name| name.escape_debug().to_string());
                shown.collect::<Vec<_>>().join(" or ")
            };
            write!(f, "{comma}{names} for {platform}")?;
        }
        Ok(())
    }
}

/// An image of a layout.
#[derive(Debug)]
pub(super) struct Image {
    names: Vec<String>,
    platform: Platform,
    found: Found,
}

#[derive(Debug)]
enum Found {
    /// By an index: the digest of its manifest.
    Manifest(Digest),
    /// By Docker's `manifest.json`: its layers, and where its configuration stands, with the digests of the layers.
    Docker {
        layers: Vec<String>,
        config: Vec<u8>,
        diff_ids: Vec<String>,
    },
}

impl Choice {
    /// The one image that is meant.
    pub(super) fn of(&self, mut images: Vec<Image>) -> Result<Image, Error> {
        let named = |images: &[Image], meant: &[usize]| meant.iter().map(|at| images[*at].named()).collect();
        let all: Vec<usize> = (0..images.len()).collect();
        let meant: Vec<usize> = all
            .iter()
            .copied()
            .filter(|at| self.means(&images[*at]))
            .collect();
        match &meant[..] {
            [] => Err(Error::NoSuchImage {
                choice: Box::new(self.clone()),
                available: named(&images, &all),
            }),
            [one] => Ok(images.swap_remove(*one)),
            several => Err(Error::SeveralImages {
                choice: Box::new(self.clone()),
                available: named(&images, several),
            }),
        }
    }

    fn means(&self, image: &Image) -> bool {
        let Platform {
            os,
            architecture,
            variant,
        } = &self.platform;
        let found = &image.platform;
        let variant_fits = variant.is_none() || *variant == found.variant;
        let tag_fits = self.tag.as_ref().is_none_or(|tag| {
            let ends = |name: &String| {
                let before = name.strip_suffix(tag.as_str());
                before.is_some_and(|before| before.is_empty() || before.ends_with(['/', ':']))
            };
            image.names.iter().any(ends)
        });
        *os == found.os && *architecture == found.architecture && variant_fits && tag_fits
    }
}

impl Image {
    pub(super) fn named(&self) -> (Vec<String>, Platform) {
        (self.names.clone(), self.platform.clone())
    }

    /// The layers, the lowest first.
    pub(super) fn layers<S: Store>(&self, layout: &Layout<'_, S>) -> Result<Vec<Layer>, Error> {
        match &self.found {
            Found::Manifest(digest) => {
                let manifest: Manifest = layout.document(&digest.path(), Some(*digest))?;
                manifest.layers.iter().map(Layer::of_descriptor).collect()
            }
            Found::Docker {
                layers,
                config,
                diff_ids,
            } => {
                if layers.len() != diff_ids.len() {
                    return Err(Error::LayerCount {
                        path: config.clone(),
                        digests: diff_ids.len(),
                        layers: layers.len(),
                    });
                }
                let layer = |(path, digest): (&String, &String)| {
                    Ok(Layer {
                        path: path.clone().into_bytes(),
                        proof: Proof::Unpacked(Digest::parse(digest)?),
                    })
                };
                layers.iter().zip(diff_ids).map(layer).collect()
            }
        }
    }
}

/// The images that `index.json` names, and the indexes that it names.
pub(super) fn of_index<S: Store>(layout: &Layout<'_, S>) -> Result<Vec<Image>, Error> {
    let index: Index = layout.document(b"index.json", None)?;
    let (mut images, mut left) = (Vec::new(), ENTRIES_MAX);
    collect(layout, index, &[], &mut left, &mut images)?;
    Ok(images)
}

fn collect<S: Store>(
    layout: &Layout<'_, S>,
    index: Index,
    above: &[String],
    left: &mut u32,
    images: &mut Vec<Image>,
) -> Result<(), Error> {
    for descriptor in index.manifests {
        *left = left.checked_sub(1).ok_or(Error::ManyImages(ENTRIES_MAX))?;
        let mut names = names(&descriptor);
        names.retain(|name| !name.is_empty());
        names.extend(above.iter().cloned());
        if descriptor.media_type.contains("index") || descriptor.media_type.contains("manifest.list") {
            let inner: Index = layout.named(&descriptor)?;
            collect(layout, inner, &names, left, images)?;
            continue;
        }
        let digest = Digest::parse(&descriptor.digest)?;
        // Docker lists an image once for each of its names.
        let same = |image: &&mut Image| matches!(image.found, Found::Manifest(known) if known == digest);
        if let Some(known) = images.iter_mut().find(same) {
            names.retain(|name| !known.names.contains(name));
            known.names.extend(names);
            continue;
        }
        // A part of a layout, say of one platform, lacks the blobs of the others: what is not chosen need not be there.
        let platform = match descriptor.platform.clone() {
            Some(platform) => Platform::from(platform),
            None => platform_of(layout, &descriptor)?,
        };
        // Proofs of origin stand among the images, for a platform that there is not.
        if platform.os != "unknown" {
            images.push(Image {
                names,
                platform,
                found: Found::Manifest(digest),
            });
        }
    }
    Ok(())
}

fn platform_of<S: Store>(layout: &Layout<'_, S>, descriptor: &Descriptor) -> Result<Platform, Error> {
    let manifest: Manifest = layout.named(descriptor)?;
    let config: Config = layout.named(&manifest.config)?;
    Ok(config.platform.into())
}

/// The names that a descriptor gives an image: the specification's and containerd's, which is longer.
fn names(descriptor: &Descriptor) -> Vec<String> {
    let annotation = |key| {
        descriptor
            .annotations
            .as_ref()
            .and_then(|all| all.get(key))
            .cloned()
    };
    let full = annotation("io.containerd.image.name");
    let short = annotation("org.opencontainers.image.ref.name");
    match (full, short) {
        (Some(full), Some(short)) if full.ends_with(&short) => vec![full],
        (full, short) => full.into_iter().chain(short).collect(),
    }
}

/// The images that Docker's `manifest.json` names.
pub(super) fn of_docker<S: Store>(layout: &Layout<'_, S>) -> Result<Vec<Image>, Error> {
    let all: Vec<DockerImage> = layout.document(b"manifest.json", None)?;
    let image = |image: DockerImage| {
        let path = image.config.into_bytes();
        let config: Config = layout.document(&path, digest_in(&path))?;
        Ok(Image {
            names: image.repo_tags.unwrap_or_default(),
            platform: config.platform.into(),
            found: Found::Docker {
                layers: image.layers,
                config: path,
                diff_ids: config.rootfs.diff_ids,
            },
        })
    };
    all.into_iter().map(image).collect()
}

/// The digest that a configuration's path is made of: `DIGEST.json`, or a blob's.
fn digest_in(path: &[u8]) -> Option<Digest> {
    let path = std::str::from_utf8(path).ok()?;
    let name = path.rsplit('/').next()?;
    Digest::of_digits(name.strip_suffix(".json").unwrap_or(name))
}

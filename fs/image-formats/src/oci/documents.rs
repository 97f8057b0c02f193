//! The JSON documents, with what is needed of them.
//!
//! Spec: <https://github.com/opencontainers/image-spec/blob/main/image-index.md>, `manifest.md` and `config.md` beside it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `index.json`, and whatever else lists images.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

/// What names a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<PlatformRecord>,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

/// For which machines an image is: in an index, and in an image's configuration.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PlatformRecord {
    #[serde(default)]
    pub(super) os: String,
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) variant: Option<String>,
}

/// What an image consists of.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// How an image came to be and is run.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(flatten)]
    pub(super) platform: PlatformRecord,
    pub(super) rootfs: RootFs,
}

/// The layers of an image, unpacked.
#[derive(Debug, Deserialize)]
pub(super) struct RootFs {
    #[serde(default)]
    pub(super) diff_ids: Vec<String>,
}

/// An image in Docker's own `manifest.json`, which lists several.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub(super) config: String,
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    #[serde(default)]
    pub(super) layers: Vec<String>,
}

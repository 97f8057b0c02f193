//! Container images as trees: OCI layouts, in a directory or an archive, and archives of `docker save`.
//!
//! Spec: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>; for the older archives of Docker
//! <https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format>
//!
//! [`read`] takes the layout as a tree itself, with the store of its files: a directory that was scanned, or an archive that
//! was read by [`tar`](mod@crate::tar). Of what it finds it takes the image that the [`Choice`] names, and lays its layers
//! one above the other. Their files are served from where they lie, but for compressed layers, which are unpacked once
//! to files that the caller provides.
//!
//! | module | what it is |
//! |---|---|
//! | `layout` | the files of a layout by their paths, and blobs by their digests |
//! | `documents` | the JSON documents, with what is needed of them |
//! | `choice` | which of the images |
//! | `layers` | blobs → archives that [`tar`](mod@crate::tar) reads |
//! | `archive` | the way back: one layer → an archive that is both kinds of image, [`ArchiveSink`] |
//!
//! Rules, since a layout is hostile until checked:
//! - the SHA-256 of every document and layer is compared with the one that names it, before anything is made of it;
//! - documents have [`DOCUMENT_MAX`] bytes at most;
//! - of layers hold the rules of archives, and those of whiteouts: a removed file is gone, a file may replace a
//!   directory of a lower layer and the reverse, and nothing is written through a link.

mod archive;
mod choice;
mod documents;
mod layers;
mod layout;

use std::fs::File;
use std::io;

use image_core::Store;
use image_core::tree::Tree;

pub use archive::{ArchiveOptions, ArchiveSink};
pub use choice::{Available, Choice, Platform};
pub use layout::{DOCUMENT_MAX, Digest};

use crate::tar::{self, Collected, TarStore};
use choice::Image;
use layout::Layout;

/// Why no tree could be made of a layout.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has none of the files that make it one.
    #[error("no container image: there is neither index.json nor manifest.json")]
    NotALayout,
    /// A file that another names is not there.
    #[error("{} is not in the image", .0.escape_ascii())]
    Missing(Vec<u8>),
    /// A document is none of the kind that it should be.
    #[error("cannot understand {}", path.escape_ascii())]
    Malformed {
        /// Where it stands.
        path: Vec<u8>,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A document is longer than any should be.
    #[error("{} has {len} bytes, more than the {DOCUMENT_MAX} of any document", path.escape_ascii())]
    LongDocument {
        /// Where it stands.
        path: Vec<u8>,
        /// Bytes it has.
        len: u64,
    },
    /// Indexes name more than can be meant.
    #[error("there are more than {0} images")]
    ManyImages(u32),
    /// A digest of a kind that is not known, or none at all.
    #[error("'{0}' is no SHA-256 digest")]
    BadDigest(String),
    /// A file holds something else than what it should.
    #[error("{} is damaged: its SHA-256 is {found}, not {expected}", path.escape_ascii())]
    WrongDigest {
        /// Where it stands.
        path: Vec<u8>,
        /// What it should be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A file has another length than what names it says.
    #[error("{} is damaged: it has {found} bytes, not {expected}", path.escape_ascii())]
    WrongSize {
        /// Where it stands.
        path: Vec<u8>,
        /// What it should have.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A layer of a kind that cannot be read.
    #[error("layers of the kind {0} are not supported")]
    UnsupportedLayer(String),
    /// The image has layers and the digests of more or fewer.
    #[error("{} tells of {digests} layers, but there are {layers}", path.escape_ascii())]
    LayerCount {
        /// Where the image's configuration stands.
        path: Vec<u8>,
        /// Digests that it has.
        digests: usize,
        /// Layers that there are.
        layers: usize,
    },
    /// None of the images is the one that is wanted.
    #[error("no image is {choice}; there are: {available}")]
    NoSuchImage {
        /// What is wanted.
        choice: Box<Choice>,
        /// What there is.
        available: Available,
    },
    /// Several of the images are what is wanted.
    #[error("more than one image is {choice}: choose one of {available}")]
    SeveralImages {
        /// What is wanted.
        choice: Box<Choice>,
        /// Those that are.
        available: Available,
    },
    /// A layer could not be unpacked.
    #[error("cannot unpack {}", path.escape_ascii())]
    Unpack {
        /// Where it stands.
        path: Vec<u8>,
        /// Why.
        source: io::Error,
    },
    /// There is no room to unpack a layer to.
    #[error("cannot make a file to unpack {} to", path.escape_ascii())]
    Scratch {
        /// Where the layer stands.
        path: Vec<u8>,
        /// What the system said.
        source: io::Error,
    },
    /// A layer is no archive that can be read.
    #[error("cannot read layer {number}, {}", path.escape_ascii())]
    Layer {
        /// Which, from the lowest, 1, on.
        number: usize,
        /// Where it stands.
        path: Vec<u8>,
        /// Why.
        source: tar::Error,
    },
    /// The layers do not make a tree.
    #[error(transparent)]
    Tree(tar::Error),
    /// A file of the layout could not be read.
    #[error(transparent)]
    Store(#[from] image_core::store::Error),
}

/// Reads the chosen image of a layout, whose files `store` serves. `scratch` makes a fresh file for each compressed layer.
pub fn read(
    layout: &Tree,
    store: &impl Store,
    choice: &Choice,
    scratch: &mut dyn FnMut() -> io::Result<File>,
) -> Result<(Tree, TarStore), Error> {
    let layout = Layout::new(layout, store);
    let image = choice.of(images(&layout)?)?;
    let mut collected = Collected::default();
    for (number, layer) in (1..).zip(image.layers(&layout)?) {
        let archive = layers::archive(&layout, &layer, scratch)?;
        let added = collected.layer(archive);
        added.map_err(|source| Error::Layer {
            number,
            path: layer.path,
            source,
        })?;
    }
    collected.build().map_err(Error::Tree)
}

/// What a layout holds, for those who must choose.
pub fn list(layout: &Tree, store: &impl Store) -> Result<Available, Error> {
    let images = images(&Layout::new(layout, store))?;
    Ok(images.iter().map(Image::named).collect())
}

fn images<S: Store>(layout: &Layout<'_, S>) -> Result<Vec<Image>, Error> {
    if layout.find(b"index.json").is_some() {
        choice::of_index(layout)
    } else if layout.find(b"manifest.json").is_some() {
        choice::of_docker(layout)
    } else {
        Err(Error::NotALayout)
    }
}

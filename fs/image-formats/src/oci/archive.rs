//! Container images of one layer, in one archive that is an OCI layout, and one of `docker save` besides if that is wanted:
//! both name the same blobs.
//!
//! Spec: <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>
//!
//! Invariants:
//! - the layer is the archive's third member: its digest, which is its name, is known when all of it is written, so its
//!   header is written last, in the place that was left for it;
//! - everything is a function of the layer and the options: no time but the given, no random name;
//! - holes of files are zeros in the layer, since the specification warns of sparse members.

use std::fmt;
use std::io::{self, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::ops::Range;

use image_core::Sink;
use image_core::sink::StreamSink;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::Platform;
use crate::compress::{CompressingSink, Method, StartError};
use crate::tar::{member, padded};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Where the blobs are.
const BLOBS: &str = "blobs/sha256/";

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// For which machines it is.
    pub platform: Platform,
    /// What it is called: a repository, and a tag.
    pub name: Option<(String, String)>,
    /// When it was made, as RFC 3339 has it.
    pub created: Option<String>,
    /// The level of gzip; `None`: the layer is not compressed.
    pub level: Option<u8>,
    /// Whether `docker load` shall understand it too.
    pub docker: bool,
    /// How many threads compress.
    pub threads: NonZero<usize>,
}

/// Writes the archive of an image, whose layer's bytes it receives.
///
/// The output must be fresh: empty, and of no use to anybody before [`Sink::finish`] has written the layer's name.
pub struct ArchiveSink<W: Write + Seek + Send> {
    layer: Option<Layer<Counted<W>>>,
    /// Of the layer as it comes in.
    content: Sha256,
    options: ArchiveOptions,
    output: Option<W>,
}

impl<W: Write + Seek + Send> fmt::Debug for ArchiveSink<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchiveSink")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

enum Layer<W: Write + Send> {
    Plain(StreamSink<W>),
    Gzip(CompressingSink<W>),
}

/// Passes bytes on, and counts and digests them.
struct Counted<W> {
    inner: W,
    len: u64,
    digest: Sha256,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let took = self.inner.write(bytes)?;
        self.digest.update(&bytes[..took]);
        self.len = self.len.saturating_add(length(&bytes[..took]));
        Ok(took)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A blob that is written: its digits, and how long it is.
struct Blob {
    digits: String,
    len: u64,
}

impl Blob {
    fn of(bytes: &[u8]) -> Self {
        Self {
            digits: hex(&Sha256::digest(bytes)),
            len: length(bytes),
        }
    }

    fn path(&self) -> String {
        format!("{BLOBS}{}", self.digits)
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({"mediaType": kind, "digest": format!("sha256:{}", self.digits), "size": self.len})
    }
}

impl<W: Write + Seek + Send> ArchiveSink<W> {
    /// Starts an archive.
    pub fn new(mut output: W, options: ArchiveOptions) -> Result<Self, StartError> {
        for directory in ["blobs/", BLOBS] {
            let header = member(directory.as_bytes(), 0, EntryType::Directory);
            output.write_all(header.as_bytes()).map_err(StartError::Start)?;
        }
        // The place of the layer's header.
        output
            .write_all(Header::new_ustar().as_bytes())
            .map_err(StartError::Start)?;
        let counted = Counted {
            inner: output,
            len: 0,
            digest: Sha256::new(),
        };
        let layer = match options.level {
            Some(level) => Layer::Gzip(CompressingSink::new(
                counted,
                Method::Gzip(level),
                options.threads,
            )?),
            None => Layer::Plain(StreamSink(counted)),
        };
        Ok(Self {
            layer: Some(layer),
            content: Sha256::new(),
            options,
            output: None,
        })
    }

    /// The output, with a whole archive after [`Sink::finish`] only; `None` where that failed.
    pub fn into_inner(self) -> Option<W> {
        self.output
    }

    /// Writes all that follows the layer, and the layer's name.
    fn documents(&self, output: &mut W, layer: &Blob, content: &str) -> io::Result<()> {
        let options = &self.options;
        let padding = layer.len.next_multiple_of(512).saturating_sub(layer.len);
        output.write_all(&[0; 512][..usize::try_from(padding).expect("less than a block")])?;
        let config = config(options, content).to_string();
        let config_blob = Blob::of(config.as_bytes());
        let kind = if options.level.is_some() {
            format!("{LAYER}+gzip")
        } else {
            LAYER.to_owned()
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config_blob.descriptor(CONFIG),
            "layers": [layer.descriptor(&kind)],
        })
        .to_string();
        let manifest_blob = Blob::of(manifest.as_bytes());
        let mut files = vec![
            (config_blob.path(), config),
            (manifest_blob.path(), manifest),
            ("index.json".into(), index(options, &manifest_blob).to_string()),
            (
                "oci-layout".into(),
                json!({"imageLayoutVersion": "1.0.0"}).to_string(),
            ),
        ];
        if options.docker {
            let tags = options
                .name
                .iter()
                .map(|(repository, tag)| format!("{repository}:{tag}"));
            let images = json!([{
                "Config": config_blob.path(),
                "RepoTags": tags.collect::<Vec<_>>(),
                "Layers": [layer.path()],
            }]);
            files.push(("manifest.json".into(), images.to_string()));
        }
        for (name, text) in files {
            let header = member(name.as_bytes(), length(text.as_bytes()), EntryType::Regular);
            output.write_all(header.as_bytes())?;
            output.write_all(&padded(text.into_bytes()))?;
        }
        output.write_all(&[0; 1024])?;
        output.seek(SeekFrom::Start(1024))?;
        let header = member(layer.path().as_bytes(), layer.len, EntryType::Regular);
        output.write_all(header.as_bytes())?;
        output.flush()
    }
}

/// How the image came to be: from a layer whose uncompressed bytes have this digest.
fn config(options: &ArchiveOptions, content: &str) -> Value {
    let mut config = json!({
        "os": options.platform.os,
        "architecture": options.platform.architecture,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{content}")]},
    });
    if let Some(variant) = &options.platform.variant {
        config["variant"] = variant.clone().into();
    }
    if let Some(created) = &options.created {
        config["created"] = created.clone().into();
        config["history"] = json!([{"created": created}]);
    }
    config
}

fn index(options: &ArchiveOptions, manifest: &Blob) -> Value {
    let mut descriptor = manifest.descriptor(MANIFEST);
    let mut platform = json!({
        "os": options.platform.os,
        "architecture": options.platform.architecture,
    });
    if let Some(variant) = &options.platform.variant {
        platform["variant"] = variant.clone().into();
    }
    descriptor["platform"] = platform;
    if let Some((repository, tag)) = &options.name {
        descriptor["annotations"] = json!({
            "org.opencontainers.image.ref.name": tag,
            "io.containerd.image.name": format!("{repository}:{tag}"),
        });
    }
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]})
}

impl<W: Write + Seek + Send> Sink for ArchiveSink<W> {
    fn data(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.content.update(bytes);
        match self.layer.as_mut().ok_or_else(ended)? {
            Layer::Plain(sink) => sink.data(at, bytes),
            Layer::Gzip(sink) => sink.data(at, bytes),
        }
    }

    fn hole(&mut self, range: Range<u64>) -> io::Result<()> {
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let mut rest = range.end.saturating_sub(range.start);
        while rest > 0 {
            let zeros = &ZEROS[..usize::try_from(rest).unwrap_or(usize::MAX).min(ZEROS.len())];
            self.content.update(zeros);
            rest = rest.saturating_sub(length(zeros));
        }
        match self.layer.as_mut().ok_or_else(ended)? {
            Layer::Plain(sink) => sink.hole(range),
            Layer::Gzip(sink) => sink.hole(range),
        }
    }

    fn finish(&mut self, len: u64) -> io::Result<()> {
        let counted = match self.layer.take().ok_or_else(ended)? {
            Layer::Plain(mut sink) => {
                sink.finish(len)?;
                sink.0
            }
            Layer::Gzip(mut sink) => {
                sink.finish(len)?;
                sink.into_inner().ok_or_else(ended)?
            }
        };
        let content = hex(&std::mem::take(&mut self.content).finalize());
        let layer = Blob {
            digits: hex(&counted.digest.finalize()),
            len: counted.len,
        };
        let mut output = counted.inner;
        self.documents(&mut output, &layer, &content)?;
        self.output = Some(output);
        Ok(())
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the archive is ended already")
}

fn hex(bytes: &[u8]) -> String {
    let digit = |digit: u8| char::from_digit(digit.into(), 16).expect("four bits");
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a buffer's length is a u64")
}

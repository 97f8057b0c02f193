//! The law of container images, and layouts of drawn layers and documents.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use image_core::laws::Draw;
use sha2::{Digest as _, Sha256};

use super::{archive, read_all};
use crate::oci::{self, Choice, Digest, Platform};
use crate::tar;

/// Whatever a layout holds, it is a tree whose files can be read, or an error that can be printed. `scratch` makes
/// empty files.
pub fn oci(bytes: &[u8], scratch: &mut dyn FnMut() -> File) {
    let mut draw = Draw::new(bytes);
    let mut file = scratch();
    file.write_all(&layout(&mut draw)).unwrap();
    file.rewind().unwrap();
    let (layout, store) = tar::read(file, Path::new("layout")).unwrap();
    let choice = Choice {
        platform: Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
            variant: None,
        },
        tag: draw
            .pick(&[None, Some("a".to_owned()), Some(String::new())])
            .clone(),
    };
    match oci::read(&layout, &store, &choice, &mut || Ok(scratch())) {
        Ok((tree, store)) => read_all(&tree, &store),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match oci::list(&layout, &store) {
        Ok(available) => assert!(!available.to_string().is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A layout as an archive: mostly sound but for its layers, since few others get that far.
fn layout(draw: &mut Draw<'_>) -> Vec<u8> {
    let mut out = ::tar::Builder::new(Vec::new());
    let (docker, changes) = (draw.below(2) == 0, draw.below(16));
    let count = draw.below(4);
    let mut layers = Vec::new();
    let mut part = draw.rest();
    for left in (1..=count).rev() {
        let len = part.len() / usize::try_from(left).unwrap();
        let (own, rest) = part.split_at(len);
        part = rest;
        let mut own = Draw::new(own);
        let packed = own.below(2) == 0;
        layers.push((archive(&mut own), packed));
    }
    let mut diff_ids = Vec::new();
    let mut descriptors = Vec::new();
    for (tar, packed) in &layers {
        diff_ids.push(format!("\"sha256:{}\"", hex(tar)));
        let mut blob = tar.clone();
        if *packed {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).unwrap();
            blob = encoder.finish().unwrap();
        }
        descriptors.push(add(&mut out, &blob));
    }
    if changes == 1 {
        diff_ids.pop();
    }
    let os = if changes == 2 { "\"plan9\"" } else { "\"linux\"" };
    let platform = format!("\"os\":{os},\"architecture\":\"amd64\"");
    let config = format!(
        "{{{platform},\"rootfs\":{{\"diff_ids\":[{}]}}}}",
        diff_ids.join(",")
    );
    let config_blob = add(&mut out, config.as_bytes());
    if docker {
        let path = |descriptor: &String| {
            let digest = &descriptor[18..82];
            format!("\"blobs/sha256/{digest}\"")
        };
        let layers: Vec<String> = descriptors.iter().map(path).collect();
        let image = format!(
            "[{{\"Config\":{},\"RepoTags\":[\"x:a\"],\"Layers\":[{}]}}]",
            path(&config_blob),
            layers.join(",")
        );
        put(&mut out, "manifest.json", image.as_bytes());
    } else {
        let manifest = format!(
            "{{\"config\":{config_blob},\"layers\":[{}]}}",
            descriptors.join(",")
        );
        let manifest = add(&mut out, manifest.as_bytes());
        let again = if changes == 3 {
            format!(",{manifest}")
        } else {
            String::new()
        };
        let index = format!("{{\"manifests\":[{manifest}{again}]}}");
        put(&mut out, "index.json", index.as_bytes());
    }
    out.into_inner().unwrap()
}

/// Adds a blob; gives its descriptor.
fn add(out: &mut ::tar::Builder<Vec<u8>>, blob: &[u8]) -> String {
    let digest = hex(blob);
    put(out, &format!("blobs/sha256/{digest}"), blob);
    format!("{{\"digest\":\"sha256:{digest}\",\"size\":{}}}", blob.len())
}

fn put(out: &mut ::tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) {
    let mut header = ::tar::Header::new_gnu();
    header.set_size(u64::try_from(bytes.len()).unwrap());
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    out.append_data(&mut header, path, bytes).unwrap();
}

fn hex(bytes: &[u8]) -> String {
    let digest = Digest::of(Sha256::new_with_prefix(bytes)).to_string();
    digest.trim_start_matches("sha256:").to_owned()
}

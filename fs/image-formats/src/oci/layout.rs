//! The files of a layout by their paths, and blobs by their digests.

use std::fmt;

use image_core::store::{FileId, Open, Store};
use image_core::tree::{Content, NodeId, Tree};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::Error;
use super::documents::Descriptor;

/// The longest document that is read, as the specification recommends for manifests.
pub const DOCUMENT_MAX: u64 = 4 << 20;
/// The most links that are followed on the way to one file.
const LINKS_MAX: u32 = 8;

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Reads `sha256:` and 64 digits.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let digits = text.strip_prefix("sha256:");
        let digest = digits.and_then(Self::of_digits);
        digest.ok_or_else(|| Error::BadDigest(text.to_owned()))
    }

    /// Reads 64 digits.
    pub(super) fn of_digits(digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return None;
        }
        let lower = |digit: u8| match digit {
            b'0'..=b'9' | b'a'..=b'f' => char::from(digit).to_digit(16),
            _ => None,
        };
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = u8::try_from(lower(*high)? << 4 | lower(*low)?).ok()?;
        }
        Some(Self(bytes))
    }

    /// What a hash came to.
    pub(crate) fn of(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    /// Where the blob stands.
    pub(super) fn path(self) -> Vec<u8> {
        self.to_string()
            .replacen("sha256:", "blobs/sha256/", 1)
            .into_bytes()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A layout: a tree, and the store of its files.
pub(super) struct Layout<'a, S> {
    tree: &'a Tree,
    store: &'a S,
}

/// A file of a layout, opened.
pub(super) struct Opened<'a> {
    pub(super) open: Box<dyn Open + 'a>,
    pub(super) len: u64,
}

impl<'a, S: Store> Layout<'a, S> {
    pub(super) fn new(tree: &'a Tree, store: &'a S) -> Self {
        Self { tree, store }
    }

    /// The file of a path and its length. Links are followed, which stand for equal layers in old archives, but never out
    /// of the layout.
    pub(super) fn find(&self, path: &[u8]) -> Option<(FileId, u64)> {
        let mut todo: Vec<Vec<u8>> = parts(path);
        let mut above: Vec<NodeId> = Vec::new();
        let (mut at, mut links) = (NodeId::ROOT, 0_u32);
        while let Some(part) = todo.pop() {
            if part == b".." {
                at = above.pop()?;
                continue;
            }
            let Content::Directory(entries) = self.tree.node(at).content else {
                return None;
            };
            let (_, child) = self.tree.entries(entries).find(|(name, _)| *name == part)?;
            if let Content::Symlink(target) = self.tree.node(child).content {
                links = links.checked_add(1).filter(|links| *links <= LINKS_MAX)?;
                let target = self.tree.target(target);
                if target.starts_with(b"/") {
                    return None;
                }
                todo.extend(parts(target));
            } else {
                above.push(at);
                at = child;
            }
        }
        match &self.tree.node(at).content {
            Content::File(data) => Some((data.file, data.len)),
            _ => None,
        }
    }

    pub(super) fn open(&self, path: &[u8]) -> Result<Opened<'a>, Error> {
        let (file, len) = self.find(path).ok_or_else(|| Error::Missing(path.to_vec()))?;
        let open = self.store.open(file)?;
        Ok(Opened { open, len })
    }

    /// Reads a document whole, and compares its digest with the one that names it, if one does.
    pub(super) fn document<T: DeserializeOwned>(
        &self,
        path: &[u8],
        digest: Option<Digest>,
    ) -> Result<T, Error> {
        let Opened { open, len } = self.open(path)?;
        let size = usize::try_from(len).ok().filter(|_| len <= DOCUMENT_MAX);
        let path = path.to_vec();
        let Some(size) = size else {
            return Err(Error::LongDocument { path, len });
        };
        let mut bytes = vec![0; size];
        open.read_exact_at(&mut bytes, 0)?;
        if let Some(expected) = digest {
            judge(&path, expected, Digest::of(Sha256::new_with_prefix(&bytes)))?;
        }
        serde_json::from_slice(&bytes).map_err(|source| Error::Malformed { path, source })
    }

    /// Reads the document that a descriptor names.
    pub(super) fn named<T: DeserializeOwned>(&self, descriptor: &Descriptor) -> Result<T, Error> {
        let digest = Digest::parse(&descriptor.digest)?;
        self.document(&digest.path(), Some(digest))
    }
}

/// Refuses what is not what it should be.
pub(super) fn judge(path: &[u8], expected: Digest, found: Digest) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::WrongDigest {
        path: path.to_vec(),
        expected,
        found,
    })
}

/// The parts of a path, the first last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(<[u8]>::to_vec)
        .rev()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_64_small_digits() {
        let text = format!("sha256:{}", "0123456789abcdef".repeat(4));
        assert_eq!(Digest::parse(&text).unwrap().to_string(), text);
        for bad in [
            "",
            "sha256:",
            "sha512:00",
            &text[..70],
            &text.to_uppercase(),
            &format!("{text}0"),
            &text.replace("0123", "../."),
        ] {
            assert_eq!(
                Digest::parse(bad).unwrap_err().to_string(),
                format!("'{bad}' is no SHA-256 digest")
            );
        }
    }
}

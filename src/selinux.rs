//! Labels of `SELinux`, computed from the policy that lies in the tree, while images are written: no `setfiles` runs, and neither
//! the host's kernel nor its privileges have a say. What comes out is what `setfiles -F` would set.
//!
//! | module | what it does |
//! |---|---|
//! | `contexts` | the rules of `file_contexts`: which label a file gets |
//! | `pattern` | their patterns, which are those of PCRE |
//!
//! The policy is that of `SELINUXTYPE` in `/etc/selinux/config`, else `targeted`. Its rules are the text files
//! `file_contexts`, `.homedirs` and `.local`; what was compiled from them (`.bin`) is not read. Links of the tree are followed
//! within it.
//!
//! Of a file with several names the first in the order of the tree counts; `setfiles` takes the first that it meets, in the order
//! of directories on the disk.

pub(crate) mod contexts;
mod pattern;

use std::sync::Arc;

use image_core::tree::{Content, Meta, Time, TreeError, Xattr};
use image_core::{NodeId, Store, Tree};

pub use contexts::Fault;
use contexts::{Contexts, letter};
pub use pattern::PatternError;

/// The attribute that holds a label.
const ATTRIBUTE: &[u8] = b"security.selinux";
/// Where e2fsck puts files that have lost their names.
const LOST_FOUND: &str = "lost+found";
/// Bytes of a file of a policy.
const FILE_MAX: u64 = 16 << 20;
/// Links that the name of a file may lead through.
const LINKS_MAX: usize = 40;

/// Why files cannot be labelled.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// A line of a policy is not understood.
    #[error("/{file}, line {line}: {fault}")]
    Line {
        /// The file.
        file: String,
        /// The number of the line, from 1 on.
        line: usize,
        /// What is wrong.
        fault: Fault,
    },
    /// A policy has more rules than any.
    #[error("/{file}: the policy has more than {most} rules")]
    TooManyRules {
        /// The file that has one too many.
        file: String,
        /// How many there may be.
        most: usize,
    },
    /// A file of a policy is longer than any.
    #[error("/{file} has {len} bytes, and a policy's files have {most} at most")]
    TooLong {
        /// The file.
        file: String,
        /// Its length.
        len: u64,
        /// How long it may be.
        most: u64,
    },
    /// A file of a policy cannot be read.
    #[error(transparent)]
    Read(#[from] image_core::store::Error),
    /// There are too many labels.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A policy, as far as it labels files.
#[derive(Debug)]
pub struct Policy {
    name: String,
    contexts: Contexts,
}

impl Policy {
    /// Reads the policy of a tree, if it has one.
    pub fn of(tree: &Tree, store: &impl Store) -> Result<Option<Self>, LabelError> {
        let config = read(tree, store, "etc/selinux/config")?;
        let name = config.as_deref().and_then(kind_of_policy);
        let name = name.unwrap_or_else(|| "targeted".to_owned());
        let base = format!("etc/selinux/{name}/contexts/files/file_contexts");
        let Some(rules) = read(tree, store, &base)? else {
            return Ok(None);
        };
        let mut files = vec![(base.clone(), rules)];
        for suffix in ["homedirs", "local"] {
            let path = format!("{base}.{suffix}");
            let text = read(tree, store, &path)?;
            files.extend(text.map(|text| (path, text)));
        }
        let texts: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), &text[..]))
            .collect();
        let mut contexts = Contexts::read(&texts)?;
        let [user, distribution] =
            ["subs", "subs_dist"].map(|suffix| read(tree, store, &format!("{base}.{suffix}")));
        contexts.substitute(&user?.unwrap_or_default(), &distribution?.unwrap_or_default());
        Ok(Some(Self { name, contexts }))
    }

    /// What the policy is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tree with the policy's labels. What lies below the directories `apart`, named without a leading `/`, keeps what it
    /// has, and so does what the policy has no label for.
    pub fn label(&mut self, tree: Tree, apart: &[&[u8]]) -> Result<Tree, LabelError> {
        let is_below = |path: &[u8], directory: &[u8]| {
            let rest = path.strip_prefix(directory);
            rest.is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        tree.with_attribute(ATTRIBUTE, |path, node| {
            if apart.iter().any(|directory| is_below(path, directory)) {
                return Ok(None);
            }
            let name = [&b"/"[..], path].concat();
            self.contexts.label(&name, letter(&node.content))
        })
    }

    /// The tree of a file system that is mounted on `point`, with the directory in which e2fsck puts what it finds: whoever writes
    /// the file system would make it without a label.
    pub fn with_lost_found(&mut self, tree: Tree, point: &str, made: Time) -> Result<Tree, LabelError> {
        let name = format!("{}/{LOST_FOUND}", point.trim_end_matches('/'));
        let label = self.contexts.label(name.as_bytes(), b'd')?;
        let Some(label) = label.filter(|_| find(&tree, LOST_FOUND.as_bytes()).is_none()) else {
            return Ok(tree);
        };
        let xattr = Xattr {
            name: ATTRIBUTE.to_vec(),
            value: label.to_vec(),
        };
        let meta = Meta {
            mtime: made,
            ..Meta::root(0o700)
        };
        Ok(tree.with_directory(LOST_FOUND.as_bytes(), meta, vec![xattr])?)
    }

    /// The label of a file by its absolute name and the letter of its kind, as `file_contexts` writes it, with the NUL that
    /// ends it.
    pub fn label_of(&mut self, name: &[u8], kind: u8) -> Result<Option<Arc<[u8]>>, LabelError> {
        self.contexts.label(name, kind)
    }
}

/// What `/etc/selinux/config` names; of several lines the last.
fn kind_of_policy(config: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"SELINUXTYPE=";
    let value = |line: &[u8]| {
        let line = line.trim_ascii_start();
        let (key, value) = line.split_at_checked(KEY.len())?;
        let value = value.trim_ascii_end();
        key.eq_ignore_ascii_case(KEY)
            .then(|| String::from_utf8_lossy(value).into_owned())
    };
    config.split(|byte| *byte == b'\n').filter_map(value).next_back()
}

/// A regular file of a tree, if there is one of that name.
fn read(tree: &Tree, store: &impl Store, path: &str) -> Result<Option<Vec<u8>>, LabelError> {
    let found = find(tree, path.as_bytes()).map(|id| &tree.node(id).content);
    let Some(Content::File(data)) = found else {
        return Ok(None);
    };
    let len = usize::try_from(data.len).ok().filter(|_| data.len <= FILE_MAX);
    let len = len.ok_or_else(|| LabelError::TooLong {
        file: path.to_owned(),
        len: data.len,
        most: FILE_MAX,
    })?;
    let mut bytes = vec![0; len];
    let open = store.open(data.file)?;
    open.read_exact_at(&mut bytes, 0)?;
    open.finish()?;
    Ok(Some(bytes))
}

/// What a name leads to, links followed as the image's own system would.
fn find(tree: &Tree, path: &[u8]) -> Option<NodeId> {
    let mut above = vec![NodeId::ROOT];
    let mut parts: Vec<&[u8]> = path.rsplit(|byte| *byte == b'/').collect();
    let mut links = 0;
    while let Some(part) = parts.pop() {
        let here = *above.last()?;
        if part == b".." && above.len() > 1 {
            above.pop();
        }
        if matches!(part, b"" | b"." | b"..") {
            continue;
        }
        let Content::Directory(entries) = tree.node(here).content else {
            return None;
        };
        let (_, child) = tree.entries(entries).find(|(name, _)| *name == part)?;
        let Content::Symlink(target) = tree.node(child).content else {
            above.push(child);
            continue;
        };
        links += 1;
        if links > LINKS_MAX {
            return None;
        }
        let target = tree.target(target);
        if target.starts_with(b"/") {
            above.truncate(1);
        }
        parts.extend(target.rsplit(|byte| *byte == b'/'));
    }
    above.pop()
}

#[cfg(test)]
mod tests;

//! What in the image takes room: the report that `DIB_SHOW_IMAGE_USAGE` asks for, from the scanned tree alone.
//!
//! A directory counts with all below it, a file with the blocks that its data needs, and under one of its names.

use std::fmt;

use image_core::tree::Content;
use image_core::{NodeId, Tree};

use super::units;
use crate::environment::Environment;

/// What is left out unless all is wanted: entries up to this many bytes.
const SMALL: u64 = 10 << 20;

/// Bytes in a block of a file, as disk usage is counted.
const BLOCK: u64 = 4096;

/// The report: paths and bytes, the largest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    entries: Vec<(String, u64)>,
}

impl Usage {
    /// The report that the variables ask for, if they ask for one.
    pub fn wanted(environment: &Environment, tree: &Tree) -> Option<Self> {
        let set = |name: &str| environment.non_empty(name).is_some_and(|value| value != "0");
        let full = set("DIB_SHOW_IMAGE_USAGE_FULL");
        (full || set("DIB_SHOW_IMAGE_USAGE")).then(|| Self::new(tree, if full { 0 } else { SMALL }))
    }

    /// All entries of more than `above` bytes; with 0, all.
    fn new(tree: &Tree, above: u64) -> Self {
        let parents = parents(tree);
        let mut bytes: Vec<u64> = tree.nodes().iter().map(|node| own_bytes(&node.content)).collect();
        // Nodes have greater numbers than the directories above them: each is complete before it counts in its parent.
        for node in (1..bytes.len()).rev() {
            let parent = parents[node].0.index();
            bytes[parent] = bytes[parent].saturating_add(bytes[node]);
        }
        let mut entries: Vec<(String, u64)> = (0..bytes.len())
            .filter(|node| above == 0 || bytes[*node] > above)
            .map(|node| (path(&parents, node), bytes[node]))
            .collect();
        entries.sort_by(|(a, more), (b, less)| less.cmp(more).then_with(|| a.cmp(b)));
        Self { entries }
    }
}

/// The directory and the name by which each node counts.
fn parents(tree: &Tree) -> Vec<(NodeId, &[u8])> {
    let mut parents: Vec<Option<(NodeId, &[u8])>> = vec![None; tree.nodes().len()];
    for (id, node) in tree.iter() {
        if let Content::Directory(entries) = node.content {
            for (name, child) in tree.entries(entries) {
                parents[child.index()].get_or_insert((id, name));
            }
        }
    }
    parents
        .into_iter()
        .map(|parent| parent.unwrap_or((NodeId::ROOT, b"")))
        .collect()
}

fn own_bytes(content: &Content) -> u64 {
    match content {
        Content::Directory(_) => BLOCK,
        Content::File(data) => data
            .ranges()
            .map(|range| range.end.div_ceil(BLOCK) - range.start / BLOCK)
            .fold(0, u64::saturating_add)
            .saturating_mul(BLOCK),
        _ => 0,
    }
}

fn path(parents: &[(NodeId, &[u8])], mut node: usize) -> String {
    let mut names: Vec<&[u8]> = Vec::new();
    while node != NodeId::ROOT.index() {
        let (parent, name) = parents[node];
        names.push(name);
        node = parent.index();
    }
    names.reverse();
    format!("/{}", names.join(&b'/').escape_ascii())
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image size report")?;
        if self.entries.is_empty() {
            write!(f, "\n    nothing takes more than {}", units::bytes(SMALL))?;
        }
        for (path, bytes) in &self.entries {
            write!(f, "\n  {:>12}  {path}", units::bytes(*bytes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image_core::FileId;
    use image_core::tree::{Data, Meta, NewContent};

    /// `/big` of 12 MiB, `/usr/lib/x` of 20 MiB with a second name in `/opt`, `/usr/hole` of 1 GiB with one byte.
    fn tree() -> Tree {
        let mut builder = Tree::builder(Meta::root(0o755));
        let mut number = 0;
        let add = |builder: &mut image_core::tree::Builder, parent, name: &str, data: Option<Data>| {
            let content = data.map_or(NewContent::Directory, NewContent::File);
            let node = builder.node(Meta::root(0o755), content).unwrap();
            builder.link(parent, name.as_bytes(), node).unwrap();
            node
        };
        let mut file = |len| {
            number += 1;
            Data::dense(FileId(number), len)
        };
        let (big, library, mut hole) = (file(12 << 20), file((20 << 20) - 1), file(1 << 30));
        hole.ranges = Some(std::iter::once(5000..5001).collect());
        add(&mut builder, NodeId::ROOT, "big", Some(big));
        let opt = add(&mut builder, NodeId::ROOT, "opt", None);
        let usr = add(&mut builder, NodeId::ROOT, "usr", None);
        let lib = add(&mut builder, usr, "lib", None);
        let x = add(&mut builder, lib, "x", Some(library));
        builder.link(opt, b"second \xff", x).unwrap();
        add(&mut builder, usr, "hole", Some(hole));
        builder.build().unwrap()
    }

    #[test]
    fn what_takes_room_is_told_with_all_below_it() {
        let environment = |name: &str, value: &str| {
            let mut environment = Environment::default();
            environment.set(name, value);
            environment
        };
        let told =
            |name, value| Usage::wanted(&environment(name, value), &tree()).map(|usage| usage.to_string());
        assert_eq!(told("DIB_SHOW_IMAGE_USAGE", "0"), None);
        assert_eq!(told("DIB_SHOW_IMAGE_USAGE", ""), None);
        assert_eq!(told("DIB_OTHER", "1"), None);
        oracle::golden::check(
            "messages/usage.txt",
            &[
                told("DIB_SHOW_IMAGE_USAGE", "1").unwrap(),
                told("DIB_SHOW_IMAGE_USAGE_FULL", "1").unwrap(),
            ]
            .join("\n\n"),
        );
        let empty = Tree::builder(Meta::root(0o755)).build().unwrap();
        assert_eq!(
            Usage::wanted(&environment("DIB_SHOW_IMAGE_USAGE", "1"), &empty)
                .unwrap()
                .to_string(),
            "Image size report\n    nothing takes more than 10.0 MiB"
        );
    }
}

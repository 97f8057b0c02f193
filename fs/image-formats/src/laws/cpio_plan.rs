//! The law of newc archives: what the plainest of readers finds is what the tree has.

use std::collections::BTreeMap;

use image_core::laws::{Draw, copied};
use image_core::store::Store;
use image_core::tree::{Content, NodeId, Tree};

use super::archives::{stat, tree};
use crate::cpio::{self, Options, PlanError, TRAILER};

/// What one member says, and what it holds.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    mode: u32,
    owner: (u32, u32),
    time: u32,
    device: (u32, u32),
    links: u32,
    /// The path of the first member with the same inode.
    first: Vec<u8>,
    data: Vec<u8>,
}

type Members = BTreeMap<Vec<u8>, Member>;

/// The archive of any tree says of each name what the tree says, and is read as that tree; whatever is changed of it,
/// reading it ends.
pub fn cpio_plan(bytes: &[u8]) {
    let mut draw = Draw::new(bytes);
    let changes: Vec<(u64, u8)> = (0..draw.below(6))
        .map(|_| (draw.below(1 << 12), draw.byte()))
        .collect();
    let (tree, store) = tree(&mut draw, 0xf_ffff);
    let map = match cpio::plan(&tree, &Options::default()) {
        Ok(map) => map,
        Err(error) => {
            let refused = PlanError::NameEndsArchive {
                path: TRAILER.to_vec(),
            };
            assert_eq!(error, refused);
            assert!(has_trailer(&tree), "nothing is refused but that name");
            return;
        }
    };
    assert!(!has_trailer(&tree));
    assert_eq!(map.len() % 512, 0);
    let mut archive = copied(&map, &store);
    let found = read(&archive);
    let mut want = Members::new();
    expect(&tree, &store, NodeId::ROOT, b".", &mut BTreeMap::new(), &mut want);
    for path in found.keys().chain(want.keys()) {
        assert_eq!(found.get(path), want.get(path), "{}", path.escape_ascii());
    }
    // So does our own reader, of two that stand behind each other, too.
    let twice = [&archive[..], &[0; 512], &archive].concat();
    for whole in [archive.clone(), twice] {
        let (tree, store) = cpio::read(whole).unwrap();
        let mut again = Members::new();
        expect(
            &tree,
            &store,
            NodeId::ROOT,
            b".",
            &mut BTreeMap::new(),
            &mut again,
        );
        assert!(again == want, "{again:?}");
    }
    for (at, byte) in changes {
        let at = usize::try_from(at).unwrap() % archive.len();
        archive[at] = byte;
    }
    if let Err(error) = cpio::read(archive) {
        assert!(!error.to_string().is_empty());
    }
}

/// Whether the root has an entry that would end an archive.
fn has_trailer(tree: &Tree) -> bool {
    let Content::Directory(entries) = tree.node(NodeId::ROOT).content else {
        return false;
    };
    tree.entries(entries).any(|(name, _)| name == TRAILER)
}

/// What the members of an archive must be, in the order of a walk.
fn expect(
    tree: &Tree,
    store: &impl Store,
    id: NodeId,
    path: &[u8],
    firsts: &mut BTreeMap<NodeId, Vec<u8>>,
    want: &mut Members,
) {
    let node = tree.node(id);
    let (mode, device, data) = stat(tree, store, id);
    let first = firsts.entry(id).or_insert_with(|| path.to_vec()).clone();
    let member = Member {
        mode,
        owner: (node.meta.uid, node.meta.gid),
        time: u32::try_from(node.meta.mtime.secs.clamp(0, u32::MAX.into())).unwrap(),
        device,
        links: if mode >> 12 == 4 { 1 } else { node.links },
        first,
        data,
    };
    want.insert(path.to_vec(), member);
    if let Content::Directory(entries) = node.content {
        for (name, child) in tree.entries(entries) {
            let path = if path == b"." {
                name.to_vec()
            } else {
                [path, b"/", name].concat()
            };
            expect(tree, store, child, &path, firsts, want);
        }
    }
}

/// Reads as the specification says, strictly. The data of a file with several names are those of the last.
fn read(archive: &[u8]) -> Members {
    let mut members = Members::new();
    let mut of_inode: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
    let mut at = 0;
    loop {
        let digits = std::str::from_utf8(&archive[at..at + 110]).unwrap();
        assert_eq!(&digits[..6], "070701");
        let number = |i: usize| u32::from_str_radix(&digits[6 + 8 * i..14 + 8 * i], 16).unwrap();
        let (len, name_len) = (number(6), number(11));
        assert_eq!((number(7), number(8), number(12)), (0, 0, 0));
        let name_end = at + 110 + usize::try_from(name_len).unwrap();
        assert_eq!(archive[name_end - 1], 0);
        let path = archive[at + 110..name_end - 1].to_vec();
        let start = name_end.next_multiple_of(4);
        let end = start + usize::try_from(len).unwrap();
        at = end.next_multiple_of(4);
        let filling = [&archive[name_end..start], &archive[end..at]].concat();
        assert!(filling.iter().all(|byte| *byte == 0));
        if path == b"TRAILER!!!" {
            assert!(archive[at..].iter().all(|byte| *byte == 0));
            return members;
        }
        if let Some((parent, _)) = std::str::from_utf8(&path)
            .ok()
            .and_then(|path| path.rsplit_once('/'))
        {
            assert!(
                members.contains_key(parent.as_bytes()),
                "no directory before {parent}"
            );
        }
        let names = of_inode.entry(number(0)).or_default();
        names.push(path.clone());
        let data = archive[start..end].to_vec();
        let is_file = number(1) >> 12 == 8;
        for earlier in names.iter().rev().skip(1).filter(|_| is_file) {
            let earlier = members.get_mut(earlier).unwrap();
            assert!(earlier.data.is_empty(), "only the last name has data");
            earlier.data.clone_from(&data);
        }
        let member = Member {
            mode: number(1),
            owner: (number(2), number(3)),
            time: number(5),
            device: (number(9), number(10)),
            links: number(4),
            first: names[0].clone(),
            data,
        };
        assert!(members.insert(path, member).is_none());
    }
}

//! Directories as they will lie: records in order, and the area of what continues them behind.
//!
//! Spec: ECMA-119, sections 6.8 and 9.1.

use image_core::tree::{Content, NodeId};
use image_core::{Tree, tree::Time};
use zerocopy::IntoBytes;

use super::disk::{Record as Head, RootRecord};
use super::names::{Name, Names};
use super::rock_ridge::{self, SystemUse};
use super::{BLOCK, Options, time};

/// The most bytes of a record, which are even.
const RECORD_MAX: usize = 254;
/// The most bytes of a section of a file: whole blocks, counted by 32 bits.
const SECTION_MAX: u64 = (1 << 32) - BLOCK;
/// The flag of a directory.
const DIRECTORY: u8 = 0x02;
/// The flag of all sections of a file but the last.
const MULTI_EXTENT: u8 = 0x80;

/// What a record is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// A directory, by its number, counted from 0.
    Directory(usize),
    /// A file, or what lies nowhere.
    Node(NodeId),
}

/// Where something lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) len: u64,
}

#[derive(Debug)]
struct Record {
    identifier: Vec<u8>,
    of: Of,
    mtime: Time,
    system_use: SystemUse,
    /// Into how many sections its file is cut: as many records are there.
    sections: u64,
}

/// A directory.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) node: NodeId,
    /// The number of the one above it: the root's own is the root's.
    pub(super) parent: usize,
    pub(super) identifier: Vec<u8>,
    records: Vec<Record>,
    /// Bytes of its records, in whole blocks.
    pub(super) len: u64,
    /// Bytes of the area behind them.
    area: u64,
}

/// What records are made of.
struct Subject<'a> {
    tree: &'a Tree,
    options: &'a Options,
    /// Of each node.
    links: Vec<u32>,
}

/// All directories, in the order of the table of paths: by depth, by the one above, by name.
pub(super) fn all(tree: &Tree, options: &Options) -> Vec<Directory> {
    let links = rock_ridge::links(tree);
    let subject = Subject { tree, options, links };
    let mut directories = vec![Directory::new(NodeId::ROOT, 0, vec![0])];
    let mut done = 0;
    while let Some(directory) = directories.get(done) {
        let (node, parent) = (directory.node, directory.parent);
        let above = directories[parent].node;
        let mut area = 0;
        let mut records = own(&subject, (node, done), (above, parent), &mut area);
        for (name, shown, child) in sorted(tree, node) {
            let is_directory = matches!(tree.node(child).content, Content::Directory(_));
            let identifier = name.identifier(is_directory);
            let of = if is_directory {
                let number = directories.len();
                directories.push(Directory::new(child, done, identifier.clone()));
                Of::Directory(number)
            } else {
                Of::Node(child)
            };
            let mut fields = subject.of_node(child);
            fields.extend(rock_ridge::name(shown));
            if let Content::Symlink(target) = tree.node(child).content {
                fields.extend(rock_ridge::target(tree.target(target)));
            }
            records.push(Record::new(&subject, (of, child), identifier, fields, &mut area));
        }
        let directory = &mut directories[done];
        directory.len = length(&records);
        directory.area = area;
        directory.records = records;
        done = done.saturating_add(1);
    }
    directories
}

/// The records of a directory itself and of the one above it.
fn own(
    subject: &Subject<'_>,
    (node, number): (NodeId, usize),
    (above, parent): (NodeId, usize),
    area: &mut u64,
) -> Vec<Record> {
    let mut fields = subject.of_node(node);
    if node == NodeId::ROOT {
        fields.insert(0, rock_ridge::sharing());
        fields.push(rock_ridge::rock_ridge());
    }
    let itself = (Of::Directory(number), node);
    let upper = (Of::Directory(parent), above);
    let of_above = subject.of_node(above);
    vec![
        Record::new(subject, itself, vec![0], fields, area),
        Record::new(subject, upper, vec![1], of_above, area),
    ]
}

/// The entries of a directory by their new names.
fn sorted(tree: &Tree, node: NodeId) -> Vec<(Name, &[u8], NodeId)> {
    let Content::Directory(entries) = tree.node(node).content else {
        return Vec::new();
    };
    let mut names = Names::default();
    let mut sorted: Vec<_> = tree
        .entries(entries)
        .map(|(name, child)| {
            let is_directory = matches!(tree.node(child).content, Content::Directory(_));
            (names.unique(name, is_directory), name, child)
        })
        .collect();
    sorted.sort_unstable_by(|(first, ..), (second, ..)| first.cmp(second));
    sorted
}

impl Subject<'_> {
    fn of_node(&self, id: NodeId) -> Vec<Vec<u8>> {
        let links = self.links[id.index()];
        let serial = u32::try_from(id.index()).map_or(u32::MAX, |index| index.saturating_add(1));
        rock_ridge::of_node(self.tree.node(id), links, serial, self.mtime(id))
    }

    fn mtime(&self, id: NodeId) -> Time {
        let mtime = self.tree.node(id).meta.mtime;
        if self.options.clamp {
            mtime.min(self.options.epoch)
        } else {
            mtime
        }
    }
}

/// Bytes of records of which none crosses a block, in whole blocks.
fn length(records: &[Record]) -> u64 {
    let end = records
        .iter()
        .flat_map(Record::lengths)
        .fold(0, |at, len| place(at, len).saturating_add(len));
    end.next_multiple_of(BLOCK)
}

/// Where a record lies, if the one before it ends there.
fn place(at: u64, len: u64) -> u64 {
    if (at % BLOCK).saturating_add(len) > BLOCK {
        return at.next_multiple_of(BLOCK);
    }
    at
}

impl Record {
    fn new(
        subject: &Subject<'_>,
        (of, node): (Of, NodeId),
        identifier: Vec<u8>,
        fields: Vec<Vec<u8>>,
        area: &mut u64,
    ) -> Self {
        let room = RECORD_MAX.saturating_sub(head_len(&identifier));
        let sections = match &subject.tree.node(node).content {
            Content::File(data) => data.len.div_ceil(SECTION_MAX).max(1),
            _ => 1,
        };
        Self {
            system_use: SystemUse::lay(fields, room, area),
            mtime: subject.mtime(node),
            identifier,
            of,
            sections,
        }
    }

    /// Bytes of each of its records.
    fn lengths(&self) -> impl Iterator<Item = u64> + use<> {
        let len = head_len(&self.identifier).saturating_add(self.system_use.len());
        let len = u64::try_from(len.next_multiple_of(2)).expect("254 at most");
        (0..self.sections).map(move |_| len)
    }

    /// The record of a section of what lies at a place.
    fn render(&self, section: u64, place: Place, area: u64) -> Vec<u8> {
        let before = section.saturating_mul(SECTION_MAX);
        let rest = place.len.saturating_sub(before);
        let more = if rest > SECTION_MAX { MULTI_EXTENT } else { 0 };
        let kind = if matches!(self.of, Of::Directory(_)) {
            DIRECTORY
        } else {
            0
        };
        let here = Place {
            start: place.start.saturating_add(before),
            len: rest.min(SECTION_MAX),
        };
        let mut head = head(here, kind | more, self.mtime);
        head.identifier_length = u8::try_from(self.identifier.len()).expect("34 at most");
        let system_use = self.system_use.inline(area);
        let len = head_len(&self.identifier).saturating_add(system_use.len());
        let len = len.next_multiple_of(2);
        head.length = u8::try_from(len).expect("254 at most");
        let mut record = head.as_bytes().to_vec();
        record.extend(&self.identifier);
        record.resize(head_len(&self.identifier), 0);
        record.extend(system_use);
        record.resize(len, 0);
        record
    }
}

impl Directory {
    fn new(node: NodeId, parent: usize, identifier: Vec<u8>) -> Self {
        Self {
            node,
            parent,
            identifier,
            records: Vec::new(),
            len: 0,
            area: 0,
        }
    }

    /// Bytes of all that belongs to it, in whole blocks.
    pub(super) fn needed(&self) -> u64 {
        self.len.saturating_add(self.area.next_multiple_of(BLOCK))
    }

    /// All that belongs to it, from where it lies on. `place` says where what it names does.
    pub(super) fn render(&self, start: u64, place_of: impl Fn(Of) -> Place) -> Vec<u8> {
        let mut bytes = vec![0; index(self.needed())];
        let area = start.saturating_add(self.len);
        let mut at = 0;
        for record in &self.records {
            for (section, len) in (0..).zip(record.lengths()) {
                at = place(at, len);
                put(&mut bytes, at, &record.render(section, place_of(record.of), area));
                at = at.saturating_add(len);
            }
            for (at, piece) in record.system_use.continuations(area) {
                put(&mut bytes, self.len.saturating_add(at), &piece);
            }
        }
        bytes
    }
}

/// The root's record in the primary descriptor.
pub(super) fn root(place: Place, mtime: Time) -> RootRecord {
    let mut record = head(place, DIRECTORY, mtime);
    record.length = 34;
    record.identifier_length = 1;
    RootRecord {
        record,
        identifier: 0,
    }
}

fn head(place: Place, flags: u8, mtime: Time) -> Head {
    let block = block(place.start);
    let len = u32::try_from(place.len).expect("a section has fewer bytes");
    Head {
        length: 0,
        extended_attribute_length: 0,
        extent: block.into(),
        data_length: len.into(),
        recording_date: time::short(mtime),
        flags,
        file_unit_size: 0,
        interleave_gap_size: 0,
        volume_sequence_number: 1.into(),
        identifier_length: 0,
    }
}

/// Bytes of a record before what Rock Ridge says, which are even.
fn head_len(identifier: &[u8]) -> usize {
    size_of::<Head>()
        .saturating_add(identifier.len())
        .next_multiple_of(2)
}

/// The block of a byte.
pub(super) fn block(at: u64) -> u32 {
    u32::try_from(at / BLOCK).expect("the image's blocks were counted")
}

pub(super) fn index(at: u64) -> usize {
    usize::try_from(at).expect("a directory fits the memory")
}

fn put(into: &mut [u8], at: u64, bytes: &[u8]) {
    let place = into.iter_mut().skip(index(at));
    place.zip(bytes).for_each(|(byte, new)| *byte = *new);
}

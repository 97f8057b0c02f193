//! What records say of files beyond ECMA-119: names, modes, owners, links, devices and times, in fields of a sign, a length
//! and a version.
//!
//! Specs: System Use Sharing Protocol 1.12, Rock Ridge Interchange Protocol 1.12.
//!
//! What does not fit a record continues elsewhere, in one piece or more, of which none crosses a block: a field `CE` at
//! the end of what there is says where.

use std::collections::VecDeque;

use image_core::Tree;
use image_core::tree::{Content, Device, Node, Time};
use zerocopy::IntoBytes;

use super::disk::Both32;
use super::{BLOCK, time};

/// The most bytes of a field, whose length is one byte.
const FIELD_MAX: usize = 255;
/// Bytes of a field's head.
const HEAD: usize = 4;
/// Bytes of the field that says where it continues.
const CONTINUATION: usize = 28;
/// The most bytes of parts of a path in a field.
const PARTS_MAX: usize = FIELD_MAX - HEAD - 1;
/// Bytes of a part's flags and length.
const HEAD_OF_PART: usize = 2;
/// The flag of a name, a target or a part of one that the next field, or part, continues.
const CONTINUED: u8 = 1;

/// A field, whole.
type Field = Vec<u8>;

fn field(sign: [u8; 2], parts: &[&[u8]]) -> Field {
    let body = parts.concat();
    let len = u8::try_from(body.len().saturating_add(HEAD)).expect("a field has at most 255 bytes");
    [&sign[..], &[len, 1], &body].concat()
}

/// What begins the root's own record: there are such fields at all.
pub(super) fn sharing() -> Field {
    field(*b"SP", &[&[0xbe, 0xef, 0]])
}

/// What ends it: which they are.
pub(super) fn rock_ridge() -> Field {
    const IDENTIFIER: &[u8] = b"IEEE_P1282";
    const DESCRIPTOR: &[u8] = b"THE IEEE P1282 PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
    const SOURCE: &[u8] =
        b"PLEASE CONTACT THE IEEE STANDARDS DEPARTMENT, PISCATAWAY, NJ, USA FOR THE P1282 SPECIFICATION";
    let lens = [IDENTIFIER, DESCRIPTOR, SOURCE].map(|text| u8::try_from(text.len()).expect("below 256"));
    field(*b"ER", &[&lens, &[1], IDENTIFIER, DESCRIPTOR, SOURCE])
}

/// The fields of a file: what it is, when it changed.
pub(super) fn of_node(node: &Node, links: u32, serial: u32, mtime: Time) -> Vec<Field> {
    let kind = match node.content {
        Content::Directory(_) => 0o040_000,
        Content::File(_) => 0o100_000,
        Content::Symlink(_) => 0o120_000,
        Content::CharDevice(_) => 0o020_000,
        Content::BlockDevice(_) => 0o060_000,
        Content::Fifo => 0o010_000,
        Content::Socket => 0o140_000,
    };
    let numbers = [
        kind | u32::from(node.meta.mode),
        links,
        node.meta.uid,
        node.meta.gid,
        serial,
    ];
    let posix = numbers.map(Both32::from);
    let modified = 2;
    let mut fields = vec![
        field(*b"PX", &[posix.as_bytes()]),
        field(*b"TF", &[&[modified], &time::short(mtime)]),
    ];
    if let Content::CharDevice(device) | Content::BlockDevice(device) = node.content {
        let numbers = device_number(device).map(Both32::from);
        fields.push(field(*b"PN", &[numbers.as_bytes()]));
    }
    fields
}

/// A device's number in two words, as Linux's C libraries have it in one: the kernel reads the same of all numbers of old.
fn device_number(device: Device) -> [u32; 2] {
    let Device { major, minor } = device;
    let low = (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12);
    [(major & !0xfff) | (minor >> 20), low]
}

/// A name, in as many fields as it needs.
pub(super) fn name(name: &[u8]) -> Vec<Field> {
    let parts = name.chunks(FIELD_MAX.saturating_sub(HEAD).saturating_sub(1));
    let last = parts.len().saturating_sub(1);
    let flag = |index| if index < last { CONTINUED } else { 0 };
    parts
        .enumerate()
        .map(|(index, part)| field(*b"NM", &[&[flag(index)], part]))
        .collect()
}

/// The target of a symbolic link, in as many fields as it needs.
///
/// A field never ends where a part does, unless it is the last one: readers do not agree on whether a slash belongs there.
/// So a part that would end there goes on, with nothing, in the next field.
pub(super) fn target(target: &[u8]) -> Vec<Field> {
    let mut fields: Vec<Vec<u8>> = vec![Vec::new()];
    let parts = components(target);
    let last = parts.len().saturating_sub(1);
    for (index, part) in parts.into_iter().enumerate() {
        let mut rest = part;
        loop {
            let field = fields.last_mut().expect("there is one from the start");
            let left = PARTS_MAX.saturating_sub(field.len());
            let fits = rest.needed() <= left;
            // The next part must have room for its head and a letter.
            if fits && (index == last || left.saturating_sub(rest.needed()) > HEAD_OF_PART) {
                field.extend(rest.head(rest.flags()));
                field.extend(rest.stored());
                break;
            }
            let (here, more) = rest.cut(left.saturating_sub(HEAD_OF_PART));
            field.extend(here.head(CONTINUED));
            field.extend(here.text);
            fields.push(Vec::new());
            rest = more;
        }
    }
    let last = fields.len().saturating_sub(1);
    let flag = |index| if index < last { CONTINUED } else { 0 };
    fields
        .iter()
        .enumerate()
        .map(|(index, parts)| field(*b"SL", &[&[flag(index)], parts]))
        .collect()
}

/// A part of a path, or what is left of one.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    text: &'a [u8],
    /// Whether it is all of the part: then some need no text.
    is_whole: bool,
}

impl<'a> Part<'a> {
    /// What says which part it is without its text; 0 is none.
    fn flags(self) -> u8 {
        match self.text {
            b"." if self.is_whole => 2,
            b".." if self.is_whole => 4,
            b"/" => 8,
            _ => 0,
        }
    }

    fn stored(self) -> &'a [u8] {
        if self.flags() == 0 { self.text } else { b"" }
    }

    fn needed(self) -> usize {
        HEAD_OF_PART.saturating_add(self.stored().len())
    }

    fn head(self, flags: u8) -> [u8; HEAD_OF_PART] {
        let len = if flags == CONTINUED {
            self.text.len()
        } else {
            self.stored().len()
        };
        [flags, u8::try_from(len).expect("it fits a field")]
    }

    /// So many letters of its text, and the rest.
    fn cut(self, letters: usize) -> (Self, Self) {
        let (here, more) = self.text.split_at(letters.min(self.text.len()));
        let part = |text| Self {
            text,
            is_whole: false,
        };
        (part(here), part(more))
    }
}

/// The parts of a path.
fn components(target: &[u8]) -> Vec<Part<'_>> {
    let (root, rest) = match target.strip_prefix(b"/") {
        Some(rest) => (Some(&b"/"[..]), rest),
        None => (None, target),
    };
    let only_root = root.is_some() && rest.is_empty();
    let parts = rest.split(|byte| *byte == b'/');
    root.into_iter()
        .chain(parts.take(if only_root { 0 } else { usize::MAX }))
        .map(|text| Part { text, is_whole: true })
        .collect()
}

/// The fields of one record, as they lie.
#[derive(Debug)]
pub(super) struct SystemUse {
    /// What lies in the record, then what lies in the directory's area of continuations.
    pieces: Vec<Vec<u8>>,
    /// Where in that area each but the first lies.
    places: Vec<u64>,
}

impl SystemUse {
    /// Lays fields into a record with so much room, and at the end of an area, which grows.
    pub(super) fn lay(fields: Vec<Field>, room: usize, area: &mut u64) -> Self {
        let mut fields = VecDeque::from(fields);
        let mut pieces = vec![taken(&mut fields, room)];
        let mut places = Vec::new();
        while !fields.is_empty() {
            let left = BLOCK.saturating_sub(*area % BLOCK);
            if total(&fields) > left {
                *area = area.next_multiple_of(BLOCK);
            }
            let room = BLOCK.saturating_sub(*area % BLOCK);
            let piece = taken(&mut fields, usize::try_from(room).expect("a block is small"));
            places.push(*area);
            let more = if fields.is_empty() {
                0
            } else {
                u64::try_from(CONTINUATION).expect("28")
            };
            *area = area.saturating_add(total([&piece])).saturating_add(more);
            pieces.push(piece);
        }
        Self { pieces, places }
    }

    /// Bytes in the record.
    pub(super) fn len(&self) -> usize {
        let more = if self.places.is_empty() { 0 } else { CONTINUATION };
        self.pieces.first().map_or(0, Vec::len).saturating_add(more)
    }

    /// What lies in the record, if the area begins at that byte of the image.
    pub(super) fn inline(&self, area: u64) -> Vec<u8> {
        self.piece(0, area)
    }

    /// What lies in the area: where in it, and which bytes.
    pub(super) fn continuations(&self, area: u64) -> impl Iterator<Item = (u64, Vec<u8>)> + '_ {
        let indices = 1..self.pieces.len();
        self.places
            .iter()
            .zip(indices)
            .map(move |(place, index)| (*place, self.piece(index, area)))
    }

    fn piece(&self, index: usize, area: u64) -> Vec<u8> {
        let mut bytes = self.pieces[index].clone();
        if let Some(place) = self.places.get(index) {
            let next = index.saturating_add(1);
            let mut len = total([&self.pieces[next]]);
            if self.places.len() > next {
                len = len.saturating_add(u64::try_from(CONTINUATION).expect("28"));
            }
            let at = area.saturating_add(*place);
            let numbers = [at / BLOCK, at % BLOCK, len]
                .map(|number| u32::try_from(number).expect("the image's blocks were counted"))
                .map(Both32::from);
            bytes.extend(field(*b"CE", &[numbers.as_bytes()]));
        }
        bytes
    }
}

/// Bytes of fields.
fn total<'a>(fields: impl IntoIterator<Item = &'a Field>) -> u64 {
    let lens = fields.into_iter().map(Vec::len);
    u64::try_from(lens.fold(0, usize::saturating_add)).expect("a length is a u64")
}

/// Takes as many fields as have room, with where it continues unless all of them have.
fn taken(fields: &mut VecDeque<Field>, room: usize) -> Vec<u8> {
    let all = fields.iter().map(Vec::len).fold(0, usize::saturating_add);
    let room = if all <= room {
        room
    } else {
        room.saturating_sub(CONTINUATION)
    };
    let mut piece = Vec::new();
    while let Some(field) = fields.pop_front_if(|field| piece.len().saturating_add(field.len()) <= room) {
        piece.extend(field);
    }
    piece
}

/// How many links every node has: of a directory, its name, its own and those of the directories in it.
pub(super) fn links(tree: &Tree) -> Vec<u32> {
    let is_directory = |id| matches!(tree.node(id).content, Content::Directory(_));
    let of = |node: &Node| match node.content {
        Content::Directory(entries) => {
            let count = tree.entries(entries).filter(|(_, id)| is_directory(*id)).count();
            u32::try_from(count).unwrap_or(u32::MAX).saturating_add(2)
        }
        _ => node.links,
    };
    tree.nodes().iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel makes of the fields of a target; or `libarchive`, which begins every field without a slash.
    fn read(fields: &[Field], libarchive: bool) -> Vec<u8> {
        let mut text = Vec::new();
        let mut slash = false;
        for field in fields {
            assert!(field.starts_with(b"SL") && field.len() == usize::from(field[2]));
            let mut rest = &field[5..];
            slash &= !libarchive;
            while let [flags, len, after @ ..] = rest {
                let (part, after) = after.split_at(usize::from(*len));
                if slash {
                    text.push(b'/');
                }
                match flags {
                    0 | 1 => text.extend(part),
                    2 => text.push(b'.'),
                    4 => text.extend(b".."),
                    8 => text.push(b'/'),
                    _ => panic!("{flags}"),
                }
                slash = matches!(flags, 0 | 2 | 4);
                rest = after;
            }
            assert!(rest.is_empty());
        }
        text
    }

    #[test]
    fn targets_of_every_kind_come_back() {
        let long = format!("/{}/..", vec!["component"; 300].join("/"));
        let longest = "x".repeat(4095);
        let cases = [
            "a", "/", "/a", "//a", "a/", "a//b", ".", "..", "../..", "./a/../b", "/a/b/", &long, &longest,
        ];
        for case in cases {
            for libarchive in [false, true] {
                assert_eq!(
                    read(&target(case.as_bytes()), libarchive),
                    case.as_bytes(),
                    "{case}"
                );
            }
        }
        for len in 240..520 {
            for rest in ["/b/cc", "/../cc", "/./x", "//x"] {
                let case = format!("{}{rest}", "y".repeat(len));
                assert_eq!(read(&target(case.as_bytes()), true), case.as_bytes(), "{case}");
                assert_eq!(read(&target(case.as_bytes()), false), case.as_bytes(), "{case}");
            }
        }
    }

    #[test]
    fn fields_lie_where_they_are_said_to_continue() {
        for len in [0, 1, 40, 90, 250, 251, 255] {
            for parts in [1_usize, 5, 30] {
                let text = vec![b'n'; len.max(1)];
                let fields: Vec<Field> = (0..parts).flat_map(|_| name(&text)).collect();
                let whole = fields.concat();
                let mut area = 2000;
                let laid = SystemUse::lay(fields, 180, &mut area);
                assert!(laid.len() <= 180);
                let start = 7 * BLOCK;
                let mut found = laid.inline(start);
                assert_eq!(found.len(), laid.len());
                for (place, bytes) in laid.continuations(start) {
                    let ce = found.split_off(found.len() - CONTINUATION);
                    let number = |at: usize| u32::from_le_bytes(ce[at..at + 4].try_into().unwrap());
                    assert!(ce.starts_with(b"CE"));
                    assert_eq!(u64::from(number(4)), 7 + place / BLOCK);
                    assert_eq!(u64::from(number(12)), place % BLOCK);
                    assert_eq!(number(20) as usize, bytes.len());
                    assert!(place % BLOCK + u64::from(number(20)) <= BLOCK);
                    assert!(place + u64::from(number(20)) <= area);
                    found.extend(bytes);
                }
                assert_eq!(found, whole);
            }
        }
    }
}

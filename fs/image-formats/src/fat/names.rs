//! The entries of a directory, with their long names.

use image_core::tree::Time;
use zerocopy::FromBytes as _;

use super::disk::{
    DIRECTORY, LAST_LONG, LONG_NAME, LONG_UNITS, SMALL_EXTENSION, SMALL_NAME, Short, VOLUME_ID, checksum,
};

/// What an entry names.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) is_directory: bool,
    pub(super) cluster: u32,
    pub(super) len: u32,
    pub(super) modified: Time,
}

/// The entries of a directory, but for `.`, `..` and labels.
pub(super) fn entries(directory: &[u8]) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut long = Long::default();
    for bytes in directory.chunks_exact(size_of::<Short>()) {
        let short = Short::read_from_bytes(bytes).expect("as many bytes");
        match short.name[0] {
            0 => break,
            0xe5 => long = Long::default(),
            _ if short.attr & 0x3f == LONG_NAME => long.take(bytes),
            _ if short.attr & VOLUME_ID != 0 || short.name[0] == b'.' => long = Long::default(),
            _ => {
                let name = std::mem::take(&mut long).name(&short.name);
                found.push(Entry {
                    name: name.unwrap_or_else(|| short_name(&short)),
                    is_directory: short.attr & DIRECTORY != 0,
                    cluster: u32::from(short.fst_clus_lo.get()) | (u32::from(short.fst_clus_hi.get()) << 16),
                    len: short.file_size.get(),
                    modified: super::time::read(short.wrt_date.get(), short.wrt_time.get()),
                });
            }
        }
    }
    found
}

fn short_name(short: &Short) -> String {
    let text = |bytes: &[u8], small: bool| {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let text = text.trim_end_matches(' ').to_owned();
        if small { text.to_ascii_lowercase() } else { text }
    };
    let mut bytes = short.name;
    // The byte that marks what was deleted can begin a name, too.
    if bytes[0] == 0x05 {
        bytes[0] = 0xe5;
    }
    let name = text(&bytes[..8], short.nt_res & SMALL_NAME != 0);
    let extension = text(&bytes[8..], short.nt_res & SMALL_EXTENSION != 0);
    if extension.is_empty() {
        name
    } else {
        format!("{name}.{extension}")
    }
}

/// A long name, whose parts come last first.
#[derive(Debug, Default)]
struct Long {
    units: Vec<u16>,
    /// The part that is expected next; 0 when all are there.
    next: u8,
    checksum: u8,
}

impl Long {
    fn take(&mut self, bytes: &[u8]) {
        let (order, checksum) = (bytes[0], bytes[13]);
        let number = order & !LAST_LONG;
        let continues =
            number != 0 && number == self.next && checksum == self.checksum && !self.units.is_empty();
        if order & LAST_LONG != 0 && (1..=20).contains(&number) {
            *self = Self {
                units: Vec::new(),
                next: number,
                checksum,
            };
        } else if !continues {
            *self = Self::default();
            return;
        }
        let mut part: Vec<u16> = LONG_UNITS
            .iter()
            .filter_map(|at| bytes.get(*at..at.saturating_add(2)))
            .map(|unit| u16::from_le_bytes([unit[0], unit[1]]))
            .collect();
        part.append(&mut self.units);
        self.units = part;
        self.next = number.saturating_sub(1);
    }

    /// The name, if all of it is there and belongs to a short name.
    fn name(self, short: &[u8; 11]) -> Option<String> {
        if self.units.is_empty() || self.next != 0 || checksum(short) != self.checksum {
            return None;
        }
        let units = self.units.split(|unit| *unit == 0).next()?;
        String::from_utf16(units).ok().filter(|name| !name.is_empty())
    }
}

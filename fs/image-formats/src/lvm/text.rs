//! The text that describes a group, which every physical volume has.

use std::fmt::{self, Write as _};

use super::{DATA, Group, Logical, Piece, SECTOR, extents};

/// Who made the group: a fixed word, since the machine that builds is no part of the image.
const HOST: &str = "dib";

/// The text, with the zero that ends it.
pub(super) fn of(group: &Group, places: &[Vec<Piece>]) -> Vec<u8> {
    let mut text = String::new();
    write(&mut text, group, places).expect("a string takes every text");
    text.push('\0');
    text.into_bytes()
}

fn write(text: &mut String, group: &Group, places: &[Vec<Piece>]) -> fmt::Result {
    let time = group.epoch.secs.max(0);
    writeln!(text, "{} {{", group.name)?;
    writeln!(
        text,
        "id = \"{}\"\nseqno = 1\nformat = \"lvm2\"",
        uuid(&group.uuid)
    )?;
    writeln!(text, "status = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []")?;
    writeln!(text, "extent_size = {}", group.extent.div_euclid(SECTOR))?;
    writeln!(text, "max_lv = 0\nmax_pv = 0\nmetadata_copies = 0")?;
    writeln!(text, "\nphysical_volumes {{")?;
    for (number, physical) in group.physical.iter().enumerate() {
        writeln!(text, "\npv{number} {{\nid = \"{}\"", uuid(&physical.uuid))?;
        writeln!(text, "device = \"{}\"\n", physical.name)?;
        writeln!(text, "status = [\"ALLOCATABLE\"]\nflags = []")?;
        writeln!(text, "dev_size = {}", physical.len.div_euclid(SECTOR))?;
        writeln!(text, "pe_start = {}", DATA.div_euclid(SECTOR))?;
        writeln!(text, "pe_count = {}\n}}", extents(physical.len, group.extent))?;
    }
    writeln!(text, "}}\n")?;
    if !group.logical.is_empty() {
        writeln!(text, "logical_volumes {{")?;
        for (logical, places) in group.logical.iter().zip(places) {
            write_logical(text, logical, places, group.extent, time)?;
        }
        writeln!(text, "}}")?;
    }
    writeln!(
        text,
        "}}\n\ncontents = \"Text Format Volume Group\"\nversion = 1\n"
    )?;
    writeln!(text, "description = \"\"\n")?;
    writeln!(text, "creation_host = \"{HOST}\"\ncreation_time = {time}\n")
}

fn write_logical(
    text: &mut String,
    logical: &Logical,
    places: &[Piece],
    extent: u64,
    time: i64,
) -> fmt::Result {
    writeln!(text, "\n{} {{\nid = \"{}\"", logical.name, uuid(&logical.uuid))?;
    writeln!(text, "status = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []")?;
    writeln!(text, "creation_time = {time}\ncreation_host = \"{HOST}\"")?;
    writeln!(text, "segment_count = {}", places.len())?;
    let count = |bytes: u64| bytes.checked_div(extent).unwrap_or(0);
    let mut start = 0_u64;
    for (number, piece) in (1..).zip(places) {
        writeln!(text, "\nsegment{number} {{\nstart_extent = {}", count(start))?;
        writeln!(text, "extent_count = {}\n", count(piece.len))?;
        writeln!(text, "type = \"striped\"\nstripe_count = 1\n\nstripes = [")?;
        let first = count(piece.offset.saturating_sub(DATA));
        writeln!(text, "\"pv{}\", {first}\n]\n}}", piece.physical)?;
        start = start.saturating_add(piece.len);
    }
    writeln!(text, "}}")
}

/// A UUID as people see it: in groups of characters, six, five times four, and six.
fn uuid(uuid: &[u8; 32]) -> String {
    let mut text = String::new();
    for (at, byte) in uuid.iter().enumerate() {
        if (6..30).contains(&at) && at % 4 == 2 {
            text.push('-');
        }
        text.push(char::from(*byte));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn uuids_stand_in_groups() {
        let digits = *b"0123456789abcdef0123456789ABCDEF";
        assert_eq!(super::uuid(&digits), "012345-6789-abcd-ef01-2345-6789-ABCDEF");
    }
}

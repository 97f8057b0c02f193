//! What volumes and groups may be called.
//!
//! Spec: lvm(8), "VALID NAMES".

/// The most bytes of a name.
const NAME_MAX: usize = 127;
/// What LVM's own volumes begin with, or have in them.
const RESERVED_STARTS: [&str; 2] = ["snapshot", "pvmove"];
const RESERVED_PARTS: [&str; 14] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_iorig", "_mimage", "_mlog", "_rimage", "_rmeta",
    "_tdata", "_tmeta", "_vdata", "_wcorig",
];

/// Why LVM would not take a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not letters, digits and `+_.-`.
    #[error("letters, digits and '+_.-' can be part of it, '{}' cannot", .0.escape_debug())]
    Character(char),
    /// Empty, `.` or `..`, or begins with a hyphen.
    #[error("it must not be empty, '.' or '..', nor begin with '-'")]
    Shape,
    /// LVM gives such names to volumes of its own.
    #[error("names with '{0}' are LVM's own")]
    Reserved(&'static str),
    /// Longer than LVM or the device mapper takes, with the hyphens that it doubles.
    #[error("it is {len} bytes long, and can have {most}")]
    TooLong {
        /// Bytes in it.
        len: usize,
        /// How many there may be.
        most: usize,
    },
}

pub(super) fn group(name: &str) -> Result<(), BadName> {
    let good = |char: &char| char.is_ascii_alphanumeric() || "+_.-".contains(*char);
    if let Some(char) = name.chars().find(|char| !good(char)) {
        return Err(BadName::Character(char));
    }
    if matches!(name, "" | "." | "..") || name.starts_with('-') {
        return Err(BadName::Shape);
    }
    length(name.len())
}

/// The name of a logical volume. With that of its group it is the name of a device.
pub(super) fn logical(of: &str, name: &str) -> Result<(), BadName> {
    group(name)?;
    let starts = RESERVED_STARTS.into_iter().find(|start| name.starts_with(start));
    let has = RESERVED_PARTS.into_iter().find(|part| name.contains(part));
    if let Some(reserved) = starts.or(has) {
        return Err(BadName::Reserved(reserved));
    }
    let doubled = |name: &str| name.len().saturating_add(name.matches('-').count());
    length(doubled(of).saturating_add(doubled(name)).saturating_add(1))
}

/// The name of a device stands in quotes.
pub(super) fn device(name: &str) -> Result<(), BadName> {
    let bad = |char: &char| !char.is_ascii_graphic() || "\"\\".contains(*char);
    name.chars()
        .find(bad)
        .map_or(Ok(()), |char| Err(BadName::Character(char)))
}

fn length(len: usize) -> Result<(), BadName> {
    let most = NAME_MAX;
    if len > most {
        return Err(BadName::TooLong { len, most });
    }
    Ok(())
}

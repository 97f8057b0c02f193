//! Names of members of archives, as a tree has them.

/// A name without empty and `.` components; `None` if it leads out of the tree.
pub(crate) fn normal(path: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    (!parts.contains(&&b".."[..])).then(|| parts.join(&b'/'))
}

//! Who wanted a build: the user that the builder was before it became root for it.

/// A user, as the kernel knows one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's id.
    pub uid: u32,
    /// The group's.
    pub gid: u32,
    /// The other groups'.
    pub groups: Vec<u32>,
}

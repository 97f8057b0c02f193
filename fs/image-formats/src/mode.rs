//! The bits of a mode that say what a file is, as POSIX's `<sys/stat.h>` has them on Linux.

pub(crate) const KIND: u32 = 0o170_000;
pub(crate) const FIFO: u32 = 0o010_000;
pub(crate) const CHAR_DEVICE: u32 = 0o020_000;
pub(crate) const DIRECTORY: u32 = 0o040_000;
pub(crate) const BLOCK_DEVICE: u32 = 0o060_000;
pub(crate) const FILE: u32 = 0o100_000;
pub(crate) const SYMLINK: u32 = 0o120_000;
pub(crate) const SOCKET: u32 = 0o140_000;

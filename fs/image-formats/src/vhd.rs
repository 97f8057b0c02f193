//! VHD: Virtual PC's disk, which Xen, Hyper-V and Azure take.
//!
//! Spec: Virtual Hard Disk Image Format Specification, Microsoft, 2006.
//!
//! A fixed disk is the disk itself with a footer behind it. A dynamic one begins with a copy of the footer, its header
//! and a table of where its blocks of 2 MiB lie, and ends with the footer. All of it is big-endian.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`] | what a user may choose, and what the consumers of such disks want |
//! | `header` | footer and header, as they stand on disk |
//! | `layout` | [`plan`]: a disk as a pure function of the guest's map |
//! | `check` | [`check()`]: whether the parts of a disk agree |
//! | `facts` | [`Facts`]: what a disk says of itself, be it one that cannot be read |
//! | `reader` | [`Guest`]: the guest of a disk, its own or another program's |

mod check;
mod facts;
mod header;
mod layout;
pub mod options;
mod reader;

pub use check::check;
pub use facts::Facts;
pub use layout::{Error, check_len, plan};
pub use options::{Options, Profile};
pub use reader::{Guest, ReadError};

//! VDI: `VirtualBox`'s disk.
//!
//! Spec: `VDICore.h` of `VirtualBox`, and <https://forums.virtualbox.org/viewtopic.php?t=8046>.
//!
//! A header, a map that says for every MiB of the guest which block of the file holds it, and the blocks. All of it is
//! little-endian.
//!
//! | module | what it is |
//! |---|---|
//! | `header` | the header, as it stands on disk |
//! | `layout` | [`Options`], and [`plan`]: a disk as a pure function of the guest's map |
//! | `check` | [`check()`]: whether the parts of a disk agree |
//! | `facts` | [`Facts`]: what a disk says of itself, be it one that cannot be read |
//! | `reader` | [`Guest`]: the guest of a disk, its own or another program's |

mod check;
mod facts;
mod header;
mod layout;
mod reader;

pub use check::check;
pub use facts::Facts;
pub use layout::{Error, Options, check_len, plan};
pub use reader::{Guest, ReadError};

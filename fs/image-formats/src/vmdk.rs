//! VMDK: `VMware`'s disk, as one file.
//!
//! Spec: Virtual Disk Format 5.0, `VMware`, 2011.
//!
//! Grains of 64 KiB are found through a directory of tables. A sparse disk has its tables in front; a stream-optimized
//! one holds compressed grains, each table behind its grains, and markers between them, so that it can be written to a
//! pipe and read from one. A text in the file describes it. All numbers are little-endian, most count sectors.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`] | what a user may choose, in the words of `qemu-img convert -o`; the text |
//! | `header` | header and markers, as they stand on disk |
//! | `layout` | [`plan`]: a sparse disk as a pure function of the guest's map |
//! | `sink` | [`StreamSink`]: one pass from guest to stream-optimized disk |
//! | `check` | [`check()`]: whether the parts of a disk agree |
//! | `facts` | [`Facts`]: what a disk says of itself, be it one that cannot be read |
//! | `reader` | [`Guest`]: the guest of either, its own or another program's |

mod check;
mod facts;
mod header;
mod layout;
pub mod options;
mod reader;
mod sink;

pub use check::check;
pub use facts::Facts;
pub use layout::{Error, check_len, plan};
pub use options::Options;
pub use reader::{Guest, ReadError};
pub use sink::{StartError, StreamSink};

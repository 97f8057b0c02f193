//! qcow2: QEMU's copy-on-write image, versions 3 and 2.
//!
//! Spec: <https://www.qemu.org/docs/master/interop/qcow2.html>
//!
//! A guest cluster is found through the L1 table, whose entries name L2 tables, whose entries name host clusters; a
//! reference count stands for every host cluster. All of it is big-endian.
//!
//! | module | what it is |
//! |---|---|
//! | [`options`] | what a user may choose, in the words of `qemu-img convert -o` |
//! | `geometry` | cluster sizes, and how many entries and clusters an image needs |
//! | `header` | the header and the entries of the tables, as they stand on disk |
//! | `layout` | [`plan`]: an uncompressed image as a pure function of the guest's map |
//! | `allocation` | where a compressed image puts what, discovered cluster by cluster |
//! | `sink` | [`CompressedSink`]: one pass from guest to compressed image |
//! | `reader` | [`Reader`]: the guest of an image, its own or another program's |
//! | [`mod@check`] | whether an image's tables and reference counts agree |
//! | `facts` | [`Facts`]: what an image says of itself, be it one that cannot be read |
//! | `guest` | [`Guest`]: the same for several threads at once |
//!
//! Never written: backing files, external data files, encryption, extended L2 entries, snapshots, bitmaps. `OpenStack`
//! refuses the first three and the fourth, and a fresh image has no use for the others.

mod allocation;
pub mod check;
mod facts;
mod geometry;
mod guest;
mod header;
mod layout;
pub mod options;
mod reader;
mod sink;

pub use check::{Fault, check};
pub use facts::Facts;
pub use geometry::{ClusterSize, Error};
pub use guest::Guest;
pub use layout::{check_len, plan};
pub use options::{CompressionType, Options};
pub use reader::{ReadError, Reader};
pub use sink::{CompressedSink, StartError};

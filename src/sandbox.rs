//! The sandbox of a build: who sees what, as plain data, and the tier that makes it true.
//!
//! Tier T0, root with the right to mount: one private mount, pid, ipc and uts namespace holds the whole build, so
//! that nothing can leak. When the builder dies, by any signal, the kernel ends every process of the build and takes
//! every mount away; what is left is an empty or a plain directory, which the next start sweeps.
//!
//! | module | what it is |
//! |---|---|
//! | [`supervise`](mod@supervise) | the builder, outside the namespaces: starts the build, logs, cleans up |
//! | [`workdir`] | the build's directory, and the sweep of those whose builder died |
//! | [`mounts`] | what is mounted where, and its way back |
//! | [`rooted`] | access to a tree that cannot leave it, whatever symlinks it holds |
//! | [`launch`] | starting processes, on the host or in a chroot: the only place that does |
//! | `sys` | the few system calls that no safe crate offers: all `unsafe` code |

pub mod launch;
pub mod mounts;
pub mod rooted;
pub mod supervise;
mod sys;
pub mod workdir;

pub use supervise::supervise;

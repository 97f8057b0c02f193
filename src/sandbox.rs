//! The sandbox of a build: who sees what, as plain data, and the tier that makes it true.
//!
//! Tiers T0 and T2: one private mount, pid, ipc and uts namespace holds the whole build, so that nothing can leak. When
//! the builder dies, by any signal, the kernel ends every process of the build and takes every mount away; what is left
//! is an empty or a plain directory, which the next start sweeps. Tier T1 mounts nothing, and a keeper ends its
//! processes.
//!
//! | module | what it is |
//! |---|---|
//! | [`tier`] | the ladder of privileges, and what a build was granted |
//! | [`probe`] | which tiers this host allows, found by trying them, and why not the others |
//! | [`caller`], [`sudo`] | who wanted the build, where sudo lets the builder become root for it |
//! | [`supervise`](mod@supervise) | the builder, outside the namespaces: starts the build, logs, cleans up |
//! | [`workdir`] | the build's directory, and the sweep of those whose builder died |
//! | `unshared`, [`mounts`], `dev` | T0 and T2: namespaces, what is mounted where and its way back, a small `/dev` |
//! | `keeper`, [`offspring`], [`plain`] | T1: ending what no namespace ends, a tree without mounts |
//! | [`idmap`] | T2: the user namespace, and which ids it has |
//! | [`witness`], `filter` | the system calls of hooks that the builder hears of: device nodes of T2, ways to a network |
//! | [`node_list`] | those device nodes, told to a program in the chroot |
//! | [`network`] | the network of a build that has none |
//! | [`furnish`] | what a phase finds in the tree, in any tier |
//! | `removal` | removing directories, whatever hooks left in them |
//! | [`compile_cache`] | the cache of compilations, lent to the tree in any tier |
//! | [`rooted`] | access to a tree that cannot leave it, whatever symlinks it holds |
//! | [`launch`] | starting processes, on the host or in a chroot: the only place that does |
//! | `terminal` | the caller's terminal, lent to a shell in the middle of a build |
//! | `sys` | the few system calls that no safe crate offers: all `unsafe` code |

pub mod caller;
pub mod compile_cache;
mod dev;
mod filter;
pub mod furnish;
pub mod idmap;
mod keeper;
pub mod launch;
pub mod mounts;
pub mod network;
pub mod node_list;
pub mod offspring;
pub mod plain;
pub mod probe;
mod removal;
pub mod rooted;
pub mod sudo;
pub mod supervise;
mod sys;
mod terminal;
pub mod tier;
mod unshared;
pub mod witness;
pub mod workdir;

pub use supervise::supervise;
pub use sys::{inherited, make_errors_of_file_limits};

/// Gives this process mounts of its own, which go when it goes, where the tier has mounts at all. It has one thread.
pub fn own_mounts(tier: tier::Tier) -> std::io::Result<()> {
    if tier.has_namespaces() {
        sys::new_namespaces()?;
        mounts::make_private()?;
    }
    Ok(())
}

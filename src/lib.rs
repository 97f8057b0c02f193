//! A disk image builder that needs nothing from its host.
//!
//! Elements, directories of hooks, populate a root tree in a sandbox; the tree is scanned into a value; planners turn
//! the value into a map of extents; one loop copies the bytes, once, into every output. In the order in which a build
//! passes through them:
//!
//! | module | what it does |
//! |---|---|
//! | [`cli`] | the commands, one module each: arguments, help, exit statuses |
//! | [`environment`] | the caller's variables, captured once |
//! | [`settings`] | flag, else variable, else default: what a build was asked for |
//! | [`given`] | files that elements give, read within limits |
//! | [`element`] | the library of elements, their resolution, the tree of hooks; pure |
//! | [`filesystem`] | the options of the root file system |
//! | [`blockdevice`] | the disks: partitions, volumes, file systems and where they are mounted |
//! | [`identity`] | the seed and time stamp of a build: the one place that asks for randomness |
//! | [`breaks`] | where a build stops for a shell |
//! | [`plan`] | everything decided, nothing done; `dib plan` prints it |
//! | [`sandbox`] | namespaces, mounts, processes; `sandbox/sys.rs` holds all `unsafe` code |
//! | [`runner`] | a directory of hooks → processes, in order |
//! | [`pipeline`] | runs a plan, phase by phase; the only place that knows the order |
//! | [`sbom`] | the packages of an image, each with the element that brought it, as SPDX and `CycloneDX` |
//! | [`record`] | the record of a build that its image keeps, without secrets |
//! | [`selinux`] | the labels of files, by the policy that lies in the tree |
//! | [`output`] | a map of extents → files: temporary, digested, synced, renamed |
//! | [`room`] | how much there is on file systems and in memory |
//! | [`applets`] | what hooks call by name, the same binary under other names |
//! | [`boot`] | boot loaders without a disk: GRUB's tools answered from the plan of the disks |
//! | [`ramdisk`] | what of a tree goes into a ramdisk, and how that is packed |
//! | [`fetch`] | HTTP, HTTPS and files of this machine → a file: proxies, retries, resumption, names, certificates |
//! | [`cache`] | what was fetched before: whole or not there, digested, locked |
//! | [`inspect`] | images of others: containers, partitions and file systems → trees |
//! | [`bootstrap`] | the archive of Debian or Ubuntu → a root, without their tools |
//! | [`unpack`] | archives of others → a directory that they cannot leave |
//! | [`ui`], [`clock`] | all printing, and its time stamps; what a build tells the operator, and programs |
//! | [`suggest`] | which known word was meant by an unknown one |
//! | [`error`] | what a user is told when something fails; the table of exit statuses |
//!
//! What is written into images, and how, is the business of the crates `image-core`, `ext4-rs-writer` and
//! `image-formats`, which know nothing of elements.

pub mod applets;
pub mod blockdevice;
pub mod boot;
pub mod bootstrap;
pub mod breaks;
pub mod cache;
pub mod cli;
pub mod clock;
mod document;
pub mod element;
pub mod environment;
pub mod error;
pub mod fetch;
pub mod filesystem;
pub mod given;
pub mod identity;
pub mod inspect;
#[doc(hidden)]
pub mod laws;
pub mod output;
pub mod phase;
pub mod pipeline;
pub mod plan;
pub mod ramdisk;
pub mod record;
pub mod room;
pub mod runner;
pub mod sandbox;
pub mod sbom;
pub mod selinux;
pub mod settings;
pub mod suggest;
pub mod ui;
pub mod unpack;

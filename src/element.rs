//! Elements: where they come from, which of them a build needs, and the one tree of hooks that they make together.
//!
//! | module | what it is |
//! |---|---|
//! | [`library`] | `ELEMENTS_PATH` and the built-in elements → every element there is |
//! | [`resolve`] | words of the command line → the elements of a build, by deps and provides |
//! | [`reasons`] | why each of them is one of the build |
//! | [`hooks`] | the elements of a build → the tree of hooks |
//! | [`portrait`] | an element as its readers want to know it |
//! | [`ignored`] | files of an element that no build runs, and why |
//! | [`source_repositories`] | lines of `source-repository-*` files → what an element wants fetched |

pub mod hooks;
pub mod ignored;
pub mod library;
pub mod portrait;
pub mod reasons;
pub mod resolve;
pub mod source_repositories;

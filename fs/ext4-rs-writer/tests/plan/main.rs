//! Plans: which sizes and shapes come out, what is refused and with which numbers, and what a plan costs. What is
//! planned is written, and e2fsck, dumpe2fs and resize2fs judge it.
//!
//! The battery `judged` compares with the tree what is in an image; here the trees are of the simplest.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the rule for sizes is upstream's, which computes with floating point"
)]

mod common;
mod growth;
mod images;
mod mixtures;
mod scale;
mod sizes;

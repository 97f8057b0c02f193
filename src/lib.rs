//! A disk image builder that needs nothing from its host.

pub mod applets;

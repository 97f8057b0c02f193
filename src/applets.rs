//! What hooks call by name: the same binary under other names.

pub mod package_installs;
pub mod pkg_map;

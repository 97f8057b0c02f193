//! The network of a build that has none.

use std::io;

use super::sys;

/// Raises the loopback interface of a new network namespace: programs of a build may talk to each other.
pub(super) fn raise_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    sys::raise_interface(&socket, c"lo")
}

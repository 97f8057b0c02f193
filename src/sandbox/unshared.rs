//! Tiers T0 and T2: namespaces of the build's own, entered by its first process.
//!
//! Nothing can leak out of them: what is mounted there is mounted nowhere else, and goes with the last process; with
//! the first process of the pid namespace all others die.

use std::borrow::Cow;
use std::io;

use rustix::mount::mount_bind;

use super::tier::{Network, Tier};
use super::{dev, mounts, network, sys};

/// What was tried last.
pub(super) type Step = Cow<'static, str>;

/// Moves the first process of a pid namespace into namespaces of its own, and makes them the build's.
pub(super) fn enter(tier: Tier, network: Network, step: &mut Step) -> io::Result<()> {
    *step = "new mount, ipc and uts namespaces".into();
    sys::new_namespaces()?;
    *step = "cutting the mounts off from the host's".into();
    mounts::make_private()?;
    *step = "mounting proc".into();
    mounts::mount_proc()?;
    *step = "a small /dev".into();
    let nodes = mounts::nodes(tier)?;
    dev::cover(&nodes)?;
    if network == Network::None {
        *step = "a new network namespace".into();
        sys::new_network()?;
        // Without the loopback interface the build is cut off just as well.
        let _ = network::raise_loopback();
        cover_name_servers()?;
    }
    Ok(())
}

/// Sends programs that ask for names to whoever takes note of these.
fn cover_name_servers() -> io::Result<()> {
    // The small /dev is the one file system that is the build's own by now.
    let file = "/dev/.resolv.conf";
    std::fs::write(file, network::RESOLV_CONF)?;
    match mount_bind(file, "/etc/resolv.conf") {
        // A host without the file asks the machine itself, which is heard, too.
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}

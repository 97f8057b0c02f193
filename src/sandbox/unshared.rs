//! Tiers T0 and T2: namespaces of the build's own, entered by its first process.
//!
//! Nothing can leak out of them: what is mounted there is mounted nowhere else, and goes with the last process; with
//! the first process of the pid namespace all others die.

use std::borrow::Cow;
use std::io;

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
    }
    Ok(())
}

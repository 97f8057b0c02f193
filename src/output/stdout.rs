//! An output that goes to standard output: `-o -`.
//!
//! From [`claim`] on, standard output is the image's alone: whatever else this process or its children print goes to
//! standard error.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::OnceLock;

use crate::error::{Context as _, Error, Result};

/// The name that stands for it.
pub const NAME: &str = "-";

static CLAIMED: OnceLock<OwnedFd> = OnceLock::new();

/// Takes standard output, if the name asks for it. A second time it is taken already.
pub fn claim(name: &str) -> Result<()> {
    if name != NAME || CLAIMED.get().is_some() {
        return Ok(());
    }
    if io::stdout().is_terminal() {
        return Err(Error::usage("-o -: standard output is a terminal")
            .hint("send it to a file or a pipe, or name an output with -o NAME"));
    }
    let tried = || "cannot write to standard output".to_owned();
    let out = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3).host(tried)?;
    rustix::stdio::dup2_stdout(io::stderr()).host(tried)?;
    // Nobody else claims: no other thread runs yet.
    let _ = CLAIMED.set(out);
    Ok(())
}

/// Standard output, as it was before it was claimed.
pub(super) fn claimed() -> io::Result<File> {
    let out = match CLAIMED.get() {
        Some(out) => out.try_clone()?,
        None => io::stdout().as_fd().try_clone_to_owned()?,
    };
    Ok(File::from(out))
}

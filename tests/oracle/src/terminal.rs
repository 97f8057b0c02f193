//! A program on a terminal: a pseudo-terminal of 100 columns, and all that the program writes to it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Where a program's standard output goes; its input and standard error are the terminal.
#[derive(Debug)]
pub enum Out {
    /// To the terminal.
    Terminal,
    /// To a file.
    File(File),
}

/// Runs a program to its end on a terminal, with this environment only, in a directory. Returns its status and what it
/// wrote to the terminal.
pub fn run(
    program: &Path,
    args: &[&str],
    environment: &[(&str, &str)],
    dir: &Path,
    out: Out,
) -> (Option<i32>, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are pseudo-terminals");
    grantpt(&master).expect("the terminal is ours");
    unlockpt(&master).expect("the terminal is ours");
    let size = Winsize {
        ws_row: 24,
        ws_col: 100,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master.as_fd(), size).expect("a terminal has a size");
    let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let slave = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("the terminal can be opened");
    let slave = File::from(slave);
    let again = || Stdio::from(slave.try_clone().expect("descriptors can be duplicated"));
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(dir)
        .stdin(again())
        .stdout(match out {
            Out::Terminal => again(),
            Out::File(file) => Stdio::from(file),
        })
        .stderr(again());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    // The command holds the terminal, too, which ends when nobody does.
    drop((command, slave));
    let text = all(&mut File::from(master));
    let status = child.wait().expect("a child can be waited for");
    (status.code(), text)
}

/// All that is written to a terminal until nobody can write to it any more.
fn all(master: &mut File) -> String {
    let (mut bytes, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        match master.read(&mut buf) {
            Ok(0) => break,
            Ok(len) => bytes.extend_from_slice(&buf[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The system's word for it.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => break,
            Err(error) => panic!("the terminal cannot be read: {error}"),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

//! A program as its users meet it: arguments, environment, directory in; output and status out.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How long a program may be silent that was spoken to.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a program to its end, with this environment only, in a directory.
pub fn run(program: &Path, args: &[&str], environment: &[(&str, &str)], dir: &Path) -> Output {
    command(program, args, environment, dir)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// Starts a program, whose output nobody wants.
pub fn start(program: &Path, args: &[&str], environment: &[(&str, &str)], dir: &Path) -> Child {
    command(program, args, environment, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

/// Runs a program that is talked to: each line is sent once the program has said the words before it, from there on where
/// it said the last ones. Then its input ends. Gives how it ended, and all that it said on its standard output.
pub fn converse(
    program: &Path,
    args: &[&str],
    environment: &[(&str, &str)],
    dir: &Path,
    lines: &[(&str, &str)],
) -> (ExitStatus, String) {
    let mut child = command(program, args, environment, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut input = child.stdin.take().expect("piped above");
    let mut output = child.stdout.take().expect("piped above");
    let (sender, parts) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(len @ 1..) = output.read(&mut buf) {
            if sender.send(buf[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    let (mut said, mut heard) = (Vec::new(), 0);
    for (words, line) in lines {
        let found = |said: &[u8]| {
            let unheard = said[heard..].windows(words.len());
            unheard
                .enumerate()
                .find(|(_, part)| *part == words.as_bytes())
                .map(|(at, _)| at)
        };
        let at = loop {
            if let Some(at) = found(&said) {
                break at;
            }
            let Ok(part) = parts.recv_timeout(PATIENCE) else {
                let _ = child.kill();
                panic!("'{words}' was never said:\n{}", String::from_utf8_lossy(&said));
            };
            said.extend(part);
        };
        heard += at + words.len();
        input.write_all(line.as_bytes()).expect("the program listens");
    }
    drop(input);
    said.extend(parts.iter().flatten());
    reader.join().expect("reading does not panic");
    let status = child.wait().expect("the program was started");
    (status, String::from_utf8_lossy(&said).into_owned())
}

fn command(program: &Path, args: &[&str], environment: &[(&str, &str)], dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

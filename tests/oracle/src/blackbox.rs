//! A program as its users meet it: arguments, environment, directory in; output and status out.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

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

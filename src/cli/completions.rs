//! `dib completions`: what a shell needs to complete command lines.
//!
//! Generated from the definitions of the commands. One script for all names of the program is to be sourced; a package
//! wants one file for each, which is what naming a command gives.

use clap::{Arg, Command, Parser};
use clap_complete::Shell;

use super::{COMMANDS, after_help, command_of};
use crate::error::{Error, Result};
use crate::suggest::nearest;
use crate::ui;

const EXAMPLES: &str = "\
Examples:
  source <(dib completions bash)
      completes options, and names of elements, in this shell; in zsh likewise

  dib completions zsh disk-image-create >/usr/share/zsh/site-functions/_disk-image-create
      installs the file of one command

  dib completions fish >~/.config/fish/completions/dib.fish";

/// What stands for the elements in a script while it is made: the one value that an element can have.
const PLACE: &str = "@elements@";

/// What bash runs to list them.
const ELEMENTS: &str = "$(dib element-info --all 2>/dev/null || element-info --all 2>/dev/null)";

/// Print completions for a shell.
#[derive(Debug, Parser)]
#[command(name = "completions", after_help = after_help(EXAMPLES))]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
    /// The name of the program to complete [default: all of them]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Prints them.
pub fn run(args: &Args) -> Result<()> {
    let names = match &args.command {
        None => COMMANDS.to_vec(),
        Some(name) => {
            let known = COMMANDS.into_iter().find(|known| known == name);
            vec![known.ok_or_else(|| unknown(name))?]
        }
    };
    let scripts = names.into_iter().map(|name| script(args.shell, name));
    ui::print(joined(args.shell, &scripts.collect::<Vec<_>>()))
}

fn unknown(name: &str) -> Error {
    let error = Error::usage(format!("'{name}' is no name of the program"));
    match nearest(name, COMMANDS) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(format!("its names are {}", COMMANDS.join(", "))),
    }
}

/// The script for one name.
fn script(shell: Shell, name: &str) -> String {
    let mut script = Vec::new();
    if let Some(command) = command_of(name) {
        let mut command = if shell == Shell::Bash {
            with_place(command)
        } else {
            command
        };
        clap_complete::generate(shell, &mut command, name, &mut script);
    }
    String::from_utf8_lossy(&script).replace(PLACE, ELEMENTS)
}

/// The command and its subcommands with a place for elements among the words to choose from.
fn with_place(command: Command) -> Command {
    let is_element = |arg: &Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        arg.is_positional() && names.iter().any(|name| name == "ELEMENT")
    };
    command
        .mut_args(|arg| {
            if is_element(&arg) {
                arg.value_parser([PLACE])
            } else {
                arg
            }
        })
        .mut_subcommands(with_place)
}

/// One script of several. In PowerShell imports must stand before everything else, each once.
fn joined(shell: Shell, scripts: &[String]) -> String {
    let import = |line: &&str| shell == Shell::PowerShell && line.starts_with("using namespace ");
    let lines = || scripts.iter().flat_map(|script| script.lines());
    let mut imports: Vec<&str> = lines().filter(import).collect();
    imports.sort_unstable();
    imports.dedup();
    let rest = lines().filter(|line| !import(line));
    let all: Vec<&str> = imports.iter().copied().chain(rest).collect();
    all.join("\n") + "\n"
}

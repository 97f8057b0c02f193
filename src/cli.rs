//! The commands: one program, told apart by the name it is called by, or by the first argument of `dib`.

pub mod assemble;
pub mod cat;
pub mod check;
pub mod completions;
pub mod convert;
pub mod diff;
pub mod disk_image_create;
pub mod diskimage_builder;
pub mod doctor;
pub mod element_info;
pub mod elements;
pub mod get_kernel;
mod getopt;
pub mod inspect;
pub mod install_links;
pub mod lint;
pub mod lock;
pub mod ls;
pub mod manual;
pub mod plan;
pub mod ramdisk_image_create;
pub mod run_parts;
mod shell;
pub mod test_element;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::applets::APPLETS;
use crate::environment::Environment;
use crate::error::{Error, Kind, Result, STATUSES};
use crate::sandbox::{make_errors_of_file_limits, sudo};
use crate::suggest::nearest;
use crate::ui;
use crate::ui::colour::When;

/// The names by which the program can be called.
pub const COMMANDS: [&str; 8] = [
    "dib",
    "disk-image-create",
    "ramdisk-image-create",
    "element-info",
    "diskimage-builder",
    "dib-lint",
    "dib-run-parts",
    "disk-image-get-kernel",
];

const EXAMPLES: &str = "\
Examples:
  dib build -o debian debian-minimal
      debian.qcow2, a Debian image; disk-image-create is the same command under its old name

  dib plan -p nginx debian-minimal
      what that would do, and why

  dib man disk-image-create | man -l -
      the manual of a command";

/// What follows the options of every command: its examples, then the one table of exit statuses.
fn after_help(examples: &str) -> String {
    let statuses = STATUSES
        .iter()
        .map(|(status, meaning)| format!("  {status:<7} {meaning}\n"));
    format!("{examples}\n\nExit status:\n{}", statuses.collect::<String>())
}

/// Builds disk and file system images from elements.
#[derive(Debug, Parser)]
#[command(name = "dib", version, after_help = after_help(EXAMPLES))]
struct Dib {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image from elements
    #[command(name = "disk-image-create", visible_alias = "build")]
    Create(disk_image_create::Args),
    /// Build a ramdisk and take its kernel along
    #[command(name = "ramdisk-image-create", visible_alias = "ramdisk")]
    Ramdisk(ramdisk_image_create::Args),
    /// Print what a build would do, and why
    Plan(plan::Args),
    /// Write down the packages of a build, for --locked
    Lock(lock::Args),
    /// Write images of a directory or a tar archive, without elements
    Assemble(assemble::Args),
    /// Print what an image is and what is in it
    Inspect(inspect::Args),
    /// List files of an image
    Ls(ls::Args),
    /// Print files of an image
    Cat(cat::Args),
    /// Compare the files of two images
    Diff(diff::Args),
    /// Check whether an image is consistent
    Check(check::Args),
    /// Take kernel and initial ramdisk out of an image
    #[command(name = "disk-image-get-kernel", visible_alias = "get-kernel")]
    GetKernel(get_kernel::Args),
    /// Write a disk image in other formats
    Convert(convert::Args),
    /// List the elements that there are, or show all about some of them
    Elements(elements::Args),
    /// Test elements by the cases that they bring
    TestElement(test_element::Args),
    /// Print the elements that elements need
    ElementInfo(element_info::Args),
    /// Build the images that YAML files describe
    DiskimageBuilder(diskimage_builder::Args),
    /// Explain which builds this host allows, and what would allow more
    Doctor(doctor::Args),
    /// Find mistakes in elements
    #[command(name = "dib-lint", visible_alias = "lint")]
    Lint(lint::Args),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Print the manual page of a command
    #[command(name = "man")]
    Manual(manual::Args),
    /// Make links that call this program by its other names
    InstallLinks(install_links::Args),
}

/// The definition of a name of the program, or of a command of `dib`.
fn command_of(name: &str) -> Option<clap::Command> {
    Some(match name {
        "dib" => Dib::command(),
        "disk-image-create" => disk_image_create::Args::command(),
        "ramdisk-image-create" => ramdisk_image_create::Args::command(),
        "element-info" => element_info::Args::command(),
        "diskimage-builder" => diskimage_builder::Args::command(),
        "dib-lint" => lint::Args::command(),
        "dib-run-parts" => run_parts::command(),
        "disk-image-get-kernel" => get_kernel::Args::command(),
        _ => Dib::command().find_subcommand(name)?.clone(),
    })
}

/// Every name that [`command_of`] knows, but for aliases.
fn command_words() -> Vec<String> {
    let dib = Dib::command();
    let own = COMMANDS.into_iter().map(str::to_owned);
    let subcommands = dib.get_subcommands().map(|command| command.get_name().to_owned());
    let mut words: Vec<String> = own.chain(subcommands).collect();
    words.sort();
    words.dedup();
    words
}

/// Runs the command that the program was called by.
pub fn main() -> ExitCode {
    // Where that cannot be had, the kernel's way is as good: outputs appear whole or not at all.
    let _ = make_errors_of_file_limits();
    let (args, environment) = match sudo::invocation() {
        Ok(invocation) => invocation,
        Err(error) => {
            ui::error(&error);
            return ExitCode::from(error.kind().status());
        }
    };
    ui::colour::choose(None, &environment);
    let called = args.first().map_or(Path::new("dib"), Path::new);
    let name = called.file_name().and_then(OsStr::to_str).unwrap_or("dib");
    if let Some((_, applet)) = APPLETS.iter().find(|(applet, _)| *applet == name) {
        return ExitCode::from(applet(&args));
    }
    match run(name, &args, environment).map_err(|error| judged(error, &args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.kind() != Kind::Found {
                ui::error(&error);
            }
            ExitCode::from(error.kind().status())
        }
    }
}

/// A mistake on the command line of what compares or checks is no verdict.
fn judged(error: Error, args: &[OsString]) -> Error {
    let command = args.get(1).and_then(|word| word.to_str());
    if error.kind() == Kind::Usage && matches!(command, Some("diff" | "check")) {
        error.into_trouble()
    } else {
        error
    }
}

fn run(name: &str, args: &[OsString], environment: Environment) -> Result<()> {
    match name {
        "disk-image-create" => with(args, |parsed| disk_image_create::run(parsed, args, environment)),
        "ramdisk-image-create" => with(args, |parsed| {
            ramdisk_image_create::run(parsed, args, environment)
        }),
        "element-info" => with(args, |parsed| element_info::run(&parsed, &environment)),
        "diskimage-builder" => with(args, |parsed| diskimage_builder::run(&parsed, &environment)),
        "dib-lint" => with(args, |parsed| lint::run(&parsed, &environment)),
        "dib-run-parts" => run_parts::run(&args[1..], &environment),
        "disk-image-get-kernel" => with(args, |parsed| get_kernel::run(&parsed, &environment)),
        test_element::assertions::NAME => test_element::assertions::run(args, &environment),
        _ => with(args, |dib: Dib| match dib.command {
            Command::Create(parsed) => disk_image_create::run(parsed, &args[1..], environment),
            Command::Ramdisk(parsed) => ramdisk_image_create::run(parsed, &args[1..], environment),
            Command::Plan(parsed) => plan::run(parsed, &args[1..], environment),
            Command::Lock(parsed) => lock::run(parsed, &args[1..], environment),
            Command::Assemble(parsed) => assemble::run(&parsed, &environment),
            Command::Inspect(parsed) => inspect::run(&parsed, &environment),
            Command::Ls(parsed) => ls::run(&parsed, &environment),
            Command::Cat(parsed) => cat::run(&parsed, &environment),
            Command::Diff(parsed) => diff::run(&parsed, &environment),
            Command::Check(parsed) => check::run(&parsed, &environment),
            Command::GetKernel(parsed) => get_kernel::run(&parsed, &environment),
            Command::Convert(parsed) => convert::run(&parsed, &environment),
            Command::Elements(parsed) => elements::run(&parsed, &environment),
            Command::TestElement(parsed) => test_element::run(&parsed, &environment),
            Command::ElementInfo(parsed) => element_info::run(&parsed, &environment),
            Command::DiskimageBuilder(parsed) => diskimage_builder::run(&parsed, &environment),
            Command::Doctor(parsed) => doctor::run(&parsed, &environment),
            Command::Lint(parsed) => lint::run(&parsed, &environment),
            Command::Completions(parsed) => completions::run(&parsed),
            Command::Manual(parsed) => manual::run(&parsed),
            Command::InstallLinks(parsed) => install_links::run(&parsed),
        }),
    }
}

/// Parses the arguments and runs the command, or prints what was asked for about it.
fn with<P: CommandFactory + FromArgMatches>(
    args: &[OsString],
    run: impl FnOnce(P) -> Result<()>,
) -> Result<()> {
    let mut command = P::command();
    command.build();
    let words = arranged(&command, args)?;
    if let Some(when) = colour(&words) {
        ui::colour::choose(Some(when), &Environment::capture());
    }
    let parsed = command
        .try_get_matches_from(words)
        .and_then(|matches| P::from_arg_matches(&matches));
    match parsed {
        Ok(parsed) => run(parsed),
        Err(text) if !text.use_stderr() => ui::print(text),
        Err(error) => {
            let text = error.to_string();
            Err(Error::usage(
                text.strip_prefix("error: ").unwrap_or(&text).trim_end(),
            ))
        }
    }
}

/// The operands of a build's command line, which has been read wholly.
pub(crate) fn read_build(words: &[OsString]) -> Result<Vec<OsString>> {
    let mut command = disk_image_create::Args::command();
    command.build();
    let words = getopt::arrange(&command, words)?;
    let operands = words
        .iter()
        .skip_while(|word| *word != "--")
        .skip(1)
        .cloned()
        .collect();
    let name = OsString::from(command.get_name());
    match command.try_get_matches_from([name].into_iter().chain(words)) {
        Err(error) if error.use_stderr() => Err(Error::usage(error.to_string())),
        _ => Ok(operands),
    }
}

/// What `--color` says, known before anything else is, so that complaints about the rest keep to it.
fn colour(words: &[OsString]) -> Option<When> {
    let options = words.iter().take_while(|word| *word != "--");
    let said = options.filter_map(|word| word.to_str()?.strip_prefix("--color="));
    said.last()?.parse().ok()
}

/// The words of a command line, or of that of a subcommand, in the form that clap cannot misread.
fn arranged(command: &clap::Command, args: &[OsString]) -> Result<Vec<OsString>> {
    let (name, words) = args.split_first().ok_or_else(|| Error::usage("no arguments"))?;
    let first = words.first().and_then(|word| word.to_str());
    let mut arranged = vec![name.clone()];
    match first.filter(|word| command.has_subcommands() && !word.starts_with('-')) {
        Some(word) => {
            let subcommand = subcommand(command, word)?;
            arranged.push(subcommand.get_name().into());
            let words = &words[1..];
            if subcommand.has_subcommands() {
                arranged.extend_from_slice(words);
            } else {
                arranged.extend(getopt::arrange(subcommand, words)?);
            }
        }
        None => arranged.extend(getopt::arrange(command, words)?),
    }
    Ok(arranged)
}

/// The subcommand whose name is `word` or, unlike any other's, begins with it.
fn subcommand<'a>(command: &'a clap::Command, word: &str) -> Result<&'a clap::Command> {
    if let Some(exact) = command.find_subcommand(word) {
        return Ok(exact);
    }
    let names = |subcommand: &'a clap::Command| {
        let names = std::iter::once(subcommand.get_name()).chain(subcommand.get_visible_aliases());
        names.collect::<Vec<_>>()
    };
    let all = || command.get_subcommands();
    let mut begun = all().filter(|subcommand| names(subcommand).iter().any(|name| name.starts_with(word)));
    if let (Some(only), None) = (begun.next(), begun.next()) {
        return Ok(only);
    }
    let error = Error::usage(format!("there is no command '{word}'"));
    Err(match nearest(word, all().flat_map(names)) {
        Some(name) => error.hint(format!("did you mean {name}?")),
        None => error.hint("--help lists the commands"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_sound() {
        for name in command_words() {
            command_of(&name).unwrap().debug_assert();
        }
    }
}

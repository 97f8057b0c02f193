//! `dib`, and every command whose name it is called by.
use std::process::ExitCode;

fn main() -> ExitCode {
    diskimage_builder::cli::main()
}

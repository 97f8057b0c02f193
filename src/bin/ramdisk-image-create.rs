//! `ramdisk-image-create`: the one program under this name, so that `cargo install` gives it.
use std::process::ExitCode;

fn main() -> ExitCode {
    diskimage_builder::cli::main()
}

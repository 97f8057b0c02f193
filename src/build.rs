//! Embeds the built-in elements: a table of paths, run bits and bytes, so that an installed binary needs no files.
//!
//! Hand-made, since whether a hook runs depends on its run bit, which the crates that embed directories drop.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("elements");
    println!("cargo::rerun-if-changed=elements");
    println!("cargo::rerun-if-changed=build.rs");
    let mut table = String::from("&[\n");
    if root.is_dir() {
        embed(&root, &root, &mut table)?;
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("elements.rs"), table)
}

fn embed(root: &Path, dir: &Path, table: &mut String) -> io::Result<()> {
    let mut paths = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        let meta = fs::metadata(&path)?;
        if meta.is_dir() {
            embed(root, &path, table)?;
            continue;
        }
        let name = path.strip_prefix(root).expect("it lies below the root");
        let run = meta.permissions().mode() & 0o111 != 0;
        let (name, path) = (name.to_string_lossy(), path.to_string_lossy());
        writeln!(table, "    ({name:?}, {run}, include_bytes!({path:?})),")
            .expect("a String takes everything");
    }
    Ok(())
}

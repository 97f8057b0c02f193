//! The words of `--qemu-img-options`, each for the formats that know it.
//!
//! The original program gives all of them to every format that qemu-img writes, so that two formats of one build can
//! have none. Here an option is for whom it means something; one that means nothing to anybody is refused. A raw image
//! takes none, and as with the original program it does not mind those of others, if no other type was asked for that takes
//! any.

use super::format::Format;
use crate::error::{Error, Result};

/// The options of a text that a format knows, in order.
pub(super) fn known_to<'a>(
    keys: &'static [&'static str],
    text: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let words = text.split(',').filter_map(|word| word.split_once('='));
    words.filter(|(key, _)| keys.contains(key))
}

/// Whether every word is an option of some format.
pub(super) fn check(formats: &[Format], text: &str) -> Result<()> {
    let refused = |why: String| Err(Error::usage("--qemu-img-options").because(Error::usage(why)));
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let Some((key, _)) = word.split_once('=') else {
            return refused(format!("'{word}' is not of the form key=value"));
        };
        let knows = |format: &Format| format.writer().keys().contains(&key);
        let takes_none = |format: &Format| format.writer().keys().is_empty();
        let raw = formats.contains(&Format::Raw) && formats.iter().all(takes_none);
        let indifferent = raw && Format::ALL.iter().any(knows);
        if !indifferent && !formats.iter().any(knows) {
            let words: Vec<_> = formats.iter().map(Format::to_string).collect();
            return refused(match &words[..] {
                [word] => format!("{word} has no option '{key}'"),
                words => format!("none of {} has an option '{key}'", words.join(", ")),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use image_core::Identity;
    use image_core::tree::Time;
    use image_formats::{squashfs, vhd};

    use super::*;
    use crate::output::Rules;
    use crate::settings::Checksums;

    /// Values of an option that are followed, and values that are refused; by format and option.
    type Row = (
        Format,
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    const ROWS: [Row; 35] = [
        (Format::Qcow2, "backing_file", &[""], &["base"]),
        (Format::Qcow2, "backing_fmt", &[""], &["raw"]),
        (
            Format::Qcow2,
            "cluster_size",
            &["512", "64k", "2M"],
            &["4M", "3k"],
        ),
        (Format::Qcow2, "compat", &["0.10", "1.1", "v2", "v3"], &["2"]),
        (Format::Qcow2, "compression_level", &["1", "9"], &["0", "10", "x"]),
        (Format::Qcow2, "compression_type", &["zlib", "zstd"], &["lz4"]),
        (Format::Qcow2, "compression_window", &["12", "15"], &["11", "16"]),
        (Format::Qcow2, "data_file", &[""], &["other"]),
        (Format::Qcow2, "data_file_raw", &["off"], &["on"]),
        (Format::Qcow2, "encrypt.format", &[""], &["luks"]),
        (Format::Qcow2, "encryption", &["off"], &["on"]),
        (Format::Qcow2, "extended_l2", &["off"], &["on"]),
        (Format::Qcow2, "lazy_refcounts", &["on", "off"], &["1"]),
        (Format::Qcow2, "nocow", &["off"], &["on"]),
        (
            Format::Qcow2,
            "preallocation",
            &["off", "metadata"],
            &["falloc", "full", "x"],
        ),
        (Format::Qcow2, "refcount_bits", &["16"], &["1", "64"]),
        (Format::Qcow2, "size", &[""], &["1G"]),
        (Format::Vdi, "static", &["on", "off"], &["1"]),
        (Format::Vdi, "preallocation", &["off", "metadata"], &["full"]),
        (Format::Vdi, "size", &[], &["1G"]),
        (Format::Vhd, "subformat", &["dynamic", "fixed"], &["x"]),
        (Format::Vhd, "force_size", &["on"], &["off"]),
        (Format::Vhd, "creator", &["tap", "win", "qem2"], &["vpc"]),
        (Format::Vhd, "size", &[], &["1G"]),
        (
            Format::Vmdk,
            "subformat",
            &["monolithicSparse", "streamOptimized"],
            &["monolithicFlat", "twoGbMaxExtentSparse", "x"],
        ),
        (Format::Vmdk, "vmdk_layout", &["front"], &["footer", "x"]),
        (Format::Vmdk, "adapter_type", &["lsilogic", "ide"], &["x"]),
        (Format::Vmdk, "compat6", &["on", "off"], &["6"]),
        (Format::Vmdk, "hwversion", &["17"], &["x"]),
        (Format::Vmdk, "toolsversion", &["1"], &["x"]),
        (Format::Vmdk, "zeroed_grain", &["off"], &["on"]),
        (Format::Vmdk, "backing_file", &[], &["base"]),
        (Format::Vmdk, "backing_fmt", &[], &["raw"]),
        (Format::Vmdk, "compression_level", &["1", "9"], &["0", "10"]),
        (Format::Vmdk, "size", &[], &["1G"]),
    ];

    #[test]
    fn every_option_is_followed_or_refused_by_name() {
        let rules = |options: String| Rules {
            name: "n".to_owned(),
            compress: false,
            options,
            vhd: vhd::Profile::Xen,
            squashfs: squashfs::Compression::Xz,
            threads: None,
            identity: Identity::new(b"test", Time::default(), false),
            checksums: Checksums::default(),
            overwrite: false,
            mode: 0o644,
        };
        for format in Format::ALL {
            for key in format.writer().keys() {
                let row = ROWS.iter().find(|(of, known, ..)| (of, known) == (&format, key));
                let (.., followed, not) = row.unwrap_or_else(|| panic!("{format}: no row for {key}"));
                for value in *followed {
                    rules(format!("{key}={value}")).check(&[format]).unwrap();
                }
                for value in *not {
                    let error = rules(format!("{key}={value}")).check(&[format]).unwrap_err();
                    let told = error.message().replace(' ', "_");
                    assert!(told.contains(key), "{format}, {key}={value}: {told}");
                }
            }
        }
    }

    #[test]
    fn an_option_that_no_type_knows_is_dropped_for_none() {
        for (formats, key, taken) in [
            (&[Format::Raw][..], "compat", true),
            (&[Format::Raw, Format::Tar], "compat", true),
            (&[Format::Raw, Format::Vdi], "static", true),
            (&[Format::Raw, Format::Vdi], "compat", false),
            (&[Format::Vdi], "compat", false),
            (&[Format::Tar], "compat", false),
            (&[Format::Raw], "colour", false),
        ] {
            let checked = check(formats, &format!("{key}=x"));
            assert_eq!(checked.is_ok(), taken, "{formats:?}, {key}");
        }
    }
}

//! What a build leaves in the caller's directory.

use std::fs;
use std::path::Path;

use crate::lab::Lab;

#[test]
fn a_suffix_of_the_single_type_is_not_doubled() {
    let Some(lab) = Lab::new() else { return };
    lab.build(&["-o", "n.qcow2", "mini-os"]).ok();
    assert_eq!(lab.names(), ["n.qcow2"]);
    lab.build(&["-o", "m.qcow2", "-t", "raw,qcow2", "mini-os"]).ok();
    assert_eq!(lab.names(), ["m.qcow2.qcow2", "m.qcow2.raw", "n.qcow2"]);
    if oracle::require(&["qemu-img"]) {
        oracle::qcow2::check(&lab.out("n.qcow2"));
        oracle::qcow2::compare(&lab.out("m.qcow2.raw"), &lab.out("m.qcow2.qcow2"));
    }
}

#[test]
fn an_older_output_is_kept_under_its_time() {
    let Some(mut lab) = Lab::new() else { return };
    lab.build(&["-o", "n", "--checksum", "mini-os"]).ok();
    let first = fs::read(lab.out("n.qcow2")).unwrap();
    let said = lab.build(&["-o", "n", "--checksum", "mini-os"]).ok();
    let names = lab.names();
    assert_eq!(names.len(), 6, "{names:?}");
    let old = names
        .iter()
        .find(|name| name.starts_with("n-20") && !name.contains(".qcow2."))
        .unwrap();
    assert_eq!(fs::read(lab.out(old)).unwrap(), first);
    assert!(names.contains(&format!("{old}.md5")) && names.contains(&format!("{old}.sha256")));
    assert!(said.out.contains("n.qcow2 is now"), "{}", said.out);
    lab.set("OVERWRITE_OLD_IMAGE", "1");
    lab.build(&["-o", "n", "--checksum", "mini-os"]).ok();
    assert_eq!(lab.names().len(), 6);
}

#[test]
fn builds_of_one_name_at_one_time_both_succeed_and_both_images_stay() {
    let Some(lab) = Lab::new() else { return };
    let args = ["-o", "n", "-t", "raw", "--checksum", "mini-os"];
    let after = "wait $other || { cat log; status=1; }; rm log";
    lab.build_between("\"$@\" > log 2>&1 & other=$!", &args, after)
        .ok();
    let images: Vec<_> = lab
        .names()
        .into_iter()
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|extension| extension == "raw")
        })
        .collect();
    assert_eq!(images.len(), 2, "{images:?}");
    for image in images {
        let text = lab.text(&format!("{image}.sha256"));
        let sum = oracle::run("sha256sum", &[lab.out(&image).as_os_str()]);
        assert_eq!(text.split(' ').next(), sum.split(' ').next(), "{image}");
        assert!(text.ends_with("  n.raw\n"), "{text}");
    }
}

#[test]
fn a_link_of_the_outputs_name_is_kept_and_not_followed() {
    let Some(lab) = Lab::new() else { return };
    fs::write(lab.out("precious"), "precious").unwrap();
    std::os::unix::fs::symlink("precious", lab.out("n.raw")).unwrap();
    lab.build(&["-o", "n", "-t", "raw", "mini-os"]).ok();
    assert_eq!(lab.text("precious"), "precious");
    assert!(fs::symlink_metadata(lab.out("n.raw")).unwrap().is_file());
    let kept = &lab.names()[0];
    assert_eq!(fs::read_link(lab.out(kept)).unwrap().to_str(), Some("precious"));
}

#[test]
fn digests_are_of_the_file_under_the_name_given() {
    let Some(mut lab) = Lab::new() else { return };
    let path = lab.out("n").display().to_string();
    lab.build(&["-o", &path, "--checksum", "mini-os"]).ok();
    for tool in ["md5sum", "sha256sum"] {
        let file = lab.out(&format!("n.qcow2.{}", tool.trim_end_matches("sum")));
        oracle::run(tool, &["--check".as_ref(), "--status".as_ref(), file.as_os_str()]);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.ends_with(&format!("  {path}.qcow2\n")), "{text}");
    }
    lab.set("DIB_CHECKSUM", "sha256");
    lab.build(&["-o", "m", "mini-os"]).ok();
    assert!(lab.out("m.qcow2.sha256").exists() && !lab.out("m.qcow2.md5").exists());
}

#[test]
fn compression_and_options_of_qcow2_are_honoured() {
    let Some(lab) = Lab::new() else { return };
    let len = |name: &str| fs::metadata(lab.out(name)).unwrap().len();
    lab.build(&["-o", "c", "mini-os"]).ok();
    lab.build(&["-o", "u", "-u", "--qemu-img-options", "compat=0.10", "mini-os"])
        .ok();
    assert!(len("c.qcow2") < len("u.qcow2"));
    if oracle::require(&["qemu-img"]) {
        assert!(oracle::qcow2::info(&lab.out("u.qcow2")).contains("0.10"));
    }
    lab.build(&["--qemu-img-options", "nonsense=1", "mini-os"])
        .failed(1, "nonsense");
}

#[test]
fn the_log_goes_where_it_is_sent() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook("install.d/10-say", "echo said out loud; echo said aside >&2");
    lab.file("no-final-image/README.md", "");
    let args = ["no-final-image", "mini-os", "probe"];
    let said = lab.build(&[&["--logfile", "log"], &args[..]].concat()).ok();
    assert_eq!(said.out, "Output logs going to: log\n");
    let log = lab.text("log");
    for line in ["said out loud", "said aside", "Build completed successfully"] {
        assert!(log.contains(&format!(" | {line}\n")), "{line}: {log}");
    }
    assert!(
        log.lines()
            .all(|line| line.starts_with("20") && line.contains(" | ")),
        "{log}"
    );
    let said = lab.build(&args).ok().out;
    assert!(said.lines().all(|line| line.contains(" | ")), "{said}");
    lab.set("DIB_NO_TIMESTAMP", "1");
    let said = lab.build(&args).ok().out;
    assert!(said.starts_with("diskimage-builder version "), "{said}");
    assert!(
        said.contains("\nsaid aside\n") && said.ends_with("Build completed successfully\n"),
        "{said}"
    );
    // Only what is printed goes without them.
    lab.set("DIB_QUIET", "0");
    let said = lab.build(&[&["--logfile", "both"], &args[..]].concat()).ok().out;
    assert!(said.contains("\nsaid aside\n"), "{said}");
    let log = lab.text("both");
    assert!(
        log.lines()
            .all(|line| line.starts_with("20") && line.contains(" | ")),
        "{log}"
    );
    lab.set("DIB_QUIET", "1");
    assert_eq!(lab.build(&args).ok().out, "");
    lab.hook("install.d/10-say", "exit 3");
    lab.build(&args).failed(3, "10-say");
}

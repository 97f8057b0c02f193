//! Which elements a build has.

use crate::lab::{DIB, DISK_IMAGE_CREATE, ELEMENT_INFO, Lab};

fn lab() -> Lab {
    let lab = Lab::unprivileged();
    lab.file("os/element-provides", "operating-system\n")
        .file("app/element-deps", "virtual\nloop\n")
        .file("loop/element-deps", "app\nloop\n")
        .file("provider/element-provides", "virtual\n");
    lab
}

#[test]
fn words_that_make_no_build_are_refused() {
    let lab = lab();
    lab.run(DISK_IMAGE_CREATE, &[])
        .failed(1, "At least one distribution root element must be specified");
    lab.run(DISK_IMAGE_CREATE, &["-n", "os", "no-such"])
        .failed(1, "Element 'no-such' not found");
    lab.run(DISK_IMAGE_CREATE, &["-n", "os", "mini-os"])
        .failed(1, "already provided");
    lab.run(DISK_IMAGE_CREATE, &["-n", "os", "os"])
        .failed(1, "already provided");
    for words in [&[][..], &["-n"]] {
        lab.run(DISK_IMAGE_CREATE, words)
            .failed(1, "At least one distribution root element");
    }
    lab.run(DISK_IMAGE_CREATE, &["-n", "--strict", "provider"])
        .failed(1, "Please include an operating system element");
    lab.run(DISK_IMAGE_CREATE, &["--no-such-option", "os"])
        .failed(1, "--no-such-option");
    lab.run(DISK_IMAGE_CREATE, &["-n", "-t", "vhdx", "os"])
        .failed(1, "unknown image type 'vhdx'");
    lab.run(DISK_IMAGE_CREATE, &["-n", "-t", "RAW", "os"])
        .failed(1, "did you mean raw?");
    let mut lab = lab;
    lab.set("ELEMENTS_PATH", "/no/such/directory");
    lab.run(DISK_IMAGE_CREATE, &["-n", "os"])
        .failed(1, "/no/such/directory");
}

#[test]
fn element_info_has_both_forms() {
    let lab = lab();
    let plain = lab.run(ELEMENT_INFO, &["os", "app", "provider"]).ok();
    assert_eq!(plain.out, "app loop os provider\n");
    let old = lab
        .run(ELEMENT_INFO, &["--expand-dependencies", "app", "provider"])
        .ok();
    assert_eq!(old.out, "app loop provider\n");
    lab.run(ELEMENT_INFO, &["--strict", "app", "provider"])
        .failed(1, "operating system");
    // The old form takes no notice of that.
    let old = lab.run(ELEMENT_INFO, &["-d", "--strict", "app", "provider"]).ok();
    assert_eq!(old.out, "app loop provider\n");
    let env = lab.run(ELEMENT_INFO, &["--env", "os"]).ok().out;
    assert!(
        env.starts_with("export IMAGE_ELEMENT='os'\nexport IMAGE_ELEMENT_YAML='os: /"),
        "{env}"
    );
    assert!(env.contains("get_image_element_array () { echo '[os]=/"), "{env}");
}

#[test]
fn an_earlier_element_wins_whole_with_a_warning() {
    let lab = lab();
    lab.file("mini-os/element-provides", "operating-system\n");
    let plan = lab.run(DIB, &["plan", "-n", "mini-os"]).ok();
    assert!(!plan.out.contains("10-mini-root"), "{}", plan.out);
    assert!(plan.err.contains("element mini-os of"), "{}", plan.err);
}

#[test]
fn a_plan_names_element_phase_path_and_order() {
    let lab = lab();
    lab.file("app/install.d/10-b", "#!/bin/sh\n")
        .file("provider/install.d/9-a", "#!/bin/sh\n")
        .file("provider/install.d/x.sh", "#!/bin/sh\n")
        .file("provider/finalise.d/01-not-run", "");
    let json = lab
        .run(
            DIB,
            &[
                "plan",
                "--json",
                "-n",
                "-t",
                "raw,qcow2",
                "-p",
                "vim",
                "os",
                "app",
                "provider",
            ],
        )
        .ok();
    let plan: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let install = &plan["phases"][3];
    assert_eq!(install["phase"], "install.d");
    assert_eq!(install["hooks"][0]["hook"], "9-a");
    assert_eq!(install["hooks"][1]["element"], "app");
    assert!(
        install["hooks"][1]["path"]
            .as_str()
            .unwrap()
            .ends_with("app/install.d/10-b")
    );
    assert_eq!(install["hooks"].as_array().unwrap().len(), 2);
    assert_eq!(plan["phases"][8]["hooks"].as_array().unwrap().len(), 0);
    assert_eq!(plan["outputs"], serde_json::json!(["image.qcow2", "image.raw"]));
    let text = lab
        .run(DIB, &["plan", "-n", "-p", "vim", "os", "app", "provider"])
        .ok()
        .out;
    assert!(
        text.contains("install.d  (chroot)") && text.contains("packages  (chroot)\n    vim"),
        "{text}"
    );
}

#[test]
fn base_comes_unless_it_is_left_out() {
    let lab = lab();
    let elements = |args: &[&str]| lab.run(DIB, &[&["plan", "--json"], args].concat()).ok().out;
    assert!(elements(&["os"]).contains("\"name\": \"base\""));
    assert!(!elements(&["-n", "os"]).contains("\"name\": \"base\""));
}

#[test]
fn a_vm_gets_partitions_unless_they_are_named() {
    let lab = lab();
    for element in ["vm", "block-device-mbr", "block-device-efi", "block-device-gpt"] {
        lab.file(&format!("{element}/README.md"), "");
    }
    lab.file("wants-gpt/element-deps", "block-device-gpt\n");
    for (args, elements) in [
        (&["os", "vm"][..], "os vm block-device-mbr"),
        (&["-a", "arm64", "vm", "os"], "vm os block-device-efi"),
        (&["vm", "block-device-gpt", "os"], "vm block-device-gpt os"),
        // Only words count, not what they need.
        (
            &["os", "vm", "wants-gpt"],
            "os vm wants-gpt block-device-mbr block-device-gpt",
        ),
        (&["os"], "os"),
    ] {
        let json = lab.run(DIB, &[&["plan", "--json", "-n"], args].concat()).ok().out;
        let plan: serde_json::Value = serde_json::from_str(&json).unwrap();
        let names = plan["elements"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|element| element["name"].as_str().unwrap()).collect();
        assert_eq!(names.join(" "), elements);
    }
}

#[test]
fn words_resolve_by_the_table() {
    let lab = lab();
    for (file, text) in [
        ("self/element-deps", "self\n"),
        ("a/element-deps", "b\n"),
        ("b/element-deps", "c\n"),
        ("c/element-deps", "a\nd\n"),
        ("d/README", ""),
        // A real element that another one provides is dropped in the end, though it was reached before its provider.
        ("user/element-deps", "real\nlate\n"),
        ("real/element-deps", "d\n"),
        ("late/element-provides", "real\n"),
        ("second/element-provides", "virtual\n"),
        ("loader-a/element-provides", "bootloader\n"),
        ("loader-b/element-provides", "bootloader\n"),
        ("wants-loaders/element-deps", "loader-a\nloader-b\n"),
    ] {
        lab.file(file, text);
    }
    for (words, resolved) in [
        ("os", "os"),
        ("os self", "os self"),
        ("os self self", "os self"),
        ("os a", "a b c d os"),
        ("c os", "a b c d os"),
        ("os user", "d late os user"),
        ("os app provider", "app loop os provider"),
        ("app os provider", "app loop os provider"),
        // With a provider a name needs no directory; without one it does.
        ("os app", "!Element 'virtual' not found"),
        ("os nothing", "!Element 'nothing' not found"),
        ("os os", "!operating-system: already provided by [os]"),
        ("os mini-os", "!operating-system: already provided by [os]"),
        ("os provider second", "!virtual: already provided by [provider]"),
        ("os real late", "!real: already provided by [late]"),
        ("os wants-loaders", "!bootloader: already provided by [loader-a]"),
        ("--strict a", "!Please include an operating system element"),
    ] {
        let words: Vec<&str> = words.split_whitespace().collect();
        let said = lab.run(ELEMENT_INFO, &words);
        match resolved.strip_prefix('!') {
            None => assert_eq!(said.ok().out.trim_end(), resolved, "{words:?}"),
            Some(told) => drop(said.failed(1, told)),
        }
    }
}

#[test]
fn ubuntu_is_the_operating_system_where_no_element_is_one() {
    let mut lab = lab();
    let notice = "no element given provides operating-system: ubuntu is added";
    let names = |lab: &Lab, args: &[&str]| {
        let said = lab.run(DIB, &[&["plan", "--json", "-n"], args].concat()).ok();
        let plan: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let told = said.err.contains(notice) || said.out.contains(notice);
        let elements = plan["elements"].as_array().unwrap().clone();
        (elements, told)
    };
    let (elements, told) = names(&lab, &["provider"]);
    assert!(told);
    assert_eq!(
        (&elements[0]["name"], &elements[1]["name"]),
        (&"provider".into(), &"ubuntu".into())
    );
    assert_eq!(
        elements[1]["reasons"],
        serde_json::json!([{ "reason": "no-operating-system" }])
    );
    assert!(elements.iter().any(|element| element["name"] == "ubuntu-common"));
    let (elements, told) = names(&lab, &["os"]);
    assert!(!told && elements.len() == 1);

    // Both eras of element-info: what a build takes in, and what the words alone need.
    let new = lab.run(ELEMENT_INFO, &["provider"]).ok();
    assert!(
        new.out.contains(" provider ") && new.out.contains(" ubuntu ubuntu-common\n"),
        "{}",
        new.out
    );
    assert!(new.err.contains(notice), "{}", new.err);
    let old = lab.run(ELEMENT_INFO, &["-d", "provider"]).ok();
    assert_eq!((old.out.as_str(), old.err.as_str()), ("provider\n", ""));

    lab.set("DIB_STRICT", "1");
    for (program, args) in [
        (DISK_IMAGE_CREATE, &["-n", "provider"][..]),
        (ELEMENT_INFO, &["provider"]),
    ] {
        lab.run(program, args)
            .failed(1, "Please include an operating system element");
    }
    // An element of one's own that has the name comes first, and has to be one.
    lab.set("DIB_STRICT", "0").file("ubuntu/README.md", "mine");
    lab.run(ELEMENT_INFO, &["provider"])
        .failed(1, "Please include an operating system element");
    lab.file("ubuntu/element-provides", "operating-system\n");
    assert_eq!(lab.run(ELEMENT_INFO, &["provider"]).ok().out, "provider ubuntu\n");
}

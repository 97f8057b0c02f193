//! The cache of compilations that element `base` lends to chroot phases.

use crate::lab::Lab;

/// Stands in for a compilation: ccache finds its cache by this variable, and replaces files instead of writing into them.
const COMPILE: &str =
    "[ $CCACHE_DIR = /tmp/ccache ]; [[ $PATH == /usr/lib/ccache:* ]]; file=$CCACHE_DIR/${0##*/}
    [ ! -e $file ] || cat $file > $file.new; date >> $file.new; mv $file.new $file";

#[test]
fn compilations_of_chroot_phases_are_kept() {
    let Some(mut lab) = Lab::new() else { return };
    for (phase, name) in [
        ("pre-install.d", "a"),
        ("install.d", "b"),
        ("post-install.d", "c"),
        ("finalise.d", "d"),
    ] {
        lab.hook(&format!("{phase}/50-{name}"), COMPILE);
    }
    let none = "[ -z \"${CCACHE_DIR:-}\" ]; [[ $PATH != *ccache* ]]; [ ! -e $TARGET_ROOT/tmp/ccache ]";
    for phase in ["extra-data.d", "post-root.d", "cleanup.d"] {
        lab.hook(&format!("{phase}/50-none"), none);
    }
    let cache = lab.dir().join("home/.cache/image-create/ccache");
    // Where nothing can be mounted, too.
    for tier in ["T0", "T1"] {
        lab.build_with_base(&["--privileges", tier, "no-final-image", "mini-os", "probe"])
            .ok();
    }
    for name in ["a", "b", "c", "d"] {
        let text = std::fs::read_to_string(cache.join(format!("50-{name}"))).unwrap();
        assert_eq!(text.lines().count(), 2, "{name}: {text}");
    }
    let elsewhere = lab.dir().join("else/where").display().to_string();
    lab.set("DIB_CCACHE_DIR", &elsewhere);
    lab.hook(
        "install.d/50-b",
        &format!("{COMPILE}; [ $DIB_CCACHE_DIR = {elsewhere} ]"),
    );
    lab.build_with_base(&["no-final-image", "mini-os", "probe"]).ok();
    assert!(lab.dir().join("else/where/50-b").exists());
}

#[test]
fn the_cache_can_be_switched_off_and_ccache_on() {
    let Some(mut lab) = Lab::new() else { return };
    lab.hook(
        "install.d/50-x",
        "[ -z \"${CCACHE_DIR:-}\" ]; [ ! -e /tmp/ccache ]; [[ $PATH != *ccache* ]]",
    );
    lab.set("DIB_CCACHE", "0");
    lab.build_with_base(&["no-final-image", "mini-os", "probe"]).ok();
    lab.set("DIB_CCACHE", "auto");
    lab.rehearse().ok();
    lab.set("DIB_CCACHE", "1");
    lab.file("probe/install.d/50-x", "")
        .hook("pre-install.d/50-x", "printf '#!/bin/sh\\necho install \"$@\" >> /tmp/installed\\n' > /usr/bin/install-packages; chmod 755 /usr/bin/install-packages")
        .hook("post-install.d/50-x", "[ \"$(cat /tmp/installed)\" = 'install -m base ccache' ]");
    lab.build_with_base(&["no-final-image", "mini-os", "probe"]).ok();
    lab.set("DIB_CCACHE", "yes");
    lab.build_with_base(&["no-final-image", "mini-os", "probe"])
        .failed(1, "DIB_CCACHE: 'yes'");
}

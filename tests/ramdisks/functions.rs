//! What fragments of anyone may call, and the variables that they find, under busybox's shell.

use super::fragments::{IDLE, run, write};

/// The lines that a fragment's functions print.
fn said(fragment: &str, files: &[(&str, &str)], lines: &str) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), files);
    let said = run(fragment, lines, dir.path());
    said.lines().map(str::to_owned).collect()
}

#[test]
fn words_of_the_kernel_are_told_apart() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let words = "quiet BOOT_IMAGE=/vmlinuz disk=sda,vda word=\"of honour\" \"whole=a b\" half=\"a b\"c empty= \
                 two=b\"c d\"e\"f g\" disk=twice option=-n open=\"to the end\" last=1 end=\"goes on\n";
    let floppy = "disk=of-the-floppy\nlast=\"on a line\"\n";
    let files = [("words", words), ("floppy/parameters.txt", floppy)];
    let lines = r#"tell() { value=$(get_kernel_parameter "$1"); echo "$1: $? '$value'"; }
for name in quiet disk word whole half empty two option last end isk BOOT none; do tell $name; done
BOOT_METHOD=vmedia VMEDIA_DIR=$PWD/floppy
for name in disk last word; do tell $name; done"#;
    let told = [
        "quiet: 0 ''",
        "disk: 0 'sda,vda'",
        "word: 0 'of honour'",
        "whole: 0 'a b'",
        "half: 0 'a bc'",
        "empty: 0 ''",
        "two: 0 'bc def g'",
        "option: 0 '-n'",
        "last: 0 '1'",
        "end: 0 'goes on '",
        "isk: 1 ''",
        "BOOT: 1 ''",
        "none: 1 ''",
        "disk: 0 'of-the-floppy'",
        "last: 0 'on a line'",
        "word: 1 ''",
    ];
    assert_eq!(said(IDLE, &files, lines), told);
}

#[test]
fn disks_and_partitions_have_names_of_all_kinds() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let list =
        "major minor  #blocks  name\n\n 8 0 1 sdb\n 8 1 1 sdb1\n 104 0 1 cciss/c0d0\n 259 0 1 nvme0n1\n";
    let lines = r#"PARTITIONS_FILE=$PWD/partitions
for name in sda sda12 /dev/vdb3 xvda1 cciss/c0d0p2 nvme0n1 nvme0n1p2 mmcblk0p1 dm-0; do
    echo "$name: $(whole_disk_name $name) $(partition_name $name 3)"
done
for list in sda,sdb sda sdb1 sdc,cciss/c0d0,sdb nvme0n1p7 dm-0,sdb "" ,sdb; do
    disk=$(find_disk "$list"); echo "'$list': $? $disk"
done"#;
    let told = [
        "sda: /dev/sda /dev/sda3",
        "sda12: /dev/sda /dev/sda3",
        "/dev/vdb3: /dev/vdb /dev/vdb3",
        "xvda1: /dev/xvda /dev/xvda3",
        "cciss/c0d0p2: /dev/cciss/c0d0 /dev/cciss/c0d0p3",
        "nvme0n1: /dev/nvme0n1 /dev/nvme0n1p3",
        "nvme0n1p2: /dev/nvme0n1 /dev/nvme0n1p3",
        "mmcblk0p1: /dev/mmcblk0 /dev/mmcblk0p3",
        "dm-0:  ",
        "'sda,sdb': 0 /dev/sdb",
        "'sda': 1 ",
        "'sdb1': 0 /dev/sdb",
        "'sdc,cciss/c0d0,sdb': 0 /dev/cciss/c0d0",
        "'nvme0n1p7': 0 /dev/nvme0n1",
        "'dm-0,sdb': 0 /dev/sdb",
        "'': 1 ",
        "',sdb': 0 /dev/sdb",
    ];
    assert_eq!(said(IDLE, &[("partitions", list)], lines), told);
}

#[test]
fn interfaces_are_found_by_their_addresses_and_change_names() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let files = [
        ("net/eth0/address", "52:54:00:12:34:56\n"),
        ("net/eth1/address", "52:54:00:ab:cd:ef\n"),
    ];
    let lines = r#"NET_DIR=$PWD/net
ip() { [ "$1 $2" = "link show" ] && { [ -d "net/$3" ]; return; }; echo "ip $*"; }
for mac in 52:54:00:AB:CD:EF 52-54-00-12-34-56 52:54:00:00:00:00; do
    interface=$(find_interface $mac); echo "$mac: $? $interface"
done
set_mac eth0 52:54:00:00:00:01
swap_ifname eth0 eth0
swap_ifname eth0 new
swap_ifname eth0 eth1
tries=0; try() { tries=$((tries + 1)); [ $tries = "$1" ]; }
wait_for 5 0 try 3; echo "$? after $tries"
wait_for 2 0 try 9; echo "$? after $tries""#;
    let told = [
        "52:54:00:AB:CD:EF: 0 eth1",
        "52-54-00-12-34-56: 0 eth0",
        "52:54:00:00:00:00: 1 ",
        "ip link set eth0 address 52:54:00:00:00:01",
        "ip link set eth0 name new",
        "ip link set eth0 name _eth0",
        "ip link set eth1 name eth0",
        "ip link set _eth0 name eth1",
        "0 after 3",
        "1 after 5",
    ];
    assert_eq!(said(IDLE, &files, lines), told);
}

#[test]
fn variables_are_what_the_kernel_was_told() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let lines = r#"echo "$BOOT_MAC|$BOOT_INFINIBAND|$BOOT_IP|$BOOT_SERVER|$DISK|$TROUBLESHOOT"
echo "$DEPLOYMENT_ID|$DEPLOYMENT_KEY|$ISCSI_TARGET_IQN|$HW_DISCOVERY_URL""#;
    let disks = "cciss/c0d0,sda,hda,vda,xvda,nvme0n1,mmcblk0";
    for (words, network, disk, troubleshoot, deployment) in [
        ("quiet", "|||", disks, "", "|||"),
        (
            "BOOTIF=01-52-54-00-AB-CD-EF ip=1.2.3.4:5.6.7.8:9.9.9.9:255.0.0.0 boot_server=5.6.7.8 disk=vdb troubleshoot \
             deployment_id=7 deployment_key=K iscsi_target_iqn=iqn.x:y HW_DISCOVERY_URL=http://h/?a=b",
            "52:54:00:ab:cd:ef||1.2.3.4:5.6.7.8:9.9.9.9:255.0.0.0|5.6.7.8",
            "vdb",
            "1",
            "7|K|iqn.x:y|http://h/?a=b",
        ),
        (
            "BOOTIF=20-52-54-00-ab-cd-ef troubleshoot=0",
            "52:54:00:ab:cd:ef|1||",
            disks,
            "0",
            "|||",
        ),
        (
            "BOOTIF=52:54:00:AB:CD:EF troubleshoot=yes",
            "52:54:00:ab:cd:ef|||",
            disks,
            "1",
            "|||",
        ),
    ] {
        let said = said(
            "ramdisk-base/init.d/20-init-variables",
            &[("words", words)],
            lines,
        );
        assert_eq!(
            said,
            [format!("{network}|{disk}|{troubleshoot}"), deployment.to_owned()],
            "{words}"
        );
    }
}

#[test]
fn the_interface_of_the_boot_gets_the_address_that_was_said_or_one_by_dhcp() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let files = [
        ("net/eth0/address", "52:54:00:12:34:56\n"),
        ("net/eth0/device/vendor", ""),
        ("net/eth1/address", "52:54:00:ab:cd:ef\n"),
        ("net/eth1/device/vendor", ""),
        ("net/lo/address", "00:00:00:00:00:00\n"),
    ];
    let start = |words: &str| {
        let lines = format!(
            r#"NET_DIR=$PWD/net
for name in ip ifconfig route udhcpc; do eval "$name() {{ echo \"$name \$*\"; }}"; done
troubleshoot() {{ echo troubleshooting; }}
sleep() {{ :; }}
{words}
. {}/elements/ramdisk/init.d/30-start-network"#,
            env!("CARGO_MANIFEST_DIR")
        );
        said(IDLE, &files, &lines)
    };
    let mac = "BOOT_MAC=52:54:00:ab:cd:ef BOOT_INFINIBAND=";
    let up = ["ip link set lo up", "ip link set eth1 up"];
    let said = start(&format!("{mac} BOOT_IP=10.0.0.2:10.0.0.1:10.0.0.254:255.255.0.0"));
    let own = [
        "ifconfig eth1 10.0.0.2 netmask 255.255.0.0 up",
        "route add default gw 10.0.0.254 dev eth1",
    ];
    assert_eq!(said, [up, own].concat());
    let said = start(&format!("{mac} BOOT_IP=10.0.0.2:10.0.0.1::"));
    assert_eq!(said[2..], ["ifconfig eth1 10.0.0.2 netmask 255.255.255.0 up"]);
    let said = start(&format!("{mac} BOOT_IP="));
    assert_eq!(said[2..], ["udhcpc -n -q -t 5 -T 3 -i eth1 -s /udhcpc-script"]);
    // Without a word of which, all of them ask; an address that was said is one's alone.
    let ask = |name: &str| {
        [
            format!("ip link set {name} up"),
            format!("udhcpc -n -q -t 5 -T 3 -i {name} -s /udhcpc-script"),
        ]
    };
    for words in ["", "dhcp", "eth0:dhcp", ":::"] {
        let said = start(&format!("BOOT_MAC= BOOT_INFINIBAND= BOOT_IP={words}"));
        assert_eq!(said[1..], [ask("eth0"), ask("eth1")].concat(), "{words}");
    }
    let said = start("BOOT_MAC= BOOT_INFINIBAND= BOOT_IP=10.0.0.2:10.0.0.1::");
    let alone = [
        "ip link set eth0 up",
        "ifconfig eth0 10.0.0.2 netmask 255.255.255.0 up",
    ];
    assert_eq!(said[1..], alone);
    let said = start("BOOT_MAC=52:54:00:00:00:00 BOOT_INFINIBAND= BOOT_IP=");
    let none = [
        "no interface has the address 52:54:00:00:00:00",
        "troubleshooting",
    ];
    assert_eq!(said[1..3], none);
    assert_eq!(said[3..], ["no interface has an address", "troubleshooting"]);
}

#[test]
fn a_ramdisk_is_shut_down_as_other_systems_are() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    // Functions go before commands: nothing here ends the machine that runs this.
    let stubs =
        r#"for name in poweroff halt reboot sync sleep; do eval "$name() { echo \"$name \$*\"; }"; done"#;
    let script = "/elements/ramdisk/extra-data.d/scripts/d/bin/shutdown";
    for (words, told) in [
        ("", &["sync ", "poweroff -f"][..]),
        ("now", &["sync ", "poweroff -f"]),
        ("-h now", &["sync ", "poweroff -f"]),
        ("-P +0", &["sync ", "poweroff -f"]),
        ("-H", &["sync ", "halt -f"]),
        ("--reboot", &["sync ", "reboot -f"]),
        ("-r +10 'until -h tomorrow'", &["sleep 10m", "sync ", "reboot -f"]),
        (
            "-r 23:59",
            &["shutdown: '23:59' is neither an option of this one nor now or +MINUTES"],
        ),
        (
            "-c",
            &["shutdown: '-c' is neither an option of this one nor now or +MINUTES"],
        ),
        (
            "+1a",
            &["shutdown: '+1a' is neither an option of this one nor now or +MINUTES"],
        ),
    ] {
        let lines = format!(
            "{stubs}\n(set -- {words}; . {}{script}) 2>&1\ntrue",
            env!("CARGO_MANIFEST_DIR")
        );
        assert_eq!(said(IDLE, &[], &lines), told, "{words}");
    }
}

/// Stands for the shell that someone would type into.
const SHELL: &str = "bash() { echo \"bash for $TROUBLESHOOT\"; }\nsleep() { :; }\n";

#[test]
fn a_shell_is_started_for_who_asked_by_word_or_by_key() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let prompt = "Troubleshooting required, press t to launch shell.";
    let started = ["Starting troubleshooting shell.", "bash for 1"];
    let files = [("none", ""), ("other", "xyz"), ("wanted", "xt")];
    let ask = |lines: &str| said(IDLE, &files, &format!("{SHELL}{lines}"));
    assert_eq!(ask("TROUBLESHOOT=1; troubleshoot <none"), started);
    for keys in ["none", "other"] {
        let said = ask(&format!("TROUBLESHOOT=0; troubleshoot <{keys}"));
        assert_eq!(said, [format!("{prompt}..........")], "{keys}");
    }
    let asked = [&format!("{prompt}.")[..], started[0], started[1]];
    assert_eq!(ask("troubleshoot <wanted"), asked);
    // Once is enough.
    let said = ask("troubleshoot <wanted; troubleshoot <none");
    assert_eq!(said, [&asked[..], &started].concat());
}

#[test]
fn the_init_ends_in_a_reboot_and_in_a_shell_before_it_for_who_asked() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let end = |words: &str| {
        let end = "/elements/ramdisk-base/extra-data.d/scripts/init-end";
        // The function goes before the command, and what follows it is not for here.
        let lines = format!(
            "{SHELL}reboot() {{ echo \"reboot $*\"; exit; }}\n. {}{end}",
            env!("CARGO_MANIFEST_DIR")
        );
        said(
            "ramdisk-base/init.d/20-init-variables",
            &[("words", words)],
            &lines,
        )
    };
    let reboot = ["rebooting", "reboot -f"];
    for words in ["quiet", "troubleshoot=0"] {
        assert_eq!(end(words), reboot, "{words}");
    }
    let shell = ["Starting troubleshooting shell.", "bash for 1"];
    assert_eq!(end("quiet troubleshoot"), [shell, reboot].concat());
}

#[test]
fn parameters_come_from_a_virtual_floppy_where_the_boot_says_so() {
    if !oracle::require(&["busybox"]) {
        return;
    }
    let files = [
        ("words", "boot_method=vmedia boot_server=none\n"),
        ("medium/parameters.txt", "boot_server=10.0.0.1\n"),
        ("block/sda/device/model", "DISK\n"),
        ("block/sdb/device/model", "Virtual Media\n"),
        ("by-label", ""),
    ];
    let configure = |more: &str| {
        let lines = format!(
            r#"VMEDIA_DIR=$PWD/floppy VMEDIA_MOUNT=$PWD/mnt VMEDIA_DEVICE=$PWD/none BLOCK_DIR=$PWD/block
mount() {{ echo "mount ${{3##*/}}"; cp medium/* "$4"; }}
umount() {{ rm "$1"/*; }}
sleep() {{ echo "sleep $*"; }}
troubleshoot() {{ echo troubleshooting; }}
{more}
. {}/elements/ramdisk-base/init.d/20-init-variables
echo "server $BOOT_SERVER""#,
            env!("CARGO_MANIFEST_DIR")
        );
        said(IDLE, &files, &lines)
    };
    let waited = ["sleep 1"; 5];
    assert_eq!(
        configure("VMEDIA_DEVICE=$PWD/by-label"),
        ["mount by-label", "server 10.0.0.1"]
    );
    let by_model = [&waited[..], &["mount sdb", "server 10.0.0.1"]].concat();
    assert_eq!(configure(""), by_model);
    let said = configure("BLOCK_DIR=$PWD/medium");
    let none = [
        "no virtual floppy with parameters can be mounted",
        "troubleshooting",
    ];
    assert_eq!(said[..7], [&waited[..], &none].concat());
}

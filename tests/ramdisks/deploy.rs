//! A machine without a system tells what it is made of, asks for an image, gets it, and is started by its kernel: the
//! protocol of element deploy, with a boot server of a few lines.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use oracle::boot;

use super::{Place, Small, disc};

const IQN: &str = "iqn.2026-01.org.example:to-be-deployed";
/// The port that the protocol has.
const PORT: u16 = 10_000;
const WORDS: &str = "boot_server=10.0.2.2 deployment_id=17 deployment_key=SECRET disk=sdz,vda burnin_memory=8 \
                     HW_DISCOVERY_URL=http://10.0.2.2:10000/hardware";

/// A file system with a system: the kernel, a small ramdisk, and a boot loader's words.
fn system(place: &Place<'_>, kernel: &Path, small: &Small, image: &Path) {
    let root = place.dir.join("deployed");
    for dir in ["boot/grub", "etc"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    small.pack("gzip:1", &root.join("boot/initrd.img-1.0"));
    fs::copy(kernel, root.join("boot/vmlinuz-1.0")).unwrap();
    fs::write(root.join("etc/fstab"), "").unwrap();
    let words = "linux /boot/vmlinuz-1.0 root=LABEL=deployed console=ttyS0 panic=-1 no_timer_check\n";
    fs::write(root.join("boot/grub/grub.cfg"), words).unwrap();
    let args = [
        "-q".as_ref(),
        "-F".as_ref(),
        "-t".as_ref(),
        "ext4".as_ref(),
        "-d".as_ref(),
    ];
    let args = [&args[..], &[root.as_os_str(), image.as_os_str(), "60M".as_ref()]].concat();
    oracle::run("mke2fs", &args);
}

/// Takes requests, each in a connection of its own, and answers all of them.
fn serve(requests: usize) -> Receiver<(String, String)> {
    let listener = TcpListener::bind(("127.0.0.1", PORT)).expect("nothing else has the port of the protocol");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for _ in 0..requests {
            let (stream, _) = listener.accept().unwrap();
            sender.send(request(stream)).unwrap();
        }
    });
    receiver
}

/// The first line of a request, and its body.
fn request(stream: TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let len = lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; len.unwrap().1.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";
    reader.into_inner().write_all(answer).unwrap();
    (lines.swap_remove(0), String::from_utf8(body).unwrap())
}

/// A port of this machine that is free.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub(super) fn an_image_comes_to_the_disk(place: &Place<'_>, small: &Small) {
    place.element("signed", &disc::SIGNED);
    let deploying = ["deploy-kexec", "hwdiscovery", "hwburnin", "mellanox"];
    let elements = [&deploying[..], &["disc", "iso", "signed"]].concat();
    let [ramdisk, kernel] = place.build("deploy", &elements, &disc::WORDS);
    let (disk, image) = (place.dir.join("empty"), place.dir.join("image"));
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    system(place, &kernel, small, &image);
    let bytes = fs::read(&image).unwrap();

    let requests = serve(2);
    let (target, done) = (free_port(), free_port());
    let append = format!("iscsi_target_iqn={IQN} {WORDS}");
    let machine = boot::Ramdisk {
        kernel: &kernel,
        initrd: &ramdisk,
        disks: &[&disk],
        append: &append,
        network: true,
        ports: &[(target, 3260), (done, PORT)],
        typed: &[],
    };
    let limit = Duration::from_mins(8);
    thread::scope(|scope| {
        let wanted = [
            "the memory has passed",
            "the image is on /dev/vda",
            "starting vmlinuz-1.0 with initrd.img-1.0",
            "witness: the words are root=LABEL=deployed console=ttyS0 panic=-1 no_timer_check",
            "witness: the ramdisk is whole",
        ];
        let console = scope.spawn(move || boot::ramdisk_until(&wanted, &machine, limit));
        let next = || requests.recv_timeout(limit).expect("the machine asks");
        facts(&next());
        let (line, form) = next();
        assert!(line.starts_with("POST / HTTP/1."), "{line}");
        assert_eq!(form, format!("i=17&k=SECRET&a=10.0.2.15&n={IQN}&e="));
        write(&image, target);
        // The machine may need a while to listen; QEMU takes connections for it all the time.
        while !console.is_finished() {
            drop(TcpStream::connect(("127.0.0.1", done)));
            thread::sleep(Duration::from_secs(1));
        }
        console.join().unwrap();
    });
    let found = fs::read(&disk).unwrap();
    assert_eq!(found.len(), 64 << 20);
    assert!(found[..bytes.len()] == bytes);
}

/// What the machine says that it is made of.
fn facts((line, body): &(String, String)) {
    assert!(line.starts_with("POST /hardware HTTP/1."), "{line}");
    let text = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    let text = String::from_utf8(text).unwrap();
    let facts: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(facts["architecture"], "x86_64", "{text}");
    assert_eq!(facts["firmware"], "bios", "{text}");
    assert_eq!(facts["processors"], 2, "{text}");
    assert_eq!(facts["vendor"], "QEMU", "{text}");
    assert!(facts["memory_kib"].as_u64().unwrap() > 1 << 20, "{text}");
    assert_eq!(facts["disks"][0]["name"], "vda", "{text}");
    assert_eq!(facts["disks"][0]["bytes"], 64 << 20, "{text}");
    assert_eq!(facts["interfaces"][0]["mac"], "52:54:00:12:34:56", "{text}");
    assert_eq!(facts["interfaces"][0]["driver"], "virtio_net", "{text}");
    assert_eq!(facts["interfaces"][0]["carrier"], true, "{text}");
}

/// Writes an image over iSCSI, as a boot server does.
fn write(image: &Path, port: u16) {
    let target = format!("iscsi://127.0.0.1:{port}/{IQN}/1");
    let words = ["convert", "-n", "-f", "raw", "-O", "raw"].map(std::ffi::OsStr::new);
    oracle::run(
        "qemu-img",
        &[&words[..], &[image.as_os_str(), target.as_ref()]].concat(),
    );
}

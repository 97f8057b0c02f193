//! e2fsprogs, GRUB and ext4-view: what they think of an ext4 image, without a mount.

use std::ffi::OsStr;
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};

/// Panics unless `e2fsck -fn` finds nothing at all.
pub fn fsck(image: &Path) {
    let output = crate::output("e2fsck", &["-fn".as_ref(), image.as_os_str()]);
    let text = crate::both(&output);
    assert!(
        output.status.success(),
        "e2fsck -fn {}: {}\n{text}",
        image.display(),
        output.status
    );
    // Pass 1 of some versions finds what it would optimise, and still ends with 0.
    assert!(!text.contains("<y>? no"), "e2fsck -fn: {text}");
}

/// What `dumpe2fs` says of an image; with `header` without the groups. Panics if it says anything against it.
pub fn dumpe2fs(image: &Path, header: bool) -> String {
    let flags: &[&OsStr] = if header { &["-h".as_ref()] } else { &[] };
    let output = crate::output("dumpe2fs", &[flags, &[image.as_os_str()]].concat());
    // Its name and version go where its complaints go.
    let said = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> = said.lines().skip(1).collect();
    assert!(
        output.status.success() && said.starts_with("dumpe2fs 1.") && complaints.is_empty(),
        "dumpe2fs {}: {}\n{said}",
        image.display(),
        output.status
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether [`sound`] can judge.
pub fn require() -> bool {
    crate::require(&["e2fsck", "dumpe2fs"])
}

/// Panics unless e2fsck finds nothing, and dumpe2fs reads every group. Returns what the latter says.
pub fn sound(image: &Path) -> String {
    fsck(image);
    dumpe2fs(image, false)
}

/// What debugfs prints for one of its commands.
pub fn debugfs(image: &Path, command: &str) -> String {
    crate::run("debugfs", &["-R".as_ref(), command.as_ref(), image.as_os_str()])
}

/// Feeds debugfs many commands and returns what it prints.
pub fn debugfs_commands(image: &Path, write: bool, commands: &str) -> String {
    let path = crate::find("debugfs").expect("call require first");
    let mut child = Command::new(path)
        .args(write.then_some("-w"))
        .args(["-f".as_ref(), "-".as_ref(), image.as_os_str()])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("debugfs starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    let commands = commands.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(commands.as_bytes()));
    let output = child.wait_with_output().expect("debugfs ends");
    writer
        .join()
        .expect("the writer does not panic")
        .expect("debugfs reads its commands");
    crate::both(&output)
}

/// Makes a file system with mke2fs, in an image that has its size already.
pub fn mke2fs(image: &Path, options: &[&str]) -> String {
    let mut args: Vec<&OsStr> = vec!["-q".as_ref(), "-F".as_ref()];
    args.extend(options.iter().map(OsStr::new));
    args.push(image.as_os_str());
    crate::run("mke2fs", &args)
}

/// What ext4-view, a reader written by others, finds at some places of a file: as many bytes as asked for, or up to its
/// end.
pub fn viewed(image: &Path, path: &str, places: &[Range<u64>]) -> Vec<Vec<u8>> {
    let fact = |error: ext4_view::Ext4Error| -> ! { panic!("ext4-view: {path}: {error}") };
    let fs = ext4_view::Ext4::load_from_path(image).unwrap_or_else(|error| panic!("ext4-view: {error}"));
    let mut file = fs.open(path).unwrap_or_else(|error| fact(error));
    let read = |place: &Range<u64>| {
        file.seek_to(place.start).unwrap_or_else(|error| fact(error));
        let mut bytes = vec![0; usize::try_from(place.end - place.start).expect("fits memory")];
        let mut done = 0;
        while done < bytes.len() {
            match file.read_bytes(&mut bytes[done..]) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(error) => fact(error),
            }
        }
        bytes.truncate(done);
        bytes
    };
    places.iter().map(read).collect()
}

/// Reads a file of an image with GRUB's own driver.
pub fn grub_cat(image: &Path, path: &str) -> Vec<u8> {
    let file = format!("(loop0){path}");
    let output = crate::output("grub-fstest", &[image.as_os_str(), "cat".as_ref(), file.as_ref()]);
    assert!(
        output.status.success(),
        "grub-fstest cat {path}: {}",
        crate::both(&output)
    );
    output.stdout
}

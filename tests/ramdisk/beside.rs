//! What hooks of elements leave beside an image, run by hand: with a directory for the tree, and fakes of what they call.

use std::fs;
use std::path::{Path, PathBuf};

use oracle::{blackbox, require};

/// In place of sudo, which runs programs of the tree: what reads, reads below the directory; there is nothing to run.
const SUDO: &str = r#"#!/bin/bash
shift 2
case $1 in
test) test -e "$TARGET_ROOT$3" ;;
cat) cat "$TARGET_ROOT$2" ;;
esac
"#;

struct Hook {
    dir: tempfile::TempDir,
}

impl Hook {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hook = Self { dir };
        hook.write("fakes/sudo", SUDO);
        for (path, text) in files {
            hook.write(path, text);
        }
        hook
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Runs a hook of the library for an image of a name, in the directory `out`.
    fn run(&self, hook: &str, image: &str, variables: &[(&str, &str)]) -> bool {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("elements").join(hook);
        let text = |path: &str| self.path(path).display().to_string();
        let path = format!("{}:/usr/bin:/bin", text("fakes"));
        let (tree, library) = (text("tree"), text("library"));
        let usual = [
            ("PATH", path.as_str()),
            ("TARGET_ROOT", &tree),
            ("_LIB", &library),
            ("IMAGE_NAME", image),
        ];
        let variables = [&usual[..], variables].concat();
        let out = self.path("out");
        fs::create_dir_all(&out).unwrap();
        blackbox::run(&program, &[], &variables, &out).status.success()
    }

    /// All that is in the directory `out`, with its text.
    fn out(&self) -> Vec<(String, String)> {
        let entries = fs::read_dir(self.path("out")).unwrap().map(Result::unwrap);
        let mut found: Vec<_> = entries
            .map(|entry| {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                (entry.file_name().into_string().unwrap(), text)
            })
            .collect();
        found.sort();
        found
    }
}

fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    files.iter().map(owned).collect()
}

#[test]
fn a_kernel_beside_an_image_is_replaced_together_with_its_ramdisk() {
    let hook = Hook::new(&[
        (
            "library/img-functions",
            "select_boot_kernel_initrd() { KERNEL=k RAMDISK=r; }\n",
        ),
        ("tree/boot/k", "a newer kernel"),
        ("out/image.vmlinuz", "a kernel"),
        ("out/image.initrd", "its ramdisk"),
    ]);
    let extract = "baremetal/cleanup.d/99-extract-kernel-and-ramdisk";
    assert!(!hook.run(extract, "image", &[]), "the tree has no ramdisk");
    let old = [("image.initrd", "its ramdisk"), ("image.vmlinuz", "a kernel")];
    assert_eq!(hook.out(), owned(&old));
    hook.write("tree/boot/r", "a newer ramdisk");
    assert!(hook.run(extract, "image", &[]));
    let new = [
        ("image.initrd", "a newer ramdisk"),
        ("image.vmlinuz", "a newer kernel"),
    ];
    assert_eq!(hook.out(), owned(&new));
}

#[test]
fn a_disc_has_an_entry_by_the_name_of_any_image() {
    if !require(&["grub-script-check"]) {
        return;
    }
    let hook = Hook::new(&[
        (
            "fakes/dib-iso",
            "#!/bin/bash\ncp \"${!#}/boot/grub/grub.cfg\" grub.cfg\n",
        ),
        ("tree/tmp/kernel", "kernel"),
        ("tree/tmp/ramdisk", "ramdisk"),
        ("tree/tmp/iso/image", "a loader"),
        ("tree/usr/lib/grub/i386-pc/moddep.lst", ""),
    ]);
    for (image, entry) in [
        ("image", "menuentry image {"),
        (
            r#"dir/my "own" $image}\"#,
            r#"menuentry my\ \"own\"\ \$image\}\\ {"#,
        ),
        ("it's; reboot #", r"menuentry it\'s\;\ reboot\ \# {"),
    ] {
        let words = [("DIB_DEPLOY_ISO_KERNEL_CMDLINE_ARGS", "a=\"b c\" $d")];
        assert!(hook.run("iso/cleanup.d/100-build-iso", image, &words), "{image}");
        let configuration = hook.path("out/grub.cfg");
        let text = fs::read_to_string(&configuration).unwrap();
        let line = text.lines().find(|line| line.starts_with("menuentry"));
        assert_eq!(line, Some(entry));
        assert!(
            text.contains("    linux /boot/vmlinuz a=\\\"b c\\\" \\$d\n"),
            "{text}"
        );
        oracle::run("grub-script-check", &[configuration.as_ref()]);
    }
}

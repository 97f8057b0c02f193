//! Policies in small trees; whole ones are compared with libselinux's own programs in `tests/labels.rs`.

use image_core::store::MemoryStore;
use image_core::tree::{Data, Meta, NewContent, Xattr};

use super::*;

/// A tree of regular files with these texts, directories above them, and links where the text is a target.
fn sample(files: &[(&str, &str)]) -> (Tree, MemoryStore) {
    let mut builder = Tree::builder(Meta::root(0o755));
    let mut store = MemoryStore::default();
    let mut directories = std::collections::HashMap::from([(String::new(), NodeId::ROOT)]);
    for (path, text) in files {
        let mut above = String::new();
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in directory.split('/').filter(|part| !part.is_empty()) {
            let parent = directories[&above];
            above = format!("{above}/{part}");
            directories.entry(above.clone()).or_insert_with(|| {
                let made = builder.node(Meta::root(0o755), NewContent::Directory).unwrap();
                builder.link(parent, part.as_bytes(), made).unwrap();
                made
            });
        }
        let content = match text.strip_prefix("-> ") {
            Some(target) => NewContent::Symlink(target.as_bytes()),
            None => NewContent::File(Data::dense(
                store.push(text.as_bytes().to_vec()),
                text.len() as u64,
            )),
        };
        let node = builder.node(Meta::root(0o644), content).unwrap();
        builder.link(directories[&above], name.as_bytes(), node).unwrap();
    }
    (builder.build().unwrap(), store)
}

const BASE: &str = "etc/selinux/targeted/contexts/files/file_contexts";

fn labels(tree: &Tree) -> Vec<String> {
    let shown = |set: &[Xattr]| {
        let values = set.iter().map(|xattr| xattr.value.escape_ascii().to_string());
        values.collect::<Vec<_>>().join(" ")
    };
    let all = tree.iter().map(|(id, node)| {
        let path = String::from_utf8(tree.path(id)).unwrap();
        format!("/{path} {}", shown(tree.xattrs(node.meta.xattrs)))
    });
    all.filter(|line| !line.starts_with("/etc")).collect()
}

#[test]
fn a_tree_is_labelled_by_all_files_of_its_policy() {
    let homedirs = format!("{BASE}.homedirs");
    let local = format!("{BASE}.local");
    let (subs, subs_dist) = (format!("{BASE}.subs"), format!("{BASE}.subs_dist"));
    let (tree, store) = sample(&[
        ("bin", "-> usr/bin"),
        ("boot/efi/x", ""),
        ("home/a/f", ""),
        ("opt/mine/x", ""),
        ("srv/x", ""),
        ("usr/bin/tool", ""),
        (
            BASE,
            "# a comment\n\n/.*\tbase\n/\t-d\troot\n/usr/bin/.* -- tool\n/usr/bin -d bin rest\n/bin -l link\n/boot(/.*)? boot\n/srv/x <<none>>\n",
        ),
        (&homedirs, "/home/[^/]+/.+ home\n"),
        (&local, "/usr/bin/tool -- later\n/usr/bin/.* -- not\\n\n"),
        (&subs, "/opt/mine /mine\n"),
        (&subs_dist, "# /usr /x\n/mine /usr/bin\n/srv\n"),
    ]);
    let mut policy = Policy::of(&tree, &store).unwrap().unwrap();
    assert_eq!(policy.name(), "targeted");
    let tree = policy.label(tree, &[b"boot/efi"]).unwrap();
    assert_eq!(
        labels(&tree),
        [
            r"/ root\x00",
            r"/bin link\x00",
            r"/boot boot\x00",
            r"/home base\x00",
            r"/opt base\x00",
            r"/srv base\x00",
            r"/usr base\x00",
            r"/boot/efi boot\x00",
            "/boot/efi/x ",
            r"/home/a base\x00",
            r"/home/a/f home\x00",
            r"/opt/mine bin\x00",
            r"/opt/mine/x not\\n\x00",
            "/srv/x ",
            r"/usr/bin bin\x00",
            r"/usr/bin/tool later\x00",
        ]
    );
}

#[test]
fn a_tree_without_a_policy_is_left_alone() {
    let (tree, store) = sample(&[("etc/selinux/config", "SELINUXTYPE=targeted\n")]);
    assert!(Policy::of(&tree, &store).unwrap().is_none());
    let other = BASE.replace("targeted", "mls");
    let config = "# SELINUXTYPE=x\nSELINUXTYPE=old\n  selinuxtype=mls \r\nSELINUX=disabled\n";
    let (tree, store) = sample(&[("etc/selinux/config", config), (&other, "/.* x\n")]);
    let policy = Policy::of(&tree, &store).unwrap().unwrap();
    assert_eq!(policy.name(), "mls");
}

#[test]
fn links_stay_in_the_tree() {
    let rules = BASE.replace("etc/selinux/targeted", "usr/policy");
    let (tree, store) = sample(&[
        ("etc/selinux/targeted", "-> /../usr/../usr/policy"),
        (&rules, "/.* x\n"),
    ]);
    assert!(Policy::of(&tree, &store).unwrap().is_some());
    let (tree, store) = sample(&[(BASE, "-> file_contexts")]);
    assert!(Policy::of(&tree, &store).unwrap().is_none());
}

#[test]
fn faults_are_told_with_file_and_line() {
    for (text, told) in [
        ("/a\n", "line 1: there is no label after the pattern"),
        ("\n/\u{e9} x\n", "line 2: it has characters that are not ASCII's"),
        ("/a -x y\n", "line 1: '-x' is no kind of file"),
        (
            "/(?!a) x\n",
            "line 1: the pattern /(?!a): groups that begin with (? are not supported",
        ),
    ] {
        let (tree, store) = sample(&[(BASE, text)]);
        let error = Policy::of(&tree, &store).unwrap_err();
        assert_eq!(error.to_string(), format!("/{BASE}, {told}"));
    }
    let long = format!("/{} x\n", "a".repeat(5000));
    let (tree, store) = sample(&[(BASE, &long)]);
    let error = Policy::of(&tree, &store).unwrap_err().to_string();
    assert!(error.ends_with("a field has more than 4096 bytes"), "{error}");
    let (tree, store) = sample(&[(BASE, "/a(b{900}){900} x\n")]);
    let mut policy = Policy::of(&tree, &store).unwrap().unwrap();
    let error = policy.label_of(b"/ab", b'-').unwrap_err().to_string();
    assert_eq!(
        error,
        format!("/{BASE}, line 1: the pattern /a(b{{900}}){{900}} is too large")
    );
    let many = "/a b\n".repeat((1 << 16) + 1);
    let (tree, store) = sample(&[(BASE, &many)]);
    let error = Policy::of(&tree, &store).unwrap_err().to_string();
    assert_eq!(error, format!("/{BASE}: the policy has more than 65536 rules"));
}

//! `source-repositories`: what elements want from elsewhere, with the cache, the overrides and the hostile archives.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use oracle::http::{Reply, Server};
use oracle::{find, require};

use crate::lab::{DIB, Lab, Said};

/// A lab in which the applet runs as in a hook, without a build: a tree, hooks, a cache.
struct Sources {
    lab: Lab,
    applet: String,
}

impl Sources {
    fn new() -> Option<Self> {
        if !require(&["git", "tar"]) {
            return None;
        }
        let mut lab = Lab::unprivileged();
        let dir = lab.dir().to_owned();
        for name in ["hooks", "tree", "cache"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let git = find("git").unwrap();
        let path = format!("{}:/usr/bin:/bin", git.parent().unwrap().display());
        let text = |name: &str| dir.join(name).display().to_string();
        lab.set("PATH", &path)
            .set("TMP_HOOKS_PATH", &text("hooks"))
            .set("TMP_MOUNT_PATH", &text("tree"))
            .set("DIB_IMAGE_CACHE", &text("cache"))
            .set("DIB_LOCKFILES", &text("locks"))
            .set("IMAGE_NAME", "out/web")
            .set("DIB_RETRY_SECONDS", "0.01");
        for who in ["AUTHOR", "COMMITTER"] {
            lab.set(&format!("GIT_{who}_NAME"), "x")
                .set(&format!("GIT_{who}_EMAIL"), "x@example.org");
        }
        let link = dir.join("source-repositories");
        symlink(DIB, &link).unwrap();
        let applet = link.display().to_string();
        Some(Self { lab, applet })
    }

    fn lines(&self, name: &str, text: &str) -> &Self {
        fs::write(
            self.lab
                .dir()
                .join("hooks")
                .join(format!("source-repository-{name}")),
            text,
        )
        .unwrap();
        self
    }

    fn run(&self) -> Said {
        self.lab.run(&self.applet, &[])
    }

    fn tree(&self, path: &str) -> PathBuf {
        self.lab.dir().join("tree").join(path)
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.tree(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn fresh_tree(&self) {
        fs::remove_dir_all(self.tree("")).unwrap();
        fs::create_dir(self.tree("")).unwrap();
    }

    fn git(&self, repository: &str, args: &[&str]) -> String {
        let git = find("git").unwrap().display().to_string();
        let dir = self.lab.dir().join(repository).display().to_string();
        let said = self.lab.run(
            &git,
            &[&["-C", &dir, "-c", "init.defaultBranch=master"], args].concat(),
        );
        said.ok().out.trim().to_owned()
    }

    /// Commits a text to `file` of a repository, which is made if there is none; returns the commit.
    fn commit(&self, repository: &str, text: &str) -> String {
        let dir = self.lab.dir().join(repository);
        if !dir.exists() {
            fs::create_dir(&dir).unwrap();
            self.git(repository, &["init", "-q"]);
        }
        fs::write(dir.join("file"), text).unwrap();
        self.git(repository, &["add", "."]);
        self.git(repository, &["commit", "-q", "-m", text]);
        self.git(repository, &["rev-parse", "HEAD"])
    }

    fn path(&self, name: &str) -> String {
        self.lab.dir().join(name).display().to_string()
    }

    /// What the cache holds of sources, without locks and what belongs to entries.
    fn cached(&self) -> Vec<String> {
        let entries = fs::read_dir(self.lab.dir().join("cache/source-repositories")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names
            .filter(|name| !name.contains("dib-") && name != "repositories_flock")
            .collect();
        names.sort();
        names
    }
}

#[test]
fn git_repositories_are_checked_out_at_their_refs() {
    let Some(sources) = Sources::new() else { return };
    let first = sources.commit("repo", "one");
    sources.git("repo", &["tag", "v1"]);
    sources.git("repo", &["checkout", "-q", "-b", "side"]);
    let side = sources.commit("repo", "two");
    sources.git("repo", &["checkout", "-q", "--detach"]);
    let odd = sources.commit("repo", "three");
    sources.git("repo", &["update-ref", "refs/changes/1/2", &odd]);
    sources.git("repo", &["checkout", "-q", "master"]);
    let repo = sources.path("repo");
    for (reference, text, commit) in [
        ("", "one", &first),
        ("master", "one", &first),
        ("side", "two", &side),
        ("v1", "one", &first),
        ("refs/changes/1/2", "three", &odd),
        (side.as_str(), "two", &side),
        ("*", "one", &first),
    ] {
        sources.fresh_tree();
        sources.lines("x", &format!("my.tool git /opt/a/tool {repo} {reference}\n"));
        let said = sources.run();
        assert_eq!(said.status, 0, "{reference}: {}", said.err);
        assert_eq!(sources.text("opt/a/tool/file"), text, "{reference}");
        let manifest = sources.text("etc/dib-manifests/dib-manifest-git-web");
        assert_eq!(manifest, format!("my.tool git /opt/a/tool {repo} {commit}\n"));
        assert_eq!(sources.text("etc/dib-source-repositories"), "/opt/a/tool\n");
        let checkout = "tree/opt/a/tool";
        assert_eq!(sources.git(checkout, &["status", "--porcelain"]), "");
        assert_eq!(sources.git(checkout, &["rev-parse", "HEAD"]), *commit);
        if !matches!(reference, "" | "*") {
            assert_eq!(
                sources.git(checkout, &["rev-parse", &format!("refs/heads/fetch_{reference}")]),
                *commit
            );
        }
        if reference == "*" {
            assert_eq!(
                sources.git(checkout, &["rev-parse", "side", "v1"]),
                format!("{side}\n{first}")
            );
        }
        assert!(!sources.tree("opt/a/tool/.git/logs").exists());
    }
    assert_eq!(sources.cached().len(), 1);
    assert!(sources.cached()[0].starts_with("my_tool_"));
    sources.fresh_tree();
    sources.lines("x", &format!("x git /opt/x {repo} absent\n"));
    let said = sources.run().failed(1, "has no ref 'absent'");
    assert!(
        said.err.contains("source-repository-x, line 1, x"),
        "{}",
        said.err
    );
}

#[test]
fn the_cache_follows_its_source_unless_offline() {
    let Some(mut sources) = Sources::new() else { return };
    sources.commit("repo", "one");
    let repo = sources.path("repo");
    sources.lines("x", &format!("x git /opt/x {repo}\ny git /opt/y {repo} *\n"));
    sources.run().ok();
    sources.commit("repo", "two");
    sources.git("repo", &["tag", "v2"]);
    sources.fresh_tree();
    sources.lab.set("DIB_OFFLINE", "1");
    sources.run().ok();
    assert_eq!(
        (sources.text("opt/x/file"), sources.text("opt/y/file")),
        ("one".into(), "one".into())
    );
    // Even offline a ref that is not there is looked for.
    sources.fresh_tree();
    sources.lines("x", &format!("x git /opt/x {repo} v2\n"));
    sources.run().ok();
    assert_eq!(sources.text("opt/x/file"), "two");
    sources.fresh_tree();
    sources.lab.set("DIB_OFFLINE", "");
    sources.lines("x", &format!("x git /opt/x {repo}\n"));
    sources.run().ok();
    assert_eq!(sources.text("opt/x/file"), "two");
    // A rewritten branch is followed, too.
    sources.git("repo", &["commit", "-q", "--amend", "-m", "other"]);
    let rewritten = sources.git("repo", &["rev-parse", "HEAD"]);
    sources.fresh_tree();
    sources.run().ok();
    assert!(
        sources
            .text("etc/dib-manifests/dib-manifest-git-web")
            .contains(&rewritten)
    );
}

#[test]
fn a_destination_has_one_source() {
    let Some(sources) = Sources::new() else { return };
    sources.commit("repo", "one");
    sources.git("repo", &["branch", "side"]);
    sources.commit("other", "other");
    let (repo, other) = (sources.path("repo"), sources.path("other"));
    sources.lines("x", &format!("x git /opt/x {repo}\n"));
    sources.lines("y", &format!("x git /opt/x {repo}\n"));
    sources.run().ok();
    assert_eq!(
        sources
            .text("etc/dib-manifests/dib-manifest-git-web")
            .lines()
            .count(),
        1
    );
    sources.lines("y", &format!("x git /opt/x {other}\n"));
    sources
        .run()
        .failed(1, "the destination is there already: it came from");
    sources.lines("y", &format!("x git /opt/x {repo} side\n"));
    sources.run().failed(1, "it was not checked out by ref 'side'");
    sources.fresh_tree();
    fs::create_dir_all(sources.tree("opt/x/mine")).unwrap();
    sources.run().failed(1, "it is no checkout");
    // An image that is built upon: its checkout is brought up to date, and nothing that it says is run.
    sources.fresh_tree();
    sources.lines("y", "");
    sources.run().ok();
    let ran = sources.path("ran");
    let config = format!(
        "[core]\n\tfsmonitor = touch {ran}\n\thooksPath = /opt\n[filter \"f\"]\n\tsmudge = touch {ran}\n"
    );
    let known = sources.text("opt/x/.git/config");
    fs::write(sources.tree("opt/x/.git/config"), known + &config).unwrap();
    fs::write(sources.tree("opt/x/untracked"), "kept").unwrap();
    fs::write(sources.lab.dir().join("repo/.gitattributes"), "* filter=f\n").unwrap();
    sources.commit("repo", "two");
    sources.run().ok();
    assert_eq!(
        (sources.text("opt/x/file"), sources.text("opt/x/untracked")),
        ("two".into(), "kept".into())
    );
    assert!(!sources.lab.dir().join("ran").exists());
}

#[test]
fn the_caller_and_the_shell_have_their_say() {
    let Some(mut sources) = Sources::new() else { return };
    sources.commit("repo", "one");
    sources.git("repo", &["branch", "side"]);
    let base = format!("file://{}/", sources.lab.dir().display());
    let repo = sources.path("repo");
    sources
        .lab
        .set("DIB_GITREPOBASE", &base)
        .set("WHERE", "https://nowhere.invalid")
        .set("DIB_REPOREF_by_ref", "side")
        .set("DIB_REPOTYPE_by_type", "git")
        .set("DIB_REPOLOCATION_by_place", &repo)
        .set("DIB_INSTALLTYPE_not_this", "package");
    let text = "\r\n# nothing\nby-ref git /opt/1 $WHERE/repo ${NO_REF:-absent}\r\n\
        by.type file /opt/2 ${WHERE}/repo master\n\
        by-place git /opt/3 https://nowhere.invalid/x\n\
        not-this git /opt/4 https://nowhere.invalid/y\n\
        at-all package /opt/5 none\n\
        shell git /opt/6 ${WHERE%.invalid}/$(echo repo) *";
    sources.lines("x", text);
    sources.lines("x~", "nonsense");
    sources.run().ok();
    let git = sources.text("etc/dib-manifests/dib-manifest-git-web");
    let names: Vec<_> = git.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["by-ref", "by.type", "by-place", "shell"]);
    for number in [1, 2, 3, 6] {
        assert_eq!(sources.text(&format!("opt/{number}/file")), "one");
    }
    assert!(!sources.tree("opt/4").exists() && !sources.tree("opt/5").exists());
    sources.fresh_tree();
    sources.lab.set("DIB_DEFAULT_INSTALLTYPE", "package");
    sources.run().ok();
    assert!(!sources.tree("opt").exists() && !sources.tree("etc").exists());
    sources
        .lab
        .set("DIB_DEFAULT_INSTALLTYPE", "source")
        .set("NO_SOURCE_REPOSITORIES", "1");
    sources.run().ok();
    assert!(!sources.tree("opt").exists());
}

#[test]
fn mistakes_and_missing_tools_are_named() {
    let Some(mut sources) = Sources::new() else { return };
    let touched = sources.path("touched");
    for (line, told) in [
        (
            "x git /opt/x".to_owned(),
            "expected NAME TYPE DESTINATION LOCATION [REF]",
        ),
        ("x svn /opt/x y".to_owned(), "unknown type 'svn'"),
        (
            "x git opt/x y".to_owned(),
            "destination 'opt/x' does not begin with /",
        ),
        ("x git /opt/../../x y".to_owned(), "holds '..'"),
        (
            "x git /opt/x $NO_SUCH_VARIABLE".to_owned(),
            "variable NO_SUCH_VARIABLE is not set",
        ),
        (
            format!("x git /opt/x --upload-pack=touch${{IFS}}{touched} y"),
            "variable IFS is not set",
        ),
        (
            format!("x git /opt/x --upload-pack={touched} y"),
            "is no location of git",
        ),
        ("x git /opt/x y --force".to_owned(), "'--force' is no ref of git"),
        (
            format!("x git /opt/x ext::touch%20{touched} y"),
            "git failed 5 times",
        ),
        (
            "x git /opt/x /nowhere/at/all".to_owned(),
            "git failed 5 times for /nowhere/at/all",
        ),
        ("x file /opt/x ftp://h/x".to_owned(), "only http, https and file"),
        ("x file /opt/x file:///nowhere/at/all".to_owned(), "No such file"),
    ] {
        sources.lines("x", &line);
        sources
            .run()
            .failed(1, told)
            .failed(1, "source-repository-x, line 1");
        assert!(!sources.lab.dir().join("touched").exists(), "{line}");
    }
    sources.lab.set("PATH", "/nowhere");
    sources.lines("x", "tool git /opt/x https://h/x");
    let told = sources.run().failed(1, "line 1, tool: git is not there").err;
    assert!(told.contains("hint: install git"), "{told}");
}

#[test]
fn archives_and_files_come_through_the_cache() {
    let Some(mut sources) = Sources::new() else { return };
    let dir = sources.lab.out("made");
    fs::create_dir_all(dir.join("x-1.0/sub")).unwrap();
    for (name, text) in [
        ("top", "top"),
        ("x-1.0/a", "a"),
        ("x-1.0/sub/b", "b"),
        ("x-1.0/.hidden", "h"),
    ] {
        fs::write(dir.join(name), text).unwrap();
    }
    sources
        .lab
        .run("/bin/tar", &["-C", "made", "-czf", "x.tgz", "top", "x-1.0"])
        .ok();
    let archive = fs::read(sources.lab.out("x.tgz")).unwrap();
    let server = Server::start(move |number, asked| match (asked.target.as_str(), number) {
        ("/x.tgz", 0) => Reply::new(503, ""),
        ("/x.tgz", _) => Reply::file(asked, &archive, "\"v1\""),
        _ => Reply::file(asked, b"a key", "\"v1\""),
    });
    let (tgz, key) = (
        server.url("/x.tgz"),
        server.url("/key").replace("//", "//me:secret@"),
    );
    sources.lines(
        "x",
        &format!(
            "all tar /opt/all {tgz} .\nstar tar /opt/star {tgz}\nsub tar /opt/sub {tgz} x-*/sub\n\
             key file /etc/keys/key {key}\n"
        ),
    );
    let said = sources.run().ok();
    assert!(said.err.contains("star: an archive without REF"), "{}", said.err);
    assert_eq!(sources.text("opt/all/x-1.0/sub/b"), "b");
    assert_eq!(
        (sources.text("opt/star/a"), sources.text("opt/star/.hidden")),
        ("a".into(), "h".into())
    );
    assert!(!sources.tree("opt/star/top").exists());
    assert_eq!(sources.text("opt/sub/b"), "b");
    assert_eq!(sources.text("etc/keys/key"), "a key");
    assert_eq!(
        fs::metadata(sources.tree("etc/keys/key")).unwrap().mode() & 0o777,
        0o644
    );
    assert_eq!(
        sources.text("etc/dib-source-repositories"),
        "/opt/all\n/opt/star\n/opt/sub\n/etc/keys/key\n"
    );
    let told = sources.text("etc/dib-manifests/dib-manifest-sources-web");
    let last = told.lines().last().unwrap();
    // printf 'a key' | sha256sum
    let expected = format!(
        "{{\"name\":\"key\",\"type\":\"file\",\"destination\":\"/etc/keys/key\",\"location\":\"{}\",\"sha256\":\"8fa3aab2faa9b79e0a0398da5b5abd0780142442a5be80b9a64608d718cb1fcd\"}}",
        server.url("/key")
    );
    assert_eq!((told.lines().count(), last), (4, expected.as_str()));
    assert!(!said.err.contains("secret"), "{}", said.err);
    assert!(!sources.tree("etc/dib-manifests/dib-manifest-git-web").exists());
    let asked = server.asked().len();
    sources.fresh_tree();
    sources.lab.set("DIB_OFFLINE", "1");
    sources.run().ok();
    assert_eq!(
        (server.asked().len(), sources.text("opt/sub/b")),
        (asked, "b".into())
    );
}

#[test]
fn nothing_is_written_outside_of_the_destination() {
    let Some(sources) = Sources::new() else { return };
    let victim = sources.lab.out("victim");
    fs::create_dir(&victim).unwrap();
    // A tree in which the way to the destination leads to the host.
    symlink(&victim, sources.tree("opt")).unwrap();
    symlink("..", sources.tree("up")).unwrap();
    symlink(&victim, sources.tree("etc")).unwrap();
    sources.commit("repo", "one");
    let repo = sources.path("repo");
    fs::write(sources.lab.out("file"), "x").unwrap();
    let file = sources.lab.out("file").display().to_string();
    for line in [
        format!("x git /opt/x {repo}"),
        format!("x file /opt/x file://{file}"),
        format!("x file /up/up/up/x file://{file}"),
    ] {
        sources.lines("x", &line);
        sources.run();
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{line}");
        assert!(!sources.lab.dir().join("x").exists(), "{line}");
    }
    sources.fresh_tree();
    // An archive that goes through a link of its own.
    let dir = sources.lab.out("evil");
    fs::create_dir(&dir).unwrap();
    symlink(&victim, dir.join("way")).unwrap();
    sources
        .lab
        .run("/bin/tar", &["-C", "evil", "-cf", "evil.tar", "way"])
        .ok();
    fs::remove_file(dir.join("way")).unwrap();
    fs::create_dir(dir.join("way")).unwrap();
    fs::write(dir.join("way/in"), "x").unwrap();
    sources
        .lab
        .run("/bin/tar", &["-C", "evil", "-rf", "evil.tar", "way/in"])
        .ok();
    sources.lines(
        "x",
        &format!("x tar /opt/x file://{} .", sources.lab.out("evil.tar").display()),
    );
    let told = sources.run().failed(1, "cannot unpack").err;
    assert!(told.contains("member 'way/in' cannot be written"), "{told}");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
}

#[test]
fn two_builds_share_one_cache() {
    let Some(mut sources) = Sources::new() else { return };
    let first = sources.commit("repo", "one");
    let server = Server::start(|_, asked| {
        thread::sleep(Duration::from_millis(300));
        Reply::file(asked, b"a key", "\"v1\"")
    });
    let repo = sources.path("repo");
    sources.lines(
        "x",
        &format!("x git /opt/x {repo}\ny file /y {}\n", server.url("/y")),
    );
    let trees: Vec<_> = (0..3)
        .map(|number| sources.lab.dir().join(format!("tree{number}")))
        .collect();
    thread::scope(|scope| {
        for tree in &trees {
            fs::create_dir(tree).unwrap();
            let mut environment = sources.lab.environment();
            environment.retain(|(name, _)| *name != "TMP_MOUNT_PATH");
            let tree = tree.to_str().unwrap();
            environment.push(("TMP_MOUNT_PATH", tree));
            let applet = &sources.applet;
            let out = sources.lab.out("");
            scope.spawn(move || {
                let ran = oracle::blackbox::run(applet.as_ref(), &[], &environment, &out);
                assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            });
        }
    });
    for tree in &trees {
        let manifest = fs::read_to_string(tree.join("etc/dib-manifests/dib-manifest-git-web")).unwrap();
        assert!(manifest.contains(&first));
        assert_eq!(fs::read(tree.join("y")).unwrap(), b"a key");
    }
    // Who does not get the lock says who has it.
    let lock = sources
        .lab
        .dir()
        .join("cache/source-repositories/repositories_flock");
    let held = fs::File::options().write(true).open(&lock).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    fs::write(&lock, "the build of 'db' in /tmp/dib_build.X\n").unwrap();
    sources.lab.set("DIB_LOCK_SECONDS", "0.2");
    let told = sources
        .run()
        .failed(
            1,
            "the cache of source repositories is locked by the build of 'db'",
        )
        .err;
    assert!(
        told.contains("repositories_flock") && told.contains("hint: DIB_LOCK_SECONDS"),
        "{told}"
    );
}

#[test]
fn a_build_takes_sources_in() {
    let Some(mut lab) = Lab::new() else { return };
    let server = Server::start(|_, asked| Reply::file(asked, b"a key", "\"v1\""));
    lab.set("SITE", &server.url("/key"));
    lab.file("probe/element-deps", "source-repositories\n")
        .file("probe/source-repository-probe", "key file /srv/key $SITE\n")
        .file("install-bin/README.md", "")
        .hook(
            "install.d/50-look",
            "[ \"$(cat /srv/key)\" = 'a key' ]; grep -q ^/srv/key /etc/dib-source-repositories",
        );
    lab.rehearse().ok();
    let manifest = lab.text("image.d/dib-manifests/dib-manifest-sources-image");
    assert!(manifest.contains("\"destination\":\"/srv/key\""), "{manifest}");
}

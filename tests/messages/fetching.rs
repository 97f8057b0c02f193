//! What is said by the applets that fetch, and lay into trees what was fetched.

use std::fs;
use std::os::unix::fs::symlink;

use oracle::http::{Reply, Server};
use oracle::{find, require};

use regex_lite::Regex;

use super::Session;
use crate::lab::{DIB, Lab};

/// A session whose lab has a tree, hooks and a cache, and the programs by which hooks call the applets.
fn session() -> Session {
    let mut lab = Lab::unprivileged();
    let git = find("git").unwrap();
    let path = format!("{}:/usr/bin:/bin", git.parent().unwrap().display());
    let dir = lab.dir().to_owned();
    for (name, variable) in [
        ("hooks", "TMP_HOOKS_PATH"),
        ("tree", "TMP_MOUNT_PATH"),
        ("cache", "DIB_IMAGE_CACHE"),
        ("locks", "DIB_LOCKFILES"),
    ] {
        fs::create_dir(dir.join(name)).unwrap();
        lab.set(variable, dir.join(name).to_str().unwrap());
    }
    lab.set("PATH", &path).set("DIB_RETRY_SECONDS", "0");
    for name in [
        "cache-url",
        "source-repositories",
        "svc-map-install",
        "install-static",
    ] {
        symlink(DIB, lab.out(name)).unwrap();
    }
    Session::new(lab)
}

impl Session {
    /// Compares all of it with the file that holds it; a server's port is another each time.
    fn check_with(&mut self, server: &Server, file: &str) {
        let text = self.text.replace(&server.authority(), "SERVER");
        // The names of the cache hold digests of addresses, and so of the port.
        let digest = Regex::new("tool_[0-9a-f]{40}").unwrap();
        self.text = digest.replace_all(&text, "tool_SHA1").into_owned();
        self.check(file);
    }
}

#[test]
fn downloads() {
    if !require(&["git"]) {
        return;
    }
    let server = Server::start(|_, asked| match asked.target.as_str() {
        "/absent" => Reply::new(404, ""),
        "/busy" => Reply::new(503, ""),
        "/short" => Reply::new(200, "not all of it").cut(3),
        "/away" => Reply::new(302, "").with("Location", "ftp://h/"),
        "/circle" => Reply::new(302, "").with("Location", "/circle"),
        _ => Reply::file(asked, b"the image", "\"v1\""),
    });
    let mut session = session();
    let entry = session.lab.dir().join("cache/image").display().to_string();
    let cache_url = session.lab.out("cache-url").display().to_string();
    for target in ["/absent", "/busy", "/short", "/away", "/circle"] {
        session.run(&[], &cache_url, &[&server.url(target), "x"]);
    }
    for url in ["ftp://h/x", "h/x", "http:///x", "file:///no/such/file"] {
        session.run(&[], &cache_url, &[url, "x"]);
    }
    session.run(
        &[("http_proxy", "socks5://me:pw@h:1")],
        &cache_url,
        &["http://h/x", "x"],
    );
    let url = server.url("/image");
    session.run(&[], &cache_url, &[&url, &entry]);
    session.run(&[], &cache_url, &[&url, &entry]);
    fs::write(&entry, "the imago").unwrap();
    session.run(&[("DIB_OFFLINE", "1")], &cache_url, &[&url, &entry]);
    session.run(&[], &cache_url, &[&url, &entry]);
    session.run(&[("DIB_OFFLINE", "1")], &cache_url, &[&url, &entry]);
    session.run(&[], &cache_url, &[&url]);
    session.check_with(&server, "downloads.txt");
}

#[test]
fn sources() {
    if !require(&["git"]) {
        return;
    }
    let server = Server::start(|_, asked| match asked.target.as_str() {
        "/absent" => Reply::new(404, ""),
        _ => Reply::file(asked, b"no archive", "\"v1\""),
    });
    let mut session = session();
    let applet = session.lab.out("source-repositories").display().to_string();
    let file = session.lab.dir().join("hooks/source-repository-tool");
    for line in [
        "tool git /opt/tool",
        "tool svn /opt/tool https://h/x",
        "tool git opt/tool https://h/x",
        "tool git / https://h/x",
        "tool git /opt/../tool https://h/x",
        "tool git /opt/tool $NO_SUCH_VARIABLE",
        "tool git /opt/tool $(exit 3)",
        "tool git /opt/tool --upload-pack=x",
        "tool git /opt/tool https://h/x -f",
        "tool tar /opt/tool SITE/archive .",
        "tool tar /opt/tool SITE/archive ../x",
        "tool tar /opt/tool SITE/archive",
        "tool file /opt/tool SITE/absent",
        "tool file /opt/tool ftp://h/x",
        "tool file /opt/file SITE/file",
        "tool package /opt/tool none",
    ] {
        fs::write(&file, line.replace("SITE", &server.url(""))).unwrap();
        session.text += &["source-repository-tool: ", line, "\n"].concat();
        session.run(&[], &applet, &[]);
    }
    fs::write(&file, format!("tool file /opt/file {}", server.url("/file"))).unwrap();
    session.run(&[("NO_SOURCE_REPOSITORIES", "1")], &applet, &[]);
    session.run(&[("TMP_MOUNT_PATH", "")], &applet, &[]);
    fs::write(&file, "tool git /opt/git https://h/x").unwrap();
    session.run(&[("PATH", "/nowhere")], &applet, &[]);
    session.check_with(&server, "sources.txt");
}

#[test]
fn trees() {
    if !require(&["git"]) {
        return;
    }
    let mut session = session();
    session
        .lab
        .file("a/svc-map", "web: {default: x}\n")
        .file("b/svc-map", "web: {}\n");
    let elements = session.lab.dir().join("elements").display().to_string();
    let install = session.lab.out("svc-map-install").display().to_string();
    let published = format!("a: {elements}/a\nb: {elements}/b\n");
    session.run(&[("IMAGE_ELEMENT_YAML", &published)], &install, &[]);
    session.run(&[], &install, &[]);
    session.run(&[], &install, &["more"]);
    session.lab.file("a/svc-map", "web: {default: 'x y'}\n");
    session.run(&[("IMAGE_ELEMENT_YAML", &published)], &install, &[]);
    let lay = session.lab.out("install-static").display().to_string();
    session.run(&[], &lay, &["/no/such/static", &elements]);
    session.check("trees.txt");
}

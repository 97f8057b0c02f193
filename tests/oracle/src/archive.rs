//! The archive of packages that this machine's own apt uses: no test names one.

use std::fs;
use std::path::{Path, PathBuf};

/// Which of apt's archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// That of the suite itself.
    Suite,
    /// That of its security updates.
    Security,
}

/// Its address, without a slash at the end; `None` where there is no apt, or it knows none.
pub fn of_apt(part: Part) -> Option<String> {
    let apt = crate::find("apt-get")?;
    let format = "$(RELEASE) $(REPO_URI)";
    let args = ["indextargets", "--format", format, "Created-By: Packages"];
    let output = crate::blackbox::run(&apt, &args, &[("PATH", "/usr/bin:/bin")], Path::new("/"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, uri) = lines.find(|(release, _)| match part {
        Part::Suite => !release.contains('-'),
        Part::Security => release.ends_with("-security"),
    })?;
    Some(uri.trim_end_matches('/').to_owned())
}

/// A package of another architecture from the archives of this machine's apt, fetched into a directory of one's own; `None`
/// where they have none.
pub fn foreign_package(name: &str, architecture: &str, dir: &Path) -> Option<PathBuf> {
    let apt = crate::find("apt-get")?;
    let state = dir.join("state");
    fs::create_dir_all(state.join("lists/partial")).expect("the directory is the test's");
    fs::create_dir_all(dir.join("cache/archives/partial")).expect("the directory is the test's");
    fs::write(state.join("status"), "").expect("the directory is the test's");
    let options = [
        format!("APT::Architecture={architecture}"),
        format!("APT::Architectures={architecture}"),
        "APT::Sandbox::User=root".to_owned(),
        format!("Dir::State={}", state.display()),
        format!("Dir::State::status={}", state.join("status").display()),
        format!("Dir::Cache={}", dir.join("cache").display()),
    ];
    let options: Vec<&str> = options
        .iter()
        .flat_map(|option| ["-o", option.as_str()])
        .collect();
    for words in [&["update"][..], &["download", name]] {
        let args = [&["--quiet"], &options[..], words].concat();
        let output = crate::blackbox::run(&apt, &args, &[("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")], dir);
        if !output.status.success() {
            return None;
        }
    }
    let entries = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    entries
        .into_iter()
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
}

//! The archive of packages that this machine's own apt uses: no test names one.

use std::path::Path;

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

//! What a project or a file does not want to hear.

use std::collections::BTreeSet;

/// Names of checks that are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exclusions(BTreeSet<String>);

impl Exclusions {
    /// Those of `tox.ini`: the words behind `ignore` in the section `dib-lint`, and on indented lines below.
    pub(super) fn of_project(ini: &str) -> Self {
        let mut excluded = BTreeSet::new();
        let (mut ours, mut ignore) = (false, false);
        for line in ini.lines() {
            let text = line.trim();
            if text.is_empty() || text.starts_with(['#', ';']) {
                continue;
            }
            if let Some(section) = text.strip_prefix('[') {
                ours = section.trim_end_matches(']') == "dib-lint";
                ignore = false;
            } else if line.starts_with(char::is_whitespace) {
                if ours && ignore {
                    excluded.extend(words(text));
                }
            } else if let Some((key, value)) = text.split_once(['=', ':']) {
                ignore = key.trim() == "ignore";
                if ours && ignore {
                    excluded.extend(words(value));
                }
            }
        }
        Self(excluded)
    }

    /// Those of the comments of a file.
    pub(super) fn of_file(text: &str) -> Self {
        let comment = |line: &str| {
            let (_, comment) = line.split_once('#')?;
            let (_, rest) = comment.split_once("dib-lint:")?;
            let names = rest.trim_start().strip_prefix("disable=")?;
            Some(words(names).collect::<Vec<_>>())
        };
        Self(text.lines().filter_map(comment).flatten().collect())
    }

    /// Whether a check is left out.
    pub(super) fn has(&self, check: &str) -> bool {
        self.0.contains(check)
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    words.filter(|word| !word.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_projects_and_files() {
        let of = |names: &[&str]| Exclusions(names.iter().map(|name| (*name).to_owned()).collect());
        let ini = "ignore=no\n[tox]\nignore = no\n\n[dib-lint]\n# x\nother = no\n  no\nignore: sete, setu\n  indent\n[x]\n  no\n";
        assert_eq!(Exclusions::of_project(ini), of(&["sete", "setu", "indent"]));
        assert_eq!(Exclusions::of_project(""), of(&[]));
        let text = "#!/bin/bash\n# dib-lint: disable=sete setu,indent\nx # dib-lint: disable=which\n# dib-lint disable=no\n";
        assert_eq!(
            Exclusions::of_file(text),
            of(&["sete", "setu", "indent", "which"])
        );
    }
}

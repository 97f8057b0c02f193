//! What formats need that hold the tree itself, and no disk: names, platforms, and which of the tree they hold.

use std::path::PathBuf;

use image_core::{Identity, Tree};
use image_formats::oci::Platform;

use super::Format;
use super::engine::Engine;
use crate::clock::Moment;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::given;
use crate::inspect::layout;
use crate::settings::Settings;

/// Directories whose contents belong to a running system, or to the host that builds.
pub const RUNTIME: [&[u8]; 4] = [b"dev", b"proc", b"sys", b"tmp"];

/// A tree that is to be archived.
#[derive(Clone, Copy, Debug)]
pub struct Archival<'a> {
    /// What archives hold.
    pub tree: &'a Tree,
    /// What they say of it.
    pub facts: &'a Facts,
}

/// What archives say of a tree.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The time stamp of images, and whether files' times are clamped to it.
    pub identity: Identity,
    /// For which machines a container's image is, if there shall be one.
    pub platform: Option<Platform>,
    /// Its repository and tag.
    pub name: Option<(String, String)>,
    /// When it was made.
    pub created: String,
    /// What an image of type aci has besides.
    pub manifest: Option<Vec<u8>>,
    /// Who gets an image of type docker, if anybody does.
    pub engine: Option<Engine>,
}

impl Facts {
    /// What is asked for; an error where it makes no sense, or cannot be read.
    pub fn new(settings: &Settings, environment: &Environment, identity: Identity) -> Result<Self> {
        let wants = |format| settings.formats.contains(&format);
        let name = if wants(Format::Docker) || (wants(Format::Oci) && settings.docker_target.is_some()) {
            Some(name(settings.docker_target.as_deref(), settings.base_name())?)
        } else {
            None
        };
        let container = wants(Format::Docker) || wants(Format::Oci);
        let choice = container.then(|| layout::choice(environment, &settings.arch));
        let manifest = environment.non_empty("ACI_MANIFEST").map(PathBuf::from);
        let manifest = manifest.filter(|_| wants(Format::Aci));
        let read = |path: PathBuf| {
            let read = given::read(&path);
            let refused = || Error::usage(format!("ACI_MANIFEST: cannot read {}", path.display()));
            read.map_err(|error| refused().because(error))
        };
        Ok(Self {
            identity,
            platform: choice.transpose()?.map(|choice| choice.platform),
            name,
            created: Moment::of_file(identity.epoch.secs).rfc3339(),
            manifest: manifest.map(read).transpose()?,
            engine: Engine::wanted(settings, environment)?,
        })
    }
}

/// Repository and tag: what is asked for, else the name of the outputs.
fn name(target: Option<&str>, base: &str) -> Result<(String, String)> {
    let text = target.unwrap_or(base);
    let (repository, tag) = match text.rsplit_once(':') {
        // A port is no tag.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (text, "latest"),
    };
    if is_repository(repository) && is_tag(tag) {
        return Ok((repository.to_owned(), tag.to_owned()));
    }
    let error = Error::usage(format!("'{text}' cannot be the name of a container's image"));
    Err(match target {
        Some(_) => error.hint("for example: --docker-target team/web:1.0, in lower case"),
        None => error.hint("--docker-target names the image, for example team/web:1.0"),
    })
}

/// Components of small letters and digits, apart by single dots, one or two underscores or dashes; the first may be
/// a host with a port.
fn is_repository(text: &str) -> bool {
    let (host, path) = match text.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, text),
    };
    let is_host = |host: &str| {
        let (name, port) = host.split_once(':').unwrap_or((host, "1"));
        let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-');
        !name.is_empty() && name.chars().all(plain) && port.parse::<u16>().is_ok()
    };
    let is_component = |part: &str| {
        let runs = part.split(|char: char| char.is_ascii_lowercase() || char.is_ascii_digit());
        let ends = part.starts_with(['.', '_', '-']) || part.ends_with(['.', '_', '-']);
        let apart = |run: &str| matches!(run, "" | "." | "_" | "__") || run.chars().all(|char| char == '-');
        !part.is_empty() && !ends && runs.into_iter().all(apart)
    };
    host.is_none_or(is_host) && path.split('/').all(is_component) && text.len() <= 255
}

fn is_tag(text: &str) -> bool {
    let word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.len() <= 128
        && text.starts_with(word)
        && text.chars().all(|char| word(char) || matches!(char, '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_engines_take() {
        for (text, repository, tag) in [
            ("web", "web", "latest"),
            ("team/web:1.0-rc.1", "team/web", "1.0-rc.1"),
            ("localhost:5000/a/b__c:x", "localhost:5000/a/b__c", "x"),
            ("example.org/a-b---c.d", "example.org/a-b---c.d", "latest"),
        ] {
            let name = name(Some(text), "other").unwrap();
            assert_eq!((name.0.as_str(), name.1.as_str()), (repository, tag));
        }
        for text in [
            "",
            "Web",
            "a//b",
            "-a",
            "a_",
            "a:",
            "a:.x",
            "a..b",
            "a b",
            "ho_st:1/a",
            "x.y:port/a",
        ] {
            assert!(name(Some(text), "other").is_err(), "{text}");
        }
    }

    #[test]
    fn an_image_without_a_target_is_called_as_its_file() {
        assert_eq!(
            name(None, "web").unwrap(),
            ("web".to_owned(), "latest".to_owned())
        );
        let error = name(None, "My Image").unwrap_err().to_string();
        assert!(
            error.contains("My Image") && error.contains("--docker-target"),
            "{error}"
        );
    }
}

//! An image of type docker → the engine of this machine, where that was asked for by name.
//!
//! The archive is what `docker load` takes, and that command is all that is run: who has no engine loses nothing, and
//! who has one can load the same file later, or with podman.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::Format;
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::sandbox::launch::{Ending, Sandbox};
use crate::settings::Settings;

/// The program that talks to the engine.
const PROGRAM: &str = "docker";

/// A program that talks to an engine, as the caller would start it.
#[derive(Clone, Debug)]
pub struct Engine {
    program: PathBuf,
    environment: Environment,
}

impl Engine {
    /// The one of this machine, if images shall be loaded; an error where that cannot be.
    pub(super) fn wanted(settings: &Settings, environment: &Environment) -> Result<Option<Self>> {
        if !settings.docker_load {
            return Ok(None);
        }
        let refused = |why| Err(Error::usage(format!("--docker-load: {why}")));
        if !settings.formats.contains(&Format::Docker) {
            return refused("no image of type docker is wanted: add docker to the types of -t".to_owned());
        }
        let Some(program) = find(environment.get("PATH").unwrap_or_default()) else {
            return refused(format!("no program {PROGRAM} is on the PATH"));
        };
        Ok(Some(Self {
            program,
            environment: environment.clone(),
        }))
    }

    /// Loads an archive.
    pub(super) fn load(&self, archive: &Path) -> Result<()> {
        let tried = || format!("cannot load {} into the engine of docker", archive.display());
        let mut input = OsString::from("--input=");
        input.push(archive);
        let args = [OsString::from("load"), input];
        let ending = Sandbox::host()
            .run(self.program.as_os_str(), &args, &self.environment)
            .host(tried)?;
        if ending == Ending::Exited(0) {
            return Ok(());
        }
        let why = format!("{} load {ending}", self.program.display());
        Err(Error::new(Kind::Host, tried())
            .because(why)
            .hint("the file is whole: docker load takes it later, too"))
    }
}

fn find(path: &OsStr) -> Option<PathBuf> {
    let places = std::env::split_paths(path).map(|dir| dir.join(PROGRAM));
    places.into_iter().find(|place| place.is_file())
}

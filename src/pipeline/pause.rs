//! Stops at break points: a shell where the build is, and the build goes on when the shell ends.

use std::ffi::{OsStr, OsString};
use std::io;

use super::Build;
use super::surroundings::{in_chroot, on_host};
use crate::breaks::AFTER_ERROR;
use crate::environment::Environment;
use crate::error::Result;
use crate::phase::Place;
use crate::sandbox::launch::Sandbox;
use crate::ui;

/// What a stop runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A shell.
    Shell,
    /// The caller's `break_cmd`, if there is one, else a shell.
    Command,
}

impl Build<'_> {
    /// Stops if the caller named this point.
    pub(super) fn pause(
        &self,
        point: &str,
        sandbox: &Sandbox,
        environment: &Environment,
        stop: Stop,
    ) -> Result<()> {
        if !self.plan.breaks.at(point) {
            return Ok(());
        }
        let command = environment.text("break_cmd")?.filter(|_| stop == Stop::Command);
        ui::note(format_args!(
            "Starting debug shell. Exit to resume building.\nAt stage {point}"
        ));
        // The shell gets the command whole: what is behind a `;` belongs to it.
        let args = command.map_or(Vec::new(), |command| ["-c", command].map(OsString::from).to_vec());
        let _shell = ui::shell();
        let shell = |name: &str| sandbox.interact(OsStr::new(name), &args, environment);
        let ran = shell("bash").or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => shell("sh"),
            _ => Err(error),
        });
        if let Err(error) = ran {
            ui::warn(format_args!("cannot start a shell at {point}: {error}"));
        }
        ui::note("Resuming");
        Ok(())
    }

    /// Stops where a hook failed, in the environment that it saw; outside the chroot if the caller wants that.
    pub(super) fn pause_after_error(
        &self,
        place: Place,
        sandbox: &Sandbox,
        environment: &Environment,
    ) -> Result<()> {
        let outside = environment.non_empty("break_outside_target").is_some();
        if place == Place::Host || !outside {
            return self.pause(AFTER_ERROR, sandbox, environment, Stop::Command);
        }
        let environment = on_host(&self.variables, &self.dirs);
        self.pause(AFTER_ERROR, &Sandbox::host(), &environment, Stop::Command)
    }

    /// Stops before or after what is no phase of hooks.
    pub(super) fn pause_around(&self, point: &str, place: Place) -> Result<()> {
        match place {
            Place::Host => {
                let environment = on_host(&self.variables, &self.dirs);
                let stop = if point.starts_with("before-") {
                    Stop::Command
                } else {
                    Stop::Shell
                };
                self.pause(point, &Sandbox::host(), &environment, stop)
            }
            Place::Chroot | Place::FirstBoot => {
                let environment = in_chroot(&self.variables);
                self.pause(
                    point,
                    &Sandbox::chroot(&self.dirs.tree),
                    &environment,
                    Stop::Shell,
                )
            }
        }
    }
}

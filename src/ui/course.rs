//! The course of a build: what runs now, and since when.

use std::time::{Duration, Instant};

use super::events::{Hook, Target};
use super::units;

/// What runs now. Each part lies within the one before it.
#[derive(Debug, Default)]
pub struct Course {
    /// A phase.
    pub phase: Option<(String, Instant)>,
    /// A hook of it.
    pub hook: Option<(Hook, Instant)>,
    /// Work of the builder.
    pub work: Option<(String, Instant)>,
    /// An output that is written.
    pub output: Option<Writing>,
}

/// An output that is written.
#[derive(Debug)]
pub struct Writing {
    /// Which.
    pub output: Target,
    /// Bytes in the image.
    pub of: u64,
    /// Bytes of it so far.
    pub done: u64,
    /// Since when.
    pub since: Instant,
    /// When an event last told how far it is.
    pub told: Instant,
}

impl Course {
    /// What runs now, in words: `install.d/10-x of element y`, and for how long.
    pub fn now(&self) -> Option<(String, Duration)> {
        if let Some(writing) = &self.output {
            let what = format!(
                "writing {}, {} of {}",
                writing.output.path,
                units::bytes(writing.done),
                units::bytes(writing.of)
            );
            return Some((what, writing.since.elapsed()));
        }
        if let Some((hook, since)) = &self.hook {
            let element = hook.element.as_ref();
            let element = element.map_or(String::new(), |element| format!(" of element {element}"));
            return Some((format!("{}/{}{element}", hook.phase, hook.hook), since.elapsed()));
        }
        let (what, since) = self.work.as_ref().or(self.phase.as_ref())?;
        Some((what.clone(), since.elapsed()))
    }

    /// The last line of a terminal: what runs, for how long, and how long all of it has taken.
    pub fn line(&self, all: Duration) -> String {
        let all = units::time(all);
        self.now().map_or_else(
            || format!("[{all}]"),
            |(what, time)| format!("[{all}] {what}, {}", units::time(time)),
        )
    }

    /// The line that shows life where nothing else does.
    pub fn heartbeat(&self, all: Duration) -> String {
        let (what, time) = self.now().unwrap_or(("the build".to_owned(), all));
        format!("still running: {what}, for {}", units::time(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_is_what_runs() {
        let ago = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        let all = Duration::from_secs(130);
        let mut course = Course::default();
        assert_eq!(course.line(all), "[2 min 10 s]");
        assert_eq!(course.heartbeat(all), "still running: the build, for 2 min 10 s");
        course.phase = Some(("install.d".into(), ago(60)));
        assert_eq!(course.line(all), "[2 min 10 s] install.d, 60 s");
        let hook = Hook {
            phase: "install.d".into(),
            hook: "10-x".into(),
            element: Some("y".into()),
            path: None,
        };
        course.hook = Some((hook, ago(31)));
        assert_eq!(course.line(all), "[2 min 10 s] install.d/10-x of element y, 31 s");
        course.hook = None;
        course.phase = None;
        course.work = Some(("scan the tree".into(), ago(2)));
        assert_eq!(course.heartbeat(all), "still running: scan the tree, for 2 s");
        course.output = Some(Writing {
            output: Target {
                path: "x.raw".into(),
                format: "raw".into(),
            },
            of: 2 << 30,
            done: 1 << 30,
            since: ago(40),
            told: ago(0),
        });
        assert_eq!(
            course.heartbeat(all),
            "still running: writing x.raw, 1.0 GiB of 2.0 GiB, for 40 s"
        );
    }
}

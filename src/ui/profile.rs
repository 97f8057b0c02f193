//! The profile: where the time of a build went, down to each hook, the image included.

use std::fmt;

/// What took time, in the order in which it began.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    what: String,
    seconds: f64,
    /// Part of the last row above it that is not.
    part: bool,
}

impl Profile {
    /// Adds something that took time by itself: a phase, a piece of work, an output.
    pub fn whole(&mut self, what: impl Into<String>, seconds: f64) {
        self.rows.push(Row {
            what: what.into(),
            seconds,
            part: false,
        });
    }

    /// Adds a hook of the phase that will be added next.
    pub fn part(&mut self, what: impl Into<String>, seconds: f64) {
        self.rows.push(Row {
            what: what.into(),
            seconds,
            part: true,
        });
    }

    /// The table, with the time that all took.
    pub fn table(&self, total: f64) -> Table<'_> {
        Table { profile: self, total }
    }
}

/// A profile to be printed.
#[derive(Debug)]
pub struct Table<'a> {
    profile: &'a Profile,
    total: f64,
}

/// Phases before their hooks, though they end after them.
impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "    seconds  what the time went to")?;
        writeln!(f, "    -------  ---------------------")?;
        let mut parts: Vec<&Row> = Vec::new();
        for row in &self.profile.rows {
            if row.part {
                parts.push(row);
                continue;
            }
            writeln!(f, "  {:>9.3}  {}", row.seconds, row.what)?;
            for part in parts.drain(..) {
                writeln!(f, "  {:>9.3}    {}", part.seconds, part.what)?;
            }
        }
        write!(f, "  {:>9.3}  from the start to the last image", self.total)
    }
}

//! Who starts which program, as strace sees it: whatever PATH says, and by whatever way a program is found.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

/// The calls that start processes and programs, and that change what a path means.
const CALLS: &str = "trace=execve,execveat,clone,clone3,fork,vfork,chroot,pivot_root";

/// A program that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The program, by the path that the call had.
    pub program: String,
    /// The program that the caller was until then, likewise.
    pub by: String,
    /// Whether the caller had another root by then: the program is none of the host's.
    pub elsewhere: bool,
}

/// The words before a command line that write the trace of it into a file.
pub fn words(file: &Path) -> Vec<String> {
    let strace = crate::find("strace").expect("strace is required first");
    let (strace, file) = (strace.display().to_string(), file.display().to_string());
    let words = [
        strace.as_str(),
        "--follow-forks",
        // Only these calls stop what runs: all others are as fast as ever.
        "--seccomp-bpf",
        "--decode-pids=pidns",
        "-e",
        CALLS,
        "-e",
        "signal=none",
        "-o",
        &file,
    ];
    words.map(str::to_owned).to_vec()
}

/// What a process did.
#[derive(Debug)]
enum Event {
    Started(String),
    ChangedRoot,
}

/// A process by its number, and how many others had that before: the system gives numbers again.
type Id = (u32, usize);

/// A process: the line that is its first, who made it, at which line, and what it did, by line.
#[derive(Debug, Default)]
struct Traced {
    seen: Option<usize>,
    made_by: Option<(Id, usize)>,
    events: Vec<(usize, Event)>,
}

/// All processes of a trace.
#[derive(Debug, Default)]
struct Processes {
    all: HashMap<Id, Traced>,
    /// How many processes of a number have ended so far.
    ended: HashMap<u32, usize>,
}

/// Reads a trace: every program that was started, in order.
pub fn read(file: &Path) -> Vec<Start> {
    let text = fs::read_to_string(file).expect("strace wrote its file");
    starts(&text)
}

fn starts(text: &str) -> Vec<Start> {
    let processes = Processes::read(text);
    let mut starts = BTreeMap::new();
    for (id, process) in &processes.all {
        for (line, event) in &process.events {
            if let Event::Started(program) = event {
                let start = Start {
                    program: program.clone(),
                    by: processes.was(*id, *line),
                    elsewhere: processes.is_elsewhere(*id, *line),
                };
                starts.insert(*line, start);
            }
        }
    }
    starts.into_values().collect()
}

impl Processes {
    /// Reads a trace. A call may be told in two lines, with others between them.
    fn read(text: &str) -> Self {
        let mut processes = Self::default();
        let mut begun: HashMap<u32, (usize, String)> = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let (number, said) = line.split_once(' ').expect("a line begins with a process");
            let number: u32 = number.parse().expect("a process is a number");
            let id = (number, processes.ended.get(&number).copied().unwrap_or(0));
            processes.all.entry(id).or_default().seen.get_or_insert(at);
            let said = said.trim_start();
            if said.starts_with("+++ ") {
                processes.ended.insert(number, id.1 + 1);
                begun.remove(&number);
                continue;
            }
            if let Some(start) = said.strip_suffix("<unfinished ...>") {
                begun.insert(number, (at, start.to_owned()));
                continue;
            }
            let resumed = said
                .strip_prefix("<... ")
                .and_then(|said| said.split_once("resumed>"));
            let (at, call) = match resumed {
                Some((_, end)) => {
                    let (at, start) = begun.remove(&number).expect("what is resumed was begun");
                    (at, start + end)
                }
                None => (at, said.to_owned()),
            };
            processes.note(id, at, &call);
        }
        processes
    }

    fn note(&mut self, id: Id, at: usize, call: &str) {
        let Some((name, _)) = call.split_once('(') else {
            return;
        };
        let result = call.rsplit_once(" = ").map_or("", |(_, result)| result);
        let done = match name {
            "execve" | "execveat" if result.starts_with('0') => {
                let program = call.split('"').nth(1).expect("a program has a path");
                Event::Started(program.to_owned())
            }
            "chroot" | "pivot_root" if result.starts_with('0') => Event::ChangedRoot,
            "clone" | "clone3" | "fork" | "vfork" => {
                // Inside of a namespace the number that counts here stands behind the one there.
                let number = result.split_once("/* ").map_or(result, |(_, number)| number);
                let number = number.split(' ').next().and_then(|number| number.parse().ok());
                if let Some(child) = number.filter(|child: &u32| *child > 0) {
                    self.made(child, at).made_by = Some((id, at));
                }
                return;
            }
            _ => return,
        };
        self.all.entry(id).or_default().events.push((at, done));
    }

    /// The process of a number that was made by a call that began at a line: it may have come to its end already, before its
    /// maker was told of it, but is not older than the call.
    fn made(&mut self, number: u32, at: usize) -> &mut Traced {
        let ended = self.ended.get(&number).copied().unwrap_or(0);
        let before = ended.checked_sub(1).map(|before| (number, before));
        let is_orphan = |id: &Id| {
            let known = self.all.get(id);
            known.is_some_and(|known| known.made_by.is_none() && known.seen > Some(at))
        };
        let id = before.filter(is_orphan).unwrap_or((number, ended));
        self.all.entry(id).or_default()
    }

    /// Which program a process was before a line: its own last one, or its maker's when it was made.
    fn was(&self, id: Id, before: usize) -> String {
        let Some(process) = self.all.get(&id) else {
            return String::new();
        };
        let started = process.events.iter().rev().filter(|(at, _)| *at < before);
        let mut programs = started.filter_map(|(_, event)| match event {
            Event::Started(program) => Some(program.clone()),
            Event::ChangedRoot => None,
        });
        let made_by = || Some(self.was(process.made_by?.0, process.made_by?.1));
        programs.next().or_else(made_by).unwrap_or_default()
    }

    /// Whether a process had another root before a line.
    fn is_elsewhere(&self, id: Id, before: usize) -> bool {
        let Some(process) = self.all.get(&id) else {
            return false;
        };
        let changed = |(at, event): &(usize, Event)| *at < before && matches!(event, Event::ChangedRoot);
        process.events.iter().any(changed)
            || process
                .made_by
                .is_some_and(|(maker, at)| self.is_elsewhere(maker, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_given_again_are_other_processes() {
        let text = r#"10 execve("/builder", ["/builder"], 0x1 /* 5 vars */) = 0
10 clone(child_stack=NULL, flags=SIGCHLD) = 11
11 chroot("/tree") = 0
11 execve("/bin/in", ["in"], 0x1) = 0
11 +++ exited with 0 +++
10 clone3({flags=CLONE_VFORK}, 88 <unfinished ...>
11 execve("/hook", ["/hook"], 0x1 <unfinished ...>
10 <... clone3 resumed>) = 2 /* 11 in strace's PID NS */
11 <... execve resumed>) = 0
11 vfork( <unfinished ...>
12 execve("/none", ["none"], 0x1) = -1 ENOENT (No such file or directory)
12 execve("/bin/out", ["out"], 0x1) = 0
12 +++ exited with 0 +++
11 <... vfork resumed>) = 12
13 execve("/bin/stray", ["stray"], 0x1) = 0
13 +++ exited with 0 +++
10 vfork() = 13
13 execve("/bin/last", ["last"], 0x1) = 0
"#;
        let found: Vec<(String, String, bool)> = starts(text)
            .into_iter()
            .map(|start| (start.program, start.by, start.elsewhere))
            .collect();
        let expected = [
            ("/builder", "", false),
            ("/bin/in", "/builder", true),
            ("/hook", "/builder", false),
            ("/bin/out", "/hook", false),
            // Nobody tells who made it: not who made the next of its number.
            ("/bin/stray", "", false),
            ("/bin/last", "/builder", false),
        ];
        assert_eq!(
            found,
            expected.map(|(program, by, elsewhere)| (program.to_owned(), by.to_owned(), elsewhere))
        );
    }
}

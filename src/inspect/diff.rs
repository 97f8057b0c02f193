//! Two images, file by file: what only one has, and in what the files of both differ.
//!
//! Lengths are compared first; the bytes of files of one length are then compared by several threads, long ones first. Not
//! compared: holes, which read as zeros; and an empty `/lost+found` that only one has, since only some file systems have it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fmt, thread};

use image_core::store;
use image_core::tree::{Content, Node, Xattr};
use serde::Serialize;

use super::compose::joined;
use super::listing::kind;
use super::report::{printable, shown};
use super::view::{Spot, View};

/// Bytes that a thread compares at once.
const PIECE: usize = 256 << 10;

/// Files of more bytes are compared before all others.
const LONG: u64 = 4 << 20;

/// What the JSON of `dib diff` holds.
pub const SCHEMA: &str = "\
JSON, version 1:
  version      1; within a version fields are only added
  a, b         the images
  equal        whether there is no difference
  differences  by path: {path, change, what}; change is only-a, only-b or changed; of what changed, what has {aspect, a,
               b}; aspect is type, mode, owner, mtime, size, content, target, device, links (the first path of a hard
               link) or xattr NAME; a and b are texts, or null where they are not shown";

/// What is different at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    path: String,
    change: Change,
    what: Vec<Aspect>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    OnlyA,
    OnlyB,
    Changed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Aspect {
    #[serde(rename = "aspect")]
    name: String,
    a: Option<String>,
    b: Option<String>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    version: u32,
    a: String,
    b: String,
    equal: bool,
    differences: Vec<Difference>,
}

impl Comparison {
    /// Whether there is no difference.
    pub fn is_equal(&self) -> bool {
        self.equal
    }
}

/// Compares two images, whose names are for the reader.
pub fn compare(
    (name_a, a): (&str, &View),
    (name_b, b): (&str, &View),
    times: bool,
    threads: usize,
) -> Result<Comparison, store::Error> {
    let mut walk = Walk {
        a,
        b,
        times,
        first_a: first_names(a),
        first_b: first_names(b),
        found: Vec::new(),
        contents: Vec::new(),
        known: HashMap::new(),
    };
    walk.all();
    let Walk {
        mut found, contents, ..
    } = walk;
    for (job, differs) in contents.iter().zip(differing(a, b, &contents, threads)?) {
        if differs {
            let content = aspect("content", None, None);
            job.at.iter().for_each(|at| found[*at].what.push(content.clone()));
        }
    }
    found.retain(|found| found.change != Change::Changed || !found.what.is_empty());
    Ok(Comparison {
        version: 1,
        a: name_a.to_owned(),
        b: name_b.to_owned(),
        equal: found.is_empty(),
        differences: found,
    })
}

fn aspect(what: &str, a: Option<String>, b: Option<String>) -> Aspect {
    let name = what.to_owned();
    Aspect { name, a, b }
}

/// Files whose bytes are compared, and whose differences they are.
struct Job {
    a: Spot,
    b: Spot,
    len: u64,
    at: Vec<usize>,
}

struct Walk<'a> {
    a: &'a View,
    b: &'a View,
    times: bool,
    /// The first path of each file with several.
    first_a: HashMap<Spot, Vec<u8>>,
    first_b: HashMap<Spot, Vec<u8>>,
    found: Vec<Difference>,
    contents: Vec<Job>,
    known: HashMap<(Spot, Spot), usize>,
}

impl Walk<'_> {
    fn all(&mut self) {
        let mut open = vec![(Vec::new(), self.a.root(), self.b.root())];
        while let Some((path, a, b)) = open.pop() {
            self.file(&path, a, b);
            let (mut left, mut right) = (
                self.a.entries(a).into_iter().peekable(),
                self.b.entries(b).into_iter().peekable(),
            );
            let mut below = Vec::new();
            loop {
                let order = match (left.peek(), right.peek()) {
                    (None, None) => break,
                    (Some(_), None) => std::cmp::Ordering::Less,
                    (None, Some(_)) => std::cmp::Ordering::Greater,
                    (Some((a, _)), Some((b, _))) => a.cmp(b),
                };
                let l = if order.is_le() { left.next() } else { None };
                let r = if order.is_ge() { right.next() } else { None };
                match (l, r) {
                    (Some((name, a)), Some((_, b))) => below.push((joined(&path, name), a, b)),
                    (Some((name, spot)), None) => self.only(Change::OnlyA, &joined(&path, name), spot),
                    (None, Some((name, spot))) => self.only(Change::OnlyB, &joined(&path, name), spot),
                    (None, None) => break,
                }
            }
            open.extend(below.into_iter().rev());
        }
        self.sort();
    }

    /// By path, as whoever looks for one expects; jobs know differences by their place.
    fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.found.len()).collect();
        order.sort_by(|a, b| self.found[*a].path.cmp(&self.found[*b].path));
        let mut place = vec![0; order.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new;
        }
        self.found.sort_by(|a, b| a.path.cmp(&b.path));
        for job in &mut self.contents {
            job.at.iter_mut().for_each(|at| *at = place[*at]);
        }
    }

    fn only(&mut self, change: Change, path: &[u8], spot: Spot) {
        let view = if change == Change::OnlyA { self.a } else { self.b };
        if path == b"lost+found" && view.is_directory(spot) && view.entries(spot).is_empty() {
            return;
        }
        self.found.push(Difference {
            path: format!("/{}", shown(path)),
            change,
            what: Vec::new(),
        });
    }

    fn file(&mut self, path: &[u8], a: Spot, b: Spot) {
        let (left, right) = (self.a.node(a), self.b.node(b));
        let mut what = Vec::new();
        let mut differ = |name: &str, a: Option<String>, b: Option<String>| {
            if a != b {
                what.push(aspect(name, a, b));
            }
        };
        let text = |text: String| Some(text);
        let both = |of: &dyn Fn(&Node) -> String| (text(of(left)), text(of(right)));
        let (type_a, type_b) = both(&|node| kind(node).to_owned());
        differ("type", type_a, type_b);
        // A link's mode means nothing, and some formats have none.
        if !matches!(left.content, Content::Symlink(_)) {
            let (mode_a, mode_b) = both(&|node| format!("{:04o}", node.meta.mode));
            differ("mode", mode_a, mode_b);
        }
        let (owner_a, owner_b) = both(&|node| format!("{}:{}", node.meta.uid, node.meta.gid));
        differ("owner", owner_a, owner_b);
        if self.times {
            let (time_a, time_b) =
                both(&|node| format!("{}.{:09}", node.meta.mtime.secs, node.meta.mtime.nanos));
            differ("mtime", time_a, time_b);
        }
        let target = |view: &View, spot| view.target(spot).map(shown);
        differ("target", target(self.a, a), target(self.b, b));
        differ("device", device(left), device(right));
        differ("size", size(left), size(right));
        let first =
            |names: &HashMap<Spot, Vec<u8>>, spot| names.get(&spot).map(|name| format!("/{}", shown(name)));
        differ("links", first(&self.first_a, a), first(&self.first_b, b));
        what.extend(xattrs(self.a.xattrs(a), self.b.xattrs(b)));
        let lengths = (length(left), length(right));
        self.found.push(Difference {
            path: format!("/{}", shown(path)),
            change: Change::Changed,
            what,
        });
        if let (Some(len), Some(same)) = lengths
            && len == same
            && len > 0
        {
            let at = self.found.len() - 1;
            let job = *self.known.entry((a, b)).or_insert_with(|| {
                self.contents.push(Job {
                    a,
                    b,
                    len,
                    at: Vec::new(),
                });
                self.contents.len() - 1
            });
            self.contents[job].at.push(at);
        }
    }
}

fn length(node: &Node) -> Option<u64> {
    match &node.content {
        Content::File(data) => Some(data.len),
        _ => None,
    }
}

fn size(node: &Node) -> Option<String> {
    length(node).map(|len| len.to_string())
}

fn device(node: &Node) -> Option<String> {
    match node.content {
        Content::CharDevice(device) | Content::BlockDevice(device) => {
            Some(format!("{}:{}", device.major, device.minor))
        }
        _ => None,
    }
}

fn xattrs(a: &[Xattr], b: &[Xattr]) -> Vec<Aspect> {
    let value = |set: &[Xattr], name: &[u8]| {
        let found = set.iter().find(|xattr| xattr.name == name);
        found.map(|xattr| xattr.value.escape_ascii().to_string())
    };
    let mut names: Vec<&[u8]> = a.iter().chain(b).map(|xattr| &xattr.name[..]).collect();
    names.sort_unstable();
    names.dedup();
    let differing = names.into_iter().filter_map(|name| {
        let (a, b) = (value(a, name), value(b, name));
        (a != b).then(|| aspect(&format!("xattr {}", shown(name)), a, b))
    });
    differing.collect()
}

/// The first path of each file that has several names.
fn first_names(view: &View) -> HashMap<Spot, Vec<u8>> {
    let mut names: HashMap<Spot, Vec<u8>> = HashMap::new();
    let mut open = vec![(Vec::new(), view.root())];
    while let Some((path, spot)) = open.pop() {
        for (name, below) in view.entries(spot) {
            let full = joined(&path, name);
            if view.is_directory(below) {
                open.push((full, below));
            } else if view.node(below).links > 1 {
                let first = names.entry(below).or_insert_with(|| full.clone());
                if full < *first {
                    *first = full;
                }
            }
        }
    }
    names
}

/// Of each pair of files whether their bytes differ.
fn differing(a: &View, b: &View, jobs: &[Job], threads: usize) -> Result<Vec<bool>, store::Error> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    // Neighbours of a tree are neighbours on a disk, whose clusters are then unpacked once. The longest must not be last.
    let long = |at: &usize| jobs[*at].len.max(LONG);
    order.sort_by_key(|at| std::cmp::Reverse(long(at)));
    let next = AtomicUsize::new(0);
    let found = Mutex::new(vec![false; jobs.len()]);
    let work = || -> Result<(), store::Error> {
        let mut pieces = (vec![0; PIECE], vec![0; PIECE]);
        while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if differ(a, b, &jobs[*at], &mut pieces)? {
                found.lock().expect("no thread panics with it")[*at] = true;
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let ended = running
            .into_iter()
            .map(|thread| thread.join().expect("a thread does not panic"));
        ended.collect::<Result<Vec<()>, _>>()
    })?;
    Ok(found.into_inner().expect("no thread panics with it"))
}

fn differ(a: &View, b: &View, job: &Job, pieces: &mut (Vec<u8>, Vec<u8>)) -> Result<bool, store::Error> {
    let (Some(left), Some(right)) = (a.open(job.a), b.open(job.b)) else {
        return Ok(true);
    };
    let (left, right) = (left?, right?);
    let mut at = 0;
    // What is a hole of both is not read: a file may be said to have more of it than can be read in a day.
    while let Some(next) = [(a, job.a), (b, job.b)]
        .iter()
        .filter_map(|(view, spot)| data_from(view.node(*spot), at))
        .min()
        .filter(|next| *next < job.len)
    {
        at = next;
        let here = usize::try_from(job.len - at).map_or(PIECE, |rest| rest.min(PIECE));
        let (one, two) = (&mut pieces.0[..here], &mut pieces.1[..here]);
        left.read_exact_at(one, at)?;
        right.read_exact_at(two, at)?;
        if one != two {
            return Ok(true);
        }
        at += here as u64;
    }
    left.finish()?;
    right.finish()?;
    Ok(false)
}

/// The first byte from this one on that is no hole.
fn data_from(node: &Node, at: u64) -> Option<u64> {
    let Content::File(data) = &node.content else {
        return None;
    };
    let Some(ranges) = &data.ranges else {
        return Some(at);
    };
    let next = ranges.get(ranges.partition_point(|range| range.end <= at))?;
    Some(next.start.max(at))
}

/// A line for each path: what only one has, or in what they differ.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            let path = printable(difference.path.as_bytes());
            match difference.change {
                Change::OnlyA => writeln!(f, "only in {}: {path}", self.a)?,
                Change::OnlyB => writeln!(f, "only in {}: {path}", self.b)?,
                Change::Changed => {
                    let what: Vec<String> = difference.what.iter().map(Aspect::to_string).collect();
                    writeln!(f, "{path}: {}", what.join(", "))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| match value {
            Some(value) => printable(value.as_bytes()),
            None => "none".to_owned(),
        };
        f.write_str(&printable(self.name.as_bytes()))?;
        if self.a.is_some() || self.b.is_some() {
            write!(f, " {} -> {}", text(&self.a), text(&self.b))?;
        }
        Ok(())
    }
}

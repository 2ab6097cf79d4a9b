//! A trace file that Perfetto and Chrome's `about:tracing` draw.
//!
//! The file is JSON in the *trace event format*: an array of events, one per line, whose end may be missing, so
//! that a program that is killed leaves a file that can be read. Each thread has a lane; runs and polls are
//! slices on it; an arrow leads from where a task was spawned, woken or sent elsewhere to the poll that follows. The Big
//! QEMU Lock has a lane, too, with a slice for each time that a thread holds it.
//!
//! Owns the file. Threads: any; each event takes a lock.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use nix::sys::prctl;

use super::{Event, Observer, What};

/// An [`Observer`] that writes a file for <https://ui.perfetto.dev>. Costs some hundred nanoseconds an event.
///
/// What was written last may be in memory still; [`flush`](Self::flush) it at the end of the program.
///
/// # Examples
///
/// ```
/// use executor::LocalExecutor;
/// use executor::observe::{ChromeTrace, observe};
///
/// # let path = std::env::temp_dir().join(format!("executor-trace-{}", std::process::id()));
/// let trace: &'static ChromeTrace = Box::leak(Box::new(ChromeTrace::create(&path)?));
/// observe(trace);
/// let executor = LocalExecutor::new()?;
/// executor.run(executor.spawn_named("resize", async {})).expect("it does not panic");
/// trace.flush()?;
/// let text = std::fs::read_to_string(&path)?;
/// assert!(text.starts_with("[\n") && text.contains("resize"));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ChromeTrace {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: BufWriter<File>,
    /// The arrows that have begun and not ended, by the task they lead to.
    wakes: HashMap<u64, u64>,
    next_wake: u64,
    /// The same for moves, by their numbers, until the task is known.
    moves: HashMap<u64, u64>,
    /// The threads that have a name in the file, by number.
    lanes: BTreeMap<u32, String>,
    /// Whether the slice of somebody who holds the lock has begun.
    bql: bool,
    /// Why nothing is written any more.
    failed: Option<io::Error>,
}

/// The lane of the Big QEMU Lock: a number that no thread gets, and that is sorted last.
const BQL: u32 = i32::MAX as u32;

/// What an event has in the file.
struct Line<'a> {
    /// The kind of event: `B`egin, `E`nd, `s`tart and `f`inish of an arrow, `M`etadata.
    phase: char,
    /// Microseconds.
    time: f64,
    lane: u32,
    name: &'a str,
    /// More fields, in JSON.
    more: &'a str,
}

impl ChromeTrace {
    /// Begins a file, in the place of one of the same name.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn create(path: &Path) -> io::Result<ChromeTrace> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(b"[\n")?;
        let inner = Inner {
            file,
            wakes: HashMap::new(),
            next_wake: 1,
            moves: HashMap::new(),
            lanes: BTreeMap::new(),
            bql: false,
            failed: None,
        };
        Ok(ChromeTrace { began: Instant::now(), inner: Mutex::new(inner) })
    }

    /// Writes what is in memory to the file.
    ///
    /// # Errors
    ///
    /// If that fails, or writing failed before: the file is not complete.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        match inner.failed.take() {
            Some(error) => Err(error),
            None => inner.file.flush(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for ChromeTrace {
    fn observe(&self, event: &Event<'_>) {
        let mut inner = self.lock();
        // Read under the lock, so that the lines are in order.
        let time = self.began.elapsed().as_nanos() as f64 / 1000.0;
        inner.note(time, event);
    }
}

impl Inner {
    fn note(&mut self, time: f64, event: &Event<'_>) {
        let (lane, task) = (event.thread, event.task);
        self.name_lane(lane);
        match event.what {
            What::Spawned { .. } => self.begin_wake(time, lane, task),
            What::Ready if self.wakes.contains_key(&task) => {}
            What::Ready | What::WokenElsewhere => self.begin_wake(time, lane, task),
            What::Sent { number } => {
                self.begin_arrow(time, lane, "move", number);
            }
            What::Moved { from, .. } => {
                // The arrow of its move leads to its poll.
                self.wakes.remove(&task);
                self.moves.insert(task, from.number);
            }
            What::Dropped { .. } => {}
            What::PollBegins => self.begin_poll(time, event),
            What::PollEnds { outcome } => {
                let more = format!(r#","args":{{"outcome":"{outcome:?}"}}"#);
                self.write(&Line { phase: 'E', time, lane, name: "", more: &more });
                if outcome.is_end() {
                    self.wakes.remove(&task);
                }
            }
            What::RunBegins { .. } => self.begin(time, lane, "run"),
            What::RunEnds => self.end(time, lane),
            What::BqlTaken => self.take_bql(time, lane),
            What::BqlReleased => self.release_bql(time),
        }
    }

    fn name_lane(&mut self, lane: u32) {
        if self.lanes.contains_key(&lane) {
            return;
        }
        let name = name_of_this_thread();
        self.write_name(lane, &name);
        self.lanes.insert(lane, name);
    }

    fn write_name(&mut self, lane: u32, name: &str) {
        let more = format!(r#","args":{{"name":{}}}"#, Quoted(name));
        self.write(&Line { phase: 'M', time: 0.0, lane, name: "thread_name", more: &more });
    }

    fn begin_wake(&mut self, time: f64, lane: u32, task: u64) {
        let id = self.next_wake;
        self.next_wake += 1;
        self.wakes.insert(task, id);
        self.begin_arrow(time, lane, "wake", id);
    }

    /// An arrow is tied to the slice around its beginning, so it gets a short one of its own. What its end is tied to
    /// has the same kind and id.
    fn begin_arrow(&mut self, time: f64, lane: u32, kind: &str, id: u64) {
        let more = format!(r#","cat":"{kind}","id":{id}"#);
        self.begin(time, lane, kind);
        self.write(&Line { phase: 's', time, lane, name: kind, more: &more });
        self.end(time + 0.001, lane);
    }

    /// Ends an arrow at the slice that has just begun.
    fn end_arrow(&mut self, time: f64, lane: u32, kind: &str, id: u64) {
        let more = format!(r#","cat":"{kind}","id":{id},"bp":"e""#);
        self.write(&Line { phase: 'f', time, lane, name: kind, more: &more });
    }

    fn begin_poll(&mut self, time: f64, event: &Event<'_>) {
        let (lane, id, label) = (event.thread, event.task, event.label());
        let name = label.as_ref().and_then(|label| label.name.as_deref());
        let unnamed = format!("task {id}");
        let place = label.as_ref().map_or_else(String::new, |label| label.spawned_at.to_string());
        let more = format!(r#","args":{{"id":{id},"spawned-at":{}}}"#, Quoted(&place));
        let name = name.unwrap_or(&unnamed);
        self.write(&Line { phase: 'B', time, lane, name, more: &more });
        if let Some(wake) = self.wakes.remove(&id) {
            self.end_arrow(time, lane, "wake", wake);
        }
        if let Some(number) = self.moves.remove(&id) {
            self.end_arrow(time, lane, "move", number);
        }
    }

    /// A slice of the holder's name. The lock has one holder at a time, so they do not overlap.
    fn take_bql(&mut self, time: f64, lane: u32) {
        if !self.lanes.contains_key(&BQL) {
            let name = "Big QEMU Lock".to_owned();
            self.write_name(BQL, &name);
            self.lanes.insert(BQL, name);
        }
        let holder = self.lanes[&lane].clone();
        let more = format!(r#","args":{{"thread":{lane}}}"#);
        self.write(&Line { phase: 'B', time, lane: BQL, name: &holder, more: &more });
        self.bql = true;
    }

    /// Nothing, if it was taken before anybody looked on.
    fn release_bql(&mut self, time: f64) {
        if std::mem::take(&mut self.bql) {
            self.end(time, BQL);
        }
    }

    fn begin(&mut self, time: f64, lane: u32, name: &str) {
        self.write(&Line { phase: 'B', time, lane, name, more: "" });
    }

    fn end(&mut self, time: f64, lane: u32) {
        self.write(&Line { phase: 'E', time, lane, name: "", more: "" });
    }

    /// After a failure nothing more is written: a file with a gap would lie.
    fn write(&mut self, line: &Line<'_>) {
        if self.failed.is_none() {
            self.failed = writeln!(self.file, "{line}").err();
        }
    }
}

/// Rust's name for it, or else the system's, which C's threads have.
fn name_of_this_thread() -> String {
    if let Some(name) = thread::current().name() {
        return name.to_owned();
    }
    let name = prctl::get_name().ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "a thread without a name".to_owned())
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { phase, time, lane, name, more } = self;
        let name = Quoted(name);
        write!(f, r#"{{"ph":"{phase}","ts":{time:.3},"pid":1,"tid":{lane},"name":{name}{more}}},"#)
    }
}

/// A string in JSON.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

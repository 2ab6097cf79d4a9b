//! A trace file that Perfetto and Chrome's `about:tracing` draw.
//!
//! The file is JSON in the *trace event format*: an array of events, one per line, whose end may be missing, so
//! that a program that is killed leaves a file that can be read. Each thread has a lane; runs and polls are
//! slices on it; an arrow leads from where a task was woken to the poll that follows.
//!
//! Owns the file, and the names of the live tasks. Threads: any; each event takes a lock.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::{Event, Observer, What};
use crate::task::TaskLabel;

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
    names: HashMap<u64, Name>,
    /// The arrows that have begun and not ended, by the task they lead to.
    arrows: HashMap<u64, u64>,
    next_arrow: u64,
    /// The threads that have a name in the file.
    lanes: Vec<u32>,
    /// Why nothing is written any more.
    failed: Option<io::Error>,
}

#[derive(Debug)]
struct Name {
    task: String,
    place: String,
}

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
            names: HashMap::new(),
            arrows: HashMap::new(),
            next_arrow: 1,
            lanes: Vec::new(),
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
            What::Spawned { label } => {
                self.names.insert(task, Name::of(label));
                self.begin_arrow(time, lane, task);
            }
            What::Ready if self.arrows.contains_key(&task) => {}
            What::Ready | What::WokenElsewhere => self.begin_arrow(time, lane, task),
            What::PollBegins => self.begin_poll(time, lane, task),
            What::PollEnds { outcome } => {
                let more = format!(r#","args":{{"outcome":"{outcome:?}"}}"#);
                self.write(&Line { phase: 'E', time, lane, name: "", more: &more });
                if outcome != super::Outcome::Pending {
                    self.names.remove(&task);
                    self.arrows.remove(&task);
                }
            }
            What::RunBegins => {
                self.write(&Line { phase: 'B', time, lane, name: "run", more: "" });
            }
            What::RunEnds => self.write(&Line { phase: 'E', time, lane, name: "", more: "" }),
        }
    }

    fn name_lane(&mut self, lane: u32) {
        if self.lanes.contains(&lane) {
            return;
        }
        self.lanes.push(lane);
        let thread = thread::current();
        let name = match (thread.name(), lane) {
            (_, 0) => "threads without executors",
            (Some(name), _) => name,
            (None, _) => "a thread without a name",
        };
        let more = format!(r#","args":{{"name":{}}}"#, Quoted(name));
        self.write(&Line { phase: 'M', time: 0.0, lane, name: "thread_name", more: &more });
    }

    /// An arrow is tied to the slice around its beginning: without a poll there, it gets one of its own.
    fn begin_arrow(&mut self, time: f64, lane: u32, task: u64) {
        let arrow = self.next_arrow;
        self.next_arrow += 1;
        self.arrows.insert(task, arrow);
        let id = format!(r#","cat":"wake","id":{arrow}"#);
        self.write(&Line { phase: 'B', time, lane, name: "wake", more: "" });
        self.write(&Line { phase: 's', time, lane, name: "wake", more: &id });
        self.write(&Line { phase: 'E', time: time + 0.001, lane, name: "", more: "" });
    }

    fn begin_poll(&mut self, time: f64, lane: u32, task: u64) {
        let unknown = Name { task: format!("task {task}"), place: String::new() };
        let name = self.names.remove(&task).unwrap_or(unknown);
        let place = Quoted(&name.place);
        let more = format!(r#","args":{{"id":{task},"spawned-at":{place}}}"#);
        self.write(&Line { phase: 'B', time, lane, name: &name.task, more: &more });
        self.names.insert(task, name);
        if let Some(arrow) = self.arrows.remove(&task) {
            let id = format!(r#","cat":"wake","id":{arrow},"bp":"e""#);
            self.write(&Line { phase: 'f', time, lane, name: "wake", more: &id });
        }
    }

    /// After a failure nothing more is written: a file with a gap would lie.
    fn write(&mut self, line: &Line<'_>) {
        if self.failed.is_none() {
            self.failed = writeln!(self.file, "{line}").err();
        }
    }
}

impl Name {
    fn of(label: &TaskLabel) -> Name {
        let task = match &label.name {
            Some(name) => name.to_string(),
            None => format!("task {}", label.id),
        };
        Name { task, place: label.spawned_at.to_string() }
    }
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

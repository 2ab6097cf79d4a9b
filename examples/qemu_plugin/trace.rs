//! A line per event, for people who look for what takes so long: `trace=on`, `trace=PATH`.
//!
//! ```text
//! [  0.512300] x-sleep begins
//! [  0.812911] x-sleep ends after 300.5 ms
//! [  1.004207] x-task-cancel fails after 0.0 ms: Task 12345 not found
//! ```
//!
//! Events are the commands of the plugin, wherever they are asked for, and QEMU's own as far as the plugin's
//! server calls them; panics that no command reports; and the guest, when it stops and goes on. Time is
//! counted in seconds from when QEMU has loaded the plugin.
//!
//! Threads: any. A line is one `write`, also in the main loop, to a file that should be local.

use std::fs::{File, OpenOptions};
use std::io::{self, Write, stderr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use executor::host::GuestWatch;
use executor::qmp::{CommandEvent, CommandStep};
use executor::{MainCx, TaskPanic, set_task_panic_hook};

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Target {
    Stderr,
    /// The end of a file, which is made if it is not there.
    File(PathBuf),
}

/// Writes lines. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Arc<Lines>);

#[derive(Debug)]
struct Lines {
    since: Instant,
    file: Option<File>,
}

impl Trace {
    /// Opens the file, if it is one.
    pub(crate) fn open(target: &Target) -> io::Result<Self> {
        let file = match target {
            Target::Stderr => None,
            Target::File(path) => {
                let opened = OpenOptions::new().append(true).create(true).open(path);
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                };
                Some(opened.map_err(named)?)
            }
        };
        Ok(Self(Arc::new(Lines { since: Instant::now(), file })))
    }

    /// Writes a line. There is nobody to tell if that fails.
    pub(crate) fn line(&self, text: &str) {
        let line = format!("[{:>10.6}] {text}\n", self.0.since.elapsed().as_secs_f64());
        let _ = match &self.0.file {
            Some(file) => (&mut &*file).write_all(line.as_bytes()),
            None => stderr().write_all(line.as_bytes()),
        };
    }

    pub(crate) fn command(&self, event: &CommandEvent<'_>) {
        let name = event.name;
        let ms = |after: Duration| format!("{:.1} ms", after.as_secs_f64() * 1e3);
        self.line(&match event.step {
            CommandStep::Begins => format!("{name} begins"),
            CommandStep::Succeeds(after) => format!("{name} ends after {}", ms(after)),
            CommandStep::Fails(after, error) => {
                format!("{name} fails after {}: {error}", ms(after))
            }
            CommandStep::Cancelled(after) => format!("{name} is cancelled after {}", ms(after)),
            CommandStep::Panics(after) => format!("{name} panics after {}", ms(after)),
            _ => return,
        });
    }

    /// Writes when the guest stops and goes on, in a task.
    pub(crate) fn guest(&self, cx: &MainCx) {
        let trace = self.clone();
        // Not in the task: the guest begins before the tasks do.
        let mut guest = GuestWatch::new(cx);
        let watch = async move |_: &MainCx| {
            loop {
                let runs = guest.changed().await;
                trace.line(if runs { "the guest runs" } else { "the guest stops" });
            }
        };
        cx.spawn_named("trace:guest", watch).detach();
    }

    /// Writes panics that nobody waits for, instead of their going to standard error.
    pub(crate) fn panics(&self) {
        let trace = self.clone();
        set_task_panic_hook(move |panic: &TaskPanic<'_>| {
            trace.line(&format!("{} panicked: {}", panic.task, panic.message()));
        });
    }
}

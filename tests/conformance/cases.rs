//! What an event loop of QEMU's must do, as cases that run on any.
//!
//! Owns the table. A case is a function that asserts, and its name is the sentence that holds if it returns. The
//! functions of `aio-sys` are all it uses, so the same file tests the emulation (`tests/conformance.rs`) and,
//! as a part of the plugin, the QEMU that has loaded it (`tests/qemu_conformance.rs`), whose transcripts are
//! compared.
//!
//! A case runs in a thread of its own, beside a main loop that somebody else runs. What cannot run so is in
//! [`elsewhere`].
//!
//! Threads: any, but not the main loop's. Cases run one at a time: some expect to have the lock to themselves.

#![allow(dead_code, reason = "a module of several programs, each of which uses a part")]

use std::any::{Any, type_name};
use std::thread;

#[path = "aio.rs"]
pub(crate) mod aio;
mod bottom_half;
mod bql;
mod busy_poll;
pub(crate) mod elsewhere;
mod fd;
mod fd_changes;
mod iothread;
mod main_loop;
mod poll;
#[cfg(feature = "host")]
mod qemu_locks;
#[cfg(feature = "host")]
mod qemu_timers;
mod timer;

use aio::{Loop, on_loop};

/// A rule, and how to see whether it holds.
pub(crate) struct Case {
    sentence: String,
    run: Box<dyn Fn() + Send + Sync>,
}

impl Case {
    /// A case for a thread with a loop of its own.
    fn on_loop<F: Fn(Loop) + Send + Sync + 'static>(run: F) -> Self {
        Self { sentence: sentence::<F>(), run: Box::new(move || on_loop(&run)) }
    }

    /// A case for a plain thread.
    fn plain<F: Fn() + Send + Sync + 'static>(run: F) -> Self {
        Self { sentence: sentence::<F>(), run: Box::new(run) }
    }

    /// What holds.
    pub(crate) fn sentence(&self) -> &str {
        &self.sentence
    }

    /// Tries it. Returns the line that says how it went.
    pub(crate) fn line(&self) -> String {
        let tried = thread::scope(|scope| scope.spawn(|| (self.run)()).join());
        match tried {
            Ok(()) => format!("ok {}", self.sentence),
            Err(panic) => format!("failed {}: {}", self.sentence, reason(&*panic)),
        }
    }
}

/// The name of a function, in words.
fn sentence<F>() -> String {
    let path = type_name::<F>();
    path.rsplit("::").next().unwrap_or(path).replace('_', " ")
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it says no word")
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    let files = [
        bottom_half::cases(),
        bql::cases(),
        busy_poll::cases(),
        fd::cases(),
        fd_changes::cases(),
        iothread::cases(),
        main_loop::cases(),
        poll::cases(),
        timer::cases(),
    ];
    files.into_iter().flatten().collect()
}

/// Tries every case whose sentence has `words` in it. Returns a line for each, and one for each rule that is no
/// case.
pub(crate) fn transcript(words: &str) -> Vec<String> {
    let wanted = |case: &Case| case.sentence.contains(words).then(|| case.line());
    all().iter().filter_map(wanted).chain(elsewhere::lines()).collect()
}

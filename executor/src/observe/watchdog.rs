//! Who keeps the loop from running, said while it happens.
//!
//! A thread of its own looks at the [`Accounts`] some times within the limit. A poll that is found to last for
//! longer is reported with the stack of its thread; again when it has lasted for twice as long, and so on.
//!
//! Owns its thread, which ends with the [`Watchdog`].

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "its thread runs no executor")]

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::unistd::Pid;

use super::stack::Stack;
use super::{Accounts, Stuck};

/// Reports polls that last for too long, while they last.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc::channel;
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::observe::{Accounts, Watchdog, observe};
///
/// let accounts: &'static Accounts = Box::leak(Box::new(Accounts::new()));
/// observe(accounts);
/// let (send, receive) = channel();
/// let watchdog = Watchdog::start(accounts, None, move |report| {
///     let _nobody_listens = send.send(report);
/// })?;
/// watchdog.set_limit(Some(Duration::from_millis(5)));
/// assert_eq!(watchdog.limit(), Some(Duration::from_millis(5)));
///
/// let executor = LocalExecutor::new()?;
/// let stuck = executor.spawn_named("stuck", async move {
///     receive.recv() // Blocks the thread, until it is reported.
/// });
/// let report = executor.run(stuck).expect("it does not panic").expect("there is a watchdog");
/// assert_eq!(report.stuck.task.name.as_deref(), Some("stuck"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Watchdog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A poll that lasts for too long. As text: who, for how long, and the stack.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc::channel;
/// use std::time::Duration;
///
/// use executor::LocalExecutor;
/// use executor::observe::{Accounts, Report, Watchdog, observe};
///
/// let accounts: &'static Accounts = Box::leak(Box::new(Accounts::new()));
/// observe(accounts);
/// let (send, receive) = channel::<Report>();
/// let _watchdog = Watchdog::start(accounts, Some(Duration::from_millis(5)), move |report| {
///     let _nobody_listens = send.send(report);
/// })?;
/// let executor = LocalExecutor::new()?;
/// let stuck = executor.spawn_named("stuck", async move { receive.recv() });
/// let report = executor.run(stuck).expect("it does not panic").expect("there is a watchdog");
///
/// let text = report.to_string(); // For a log.
/// assert!(text.contains("`stuck` spawned at") && text.contains("keeps its thread from all else:"));
/// if let Ok(stack) = &report.stack {
///     assert!(stack.lines().count() > 1, "a line for each function");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// The poll.
    pub stuck: Stuck,
    /// The functions that are on the thread's stack, a line each, the innermost first; or why there are none.
    pub stack: Result<String, io::Error>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    limit: Option<Duration>,
    ended: bool,
}

/// The watchdog looks this often within its limit.
const LOOKS: u32 = 4;
const SHORTEST: Duration = Duration::from_millis(1);

impl Watchdog {
    /// Starts to watch the polls that `accounts` knows of, which must be [observing](super::observe).
    /// `report` is called in the watchdog's thread.
    ///
    /// Takes the signal `SIGURG` for itself with the first report; if the program uses it, there are no stacks.
    ///
    /// # Errors
    ///
    /// If there are no threads left.
    pub fn start(
        accounts: &'static Accounts,
        limit: Option<Duration>,
        report: impl FnMut(Report) + Send + 'static,
    ) -> io::Result<Watchdog> {
        let state = Mutex::new(State { limit, ended: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let its = Arc::clone(&shared);
        let watch = move || watch(accounts, &its, report);
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(watch)?;
        Ok(Watchdog { shared, thread: Some(thread) })
    }

    /// Sets for how long a poll may last; `None` stops watching. Any thread, at any time.
    pub fn set_limit(&self, limit: Option<Duration>) {
        self.shared.lock().limit = limit;
        self.shared.changed.notify_all();
    }

    /// For how long a poll may last.
    #[must_use]
    pub fn limit(&self) -> Option<Duration> {
        self.shared.lock().limit
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _report_panicked = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next look. Returns the limit, `None` at the end.
    fn next_look(&self) -> Option<Duration> {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            match state.limit {
                _ if state.ended => return None,
                Some(limit) if waited => return Some(limit),
                Some(limit) => {
                    let pause = (limit / LOOKS).max(SHORTEST);
                    let woken = self.changed.wait_timeout(state, pause);
                    let (again, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                    (state, waited) = (again, timeout.timed_out());
                }
                None => {
                    let woken = self.changed.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

fn watch(accounts: &Accounts, shared: &Shared, mut report: impl FnMut(Report)) {
    // The polls that have been reported, and when they have lasted for long enough to be so again.
    let mut reported: Vec<(Stuck, Duration)> = Vec::new();
    while let Some(limit) = shared.next_look() {
        let stuck = accounts.stuck(limit);
        reported.retain(|(old, _)| stuck.iter().any(|now| now.is_same_poll(old)));
        for stuck in stuck {
            let known = reported.iter().position(|(old, _)| old.is_same_poll(&stuck));
            if known.is_some_and(|known| stuck.elapsed < reported[known].1) {
                continue;
            }
            let again = (stuck.clone(), stuck.elapsed * 2);
            match known {
                Some(known) => reported[known] = again,
                None => reported.push(again),
            }
            report(Report::on(stuck));
        }
    }
}

impl Report {
    fn on(stuck: Stuck) -> Report {
        let stack = Stack::of(Pid::from_raw(stuck.os_thread)).map(|stack| stack.to_string());
        Report { stuck, stack }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stuck { task, elapsed, .. } = &self.stuck;
        writeln!(
            f,
            "{task} has been polled for {} ms, and keeps its thread from all else:",
            elapsed.as_millis()
        )?;
        match &self.stack {
            Ok(stack) => f.write_str(stack),
            Err(error) => writeln!(f, "    (no stack: {error})"),
        }
    }
}

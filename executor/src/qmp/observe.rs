//! Commands, seen by whoever wants to know what they do and how long it takes.
//!
//! [`Registry::observe`](super::Registry::observe) puts a wrapper around each call that it hands out. A registry
//! that nobody observes hands out the calls themselves, so this costs nothing then.
//!
//! What is measured is the handler: a command of QEMU's, called by a server of ours, has waited for its turn
//! meanwhile.
//!
//! Threads: as the call; an out-of-band command is observed in the monitor's thread.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::command::Call;
use super::error::Error;
use super::request::Outcome;

/// Something that happens to a command.
///
/// # Examples
///
/// ```
/// use std::sync::mpsc::channel;
///
/// use executor::qmp::{Arguments, Call, Registry};
/// use executor::run_main;
///
/// let (send, receive) = channel();
/// let mut registry = Registry::new();
/// registry.add_query_commands();
/// registry.observe(move |event| {
///     let _nobody_reads = send.send(format!("{}: {:?}", event.name, event.step));
/// });
/// let Ok(Call::Blocking(call)) = registry.find("query-commands", false) else { panic!() };
/// run_main(|nc| call(nc, Arguments::new())).expect("it has an answer");
///
/// let seen: Vec<String> = receive.try_iter().collect();
/// assert_eq!(seen[0], "query-commands: Begins");
/// assert!(seen[1].starts_with("query-commands: Succeeds("));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CommandEvent<'e> {
    /// The command.
    pub name: &'e str,
    /// What happens.
    pub step: CommandStep<'e>,
}

/// What happens to a command. Each begins once and ends in one of the other ways, after that time.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use executor::qmp::{Call, CommandStep, ErrorClass, Registry};
/// use executor::run_main;
///
/// static FAILED: AtomicU32 = AtomicU32::new(0);
///
/// let mut registry = Registry::new();
/// registry.add_query_commands();
/// registry.observe(|event| match event.step {
///     CommandStep::Fails(_after, error) if error.class() == ErrorClass::GenericError => {
///         FAILED.fetch_add(1, Ordering::Relaxed);
///     }
///     _ => {}
/// });
/// let Ok(Call::Blocking(call)) = registry.find("query-commands", false) else { panic!() };
/// let wrong = serde_json::from_str(r#"{"like": "x-"}"#).unwrap();
/// assert!(run_main(|nc| call(nc, wrong)).is_err());
/// assert_eq!(FAILED.load(Ordering::Relaxed), 1);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum CommandStep<'e> {
    /// Its handler is called.
    Begins,
    /// It has a result.
    Succeeds(Duration),
    /// It has an error.
    Fails(Duration, &'e Error),
    /// It is dropped before it has an outcome: its client has gone, or somebody has cancelled it.
    Cancelled(Duration),
    /// It panics.
    Panics(Duration),
}

/// Who is told.
pub(super) type Observer = Arc<dyn Fn(&CommandEvent<'_>) + Send + Sync>;

/// A command that has begun.
struct Watch {
    name: Arc<str>,
    observer: Observer,
    begun: Instant,
    ended: bool,
}

impl Watch {
    fn begin(observer: &Observer, name: &Arc<str>) -> Self {
        let observer = Arc::clone(observer);
        observer(&CommandEvent { name, step: CommandStep::Begins });
        Self { name: Arc::clone(name), observer, begun: Instant::now(), ended: false }
    }

    fn end(mut self, outcome: Outcome) -> Outcome {
        self.ended = true;
        let after = self.begun.elapsed();
        self.tell(match &outcome {
            Ok(_) => CommandStep::Succeeds(after),
            Err(error) => CommandStep::Fails(after, error),
        });
        outcome
    }

    fn tell(&self, step: CommandStep<'_>) {
        (self.observer)(&CommandEvent { name: &self.name, step });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let after = self.begun.elapsed();
        let panics = thread::panicking();
        self.tell(if panics { CommandStep::Panics(after) } else { CommandStep::Cancelled(after) });
    }
}

/// Returns `call`, with `observer` told of what it does.
pub(super) fn watched(observer: &Observer, name: &str, call: Call) -> Call {
    let (observer, name) = (Arc::clone(observer), Arc::<str>::from(name));
    match call {
        Call::Blocking(call) => Call::Blocking(Rc::new(move |nc, arguments| {
            let watch = Watch::begin(&observer, &name);
            watch.end(call(nc, arguments))
        })),
        Call::Coroutine(call) => Call::Coroutine(Rc::new(move |cx, arguments| {
            let watch = Watch::begin(&observer, &name);
            let running = call(cx, arguments);
            Box::pin(async move { watch.end(running.await) })
        })),
        Call::Oob(call) => Call::Oob(Arc::new(move |cx, arguments| {
            let watch = Watch::begin(&observer, &name);
            watch.end(call(cx, arguments))
        })),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex};

    use super::{CommandEvent, CommandStep, Observer, watched};
    use crate::cx::OobContext;
    use crate::qmp::{Arguments, Call, Error, Json, Outcome};

    /// What an observer is told of a command that does `what`.
    fn told(what: impl Fn() -> Outcome + Send + Sync + 'static) -> Vec<String> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let observer: Observer = Arc::new(move |event: &CommandEvent<'_>| {
            let step = match event.step {
                CommandStep::Begins => "begins".to_owned(),
                CommandStep::Succeeds(_) => "succeeds".to_owned(),
                CommandStep::Fails(_, error) => format!("fails: {error}"),
                CommandStep::Cancelled(_) => "is cancelled".to_owned(),
                CommandStep::Panics(_) => "panics".to_owned(),
            };
            tell.lock().unwrap().push(format!("{} {step}", event.name));
        });
        let call = watched(&observer, "x-test", Call::Oob(Arc::new(move |_, _| what())));
        let Call::Oob(call) = call else { unreachable!("a call stays what it is") };
        let call = || OobContext::lend(|cx| call(cx, Arguments::new()));
        let _caught = catch_unwind(AssertUnwindSafe(call));
        let mut told = told.lock().unwrap();
        std::mem::take(&mut told)
    }

    #[test]
    fn a_command_begins_once_and_ends_once() {
        assert_eq!(told(|| Ok(Json::object(&[]))), ["x-test begins", "x-test succeeds"]);
        let fails = ["x-test begins", "x-test fails: why not"];
        assert_eq!(told(|| Err(Error::generic("why not"))), fails);
        assert_eq!(told(|| panic!("as planned")), ["x-test begins", "x-test panics"]);
    }
}

//! The commands of a server.
//!
//! Filled once, before the first monitor, then only read. One registry serves any number of
//! monitors; [`find`](Registry::find) decides what a name means there and says so in QEMU's words
//! when it means nothing. `qmp_capabilities` is not in it: each monitor answers that one itself.
//!
//! Threads: the registry stays where it was made. The out-of-band commands also exist as an
//! [`OobTable`] that may go to the thread that reads a monitor.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::command::{Blocking, Call, Command, Handler, Mode, OobCall, boxed};
use super::error::Error;
use super::human::{self, HumanMonitorCommand};
use super::observe::CommandEvent;
use super::request::NEGOTIATION;
use super::schema::{Schema, SchemaInfo};
use super::shape::Shape;

mod table;
#[cfg(test)]
mod tests;

pub(super) use table::{Entry, Table};

/// The commands a server knows, by name. Stands for `QmpCommandList`.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Command, Coroutine, Error, ErrorClass, Registry};
/// use executor::MainCx;
///
/// #[derive(serde::Deserialize, serde::Serialize)]
/// struct StatusInfo {
///     running: bool,
/// }
///
/// struct Status;
///
/// impl Command for Status {
///     const NAME: &'static str = "query-status";
///     const HELP: &'static str = "show whether the guest runs";
///     type Mode = Coroutine;
///     type Args = ();
///     type Ret = StatusInfo;
/// }
///
/// async fn status(_: &MainCx, (): ()) -> Result<StatusInfo, Error> {
///     Ok(StatusInfo { running: true })
/// }
///
/// let mut registry = Registry::new();
/// registry.command::<Status, _>(status);
/// registry.event::<StatusInfo>("X_STATUS");
/// registry.add_query_commands();
/// registry.add_query_schema();
/// assert_eq!(registry.names(), ["query-status", "query-commands", "query-qmp-schema"]);
///
/// let schema = registry.schema().to_qapi();
/// assert!(schema.contains("{ 'command': 'query-status',\n  'returns': 'StatusInfo',\n  'coroutine': true }"));
/// assert!(schema.contains("'event': 'X_STATUS'"));
///
/// assert!(registry.find("query-status", false).is_ok());
/// let error = registry.find("query-name", false).unwrap_err();
/// assert_eq!(error.class(), ErrorClass::CommandNotFound);
/// ```
#[derive(Default)]
pub struct Registry {
    table: Rc<RefCell<Table>>,
    /// The C functions by which QEMU's monitors call them.
    #[cfg(feature = "host")]
    marshals: HashMap<&'static str, aio_sys::host::QmpCommandFunc>,
}

/// The out-of-band commands of a [`Registry`], for another thread.
///
/// # Examples
///
/// ```
/// use executor::OobContext;
/// use executor::qmp::{Command, Error, Oob, Registry};
///
/// struct Stop;
///
/// impl Command for Stop {
///     const NAME: &'static str = "x-stop";
///     type Mode = Oob;
///     type Args = ();
///     type Ret = ();
/// }
///
/// fn stop(_: &OobContext, (): ()) -> Result<(), Error> {
///     Ok(())
/// }
///
/// let mut registry = Registry::new();
/// registry.command::<Stop, _>(stop);
/// registry.add_query_commands();
/// let table = registry.oob_table();
/// let monitor = std::thread::spawn(move || {
///     assert!(table.find("x-stop").is_ok());
///     let Err(error) = table.find("query-commands") else { panic!() };
///     error.to_string()
/// });
/// let error = monitor.join().expect("it does not panic");
/// assert_eq!(error, "The command query-commands does not support OOB");
/// ```
#[derive(Clone)]
pub struct OobTable {
    calls: Arc<HashMap<&'static str, Option<OobCall>>>,
}

struct QueryCommands;

impl Command for QueryCommands {
    const NAME: &'static str = "query-commands";
    const HELP: &'static str = "show the names of all commands";
    type Mode = Blocking;
    type Args = ();
    type Ret = Vec<CommandInfo>;
}

struct QuerySchema;

impl Command for QuerySchema {
    const NAME: &'static str = "query-qmp-schema";
    const HELP: &'static str = "show the types of all commands and events";
    type Mode = Blocking;
    type Args = ();
    type Ret = Vec<SchemaInfo>;
}

#[derive(Deserialize, Serialize)]
struct CommandInfo {
    name: Cow<'static, str>,
}

impl Registry {
    /// Returns a registry without commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the handler of a command.
    ///
    /// The mode is inferred: `registry.command::<MyCommand, _>(my_handler)`.
    ///
    /// # Panics
    ///
    /// Panics if the name is taken, and names it; or if the command has a limit that nothing can keep.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::panic::{AssertUnwindSafe, catch_unwind};
    ///
    /// use executor::qmp::{Arguments, Blocking, Call, Command, Registry};
    /// use executor::{NoCoroutine, run_main};
    ///
    /// struct Name;
    ///
    /// impl Command for Name {
    ///     const NAME: &'static str = "query-name";
    ///     type Mode = Blocking;
    ///     type Args = ();
    ///     type Ret = String;
    /// }
    ///
    /// let mut registry = Registry::new();
    /// let name = "vm1".to_owned(); // A handler may own what it needs, and is called again and again.
    /// registry.command::<Name, _>(move |_: &mut NoCoroutine, (): ()| Ok(name.clone()));
    ///
    /// let Ok(Call::Blocking(call)) = registry.find("query-name", false) else { panic!() };
    /// let outcome = run_main(|nc| call(nc, Arguments::new()));
    /// assert_eq!(outcome.unwrap().as_str(), r#""vm1""#);
    ///
    /// // Two handlers for one name are a mistake, which is found when the program starts.
    /// let again = |_: &mut NoCoroutine, (): ()| Ok(String::new());
    /// let refused = catch_unwind(AssertUnwindSafe(|| registry.command::<Name, _>(again)));
    /// assert!(refused.is_err());
    /// ```
    #[track_caller]
    pub fn command<C: Command<Mode = M>, M: Mode>(&mut self, handler: impl Handler<C, M>) {
        let name = C::NAME;
        assert!(name != NEGOTIATION, "the QMP command `{name}` belongs to the monitor itself");
        assert!(C::CONCURRENCY != Some(0), "the QMP command `{name}` would wait for ever");
        let added = self.table.borrow_mut().add(name, Entry::of(handler));
        assert!(added, "the QMP command `{name}` is registered already");
        #[cfg(feature = "host")]
        self.marshals.insert(name, crate::host::command::marshal::<C>);
    }

    /// Returns the C function of a command.
    #[cfg(feature = "host")]
    pub(crate) fn marshal(&self, name: &str) -> Option<aio_sys::host::QmpCommandFunc> {
        self.marshals.get(name).copied()
    }

    /// Adds `query-commands`, which lists every command, also those registered later.
    ///
    /// A registry whose commands are handed to QEMU does without: QEMU has that command. A server of ours inside
    /// QEMU needs it, because QEMU's is about a monitor of its own.
    ///
    /// # Panics
    ///
    /// Panics if `query-commands` is registered already.
    #[track_caller]
    pub fn add_query_commands(&mut self) {
        let table = self.shared();
        self.command::<QueryCommands, _>(move |_: &mut _, ()| {
            let names = upgrade(&table)?.borrow().all_names();
            Ok(names.into_iter().map(|name| CommandInfo { name }).collect())
        });
    }

    /// Adds `human-monitor-command`, by which people call the other commands without writing JSON: the arguments
    /// come one after another, or as `name=value`, and the result is laid out for reading.
    ///
    /// `help` lists the commands, with their [`HELP`](Command::HELP). `info NAME` is `query-NAME` or `x-query-NAME`.
    /// Commands of the [fallback](Self::set_fallback) are not found. As in QEMU, what a command complains about is a
    /// text, too, that begins with "Error: ".
    ///
    /// # Panics
    ///
    /// Panics if `human-monitor-command` is registered already.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::qmp::{Call, Registry};
    /// use executor::{MainCx, block_on, run_main};
    ///
    /// let mut registry = Registry::new();
    /// registry.add_query_commands();
    /// registry.add_human_monitor();
    /// let Ok(Call::Coroutine(monitor)) = registry.find("human-monitor-command", false) else { panic!() };
    /// let line = serde_json::from_str(r#"{"command-line": "help info"}"#).unwrap();
    /// let said = run_main(|nc| block_on(nc, async move |cx: &MainCx| monitor(cx, line).await));
    /// assert_eq!(said.unwrap().as_str(), r#""info commands -- show the names of all commands\r\n""#);
    /// ```
    #[track_caller]
    pub fn add_human_monitor(&mut self) {
        let table = self.shared();
        self.command::<HumanMonitorCommand, _>(boxed(move |cx, args| {
            let table = upgrade(&table);
            Box::pin(async move { human::run(cx, table?, args).await })
        }));
    }

    /// Says that clients may get the event `name` with data of the type `T`; `()` if it has none.
    ///
    /// Only the [`schema`](Self::schema) takes notice.
    pub fn event<T: DeserializeOwned>(&mut self, name: &'static str) {
        self.table.borrow_mut().events.push((name, Shape::of::<T>));
    }

    /// Returns what the commands and events that are registered now look like.
    pub fn schema(&self) -> Schema {
        self.table.borrow().schema()
    }

    /// Adds `query-qmp-schema`, which tells the [`schema`](Self::schema), also of what is registered later.
    ///
    /// Commands of the [fallback](Self::set_fallback) are not part of it.
    ///
    /// # Panics
    ///
    /// Panics if `query-qmp-schema` is registered already.
    #[track_caller]
    pub fn add_query_schema(&mut self) {
        let table = self.shared();
        self.command::<QuerySchema, _>(move |_: &mut _, ()| {
            Ok(upgrade(&table)?.borrow().schema().introspect())
        });
    }

    /// For the handlers that the table owns.
    fn shared(&self) -> Weak<RefCell<Table>> {
        Rc::downgrade(&self.table)
    }

    /// Sets where to look for commands that are not registered, and what `query-commands` lists besides those
    /// that are: inside QEMU, QEMU's own.
    ///
    /// They are not available out of band, and not among the [`names`](Self::names).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::rc::Rc;
    ///
    /// use executor::qmp::{Call, Json, Registry};
    /// use executor::run_main;
    ///
    /// /// Knows every command whose name begins with `x-`.
    /// fn find(name: &str) -> Option<Call> {
    ///     let name = name.strip_prefix("x-")?.to_owned();
    ///     Some(Call::Blocking(Rc::new(move |_nc, _arguments| Json::new(&name))))
    /// }
    ///
    /// fn names() -> Vec<String> {
    ///     vec!["x-anything".to_owned()]
    /// }
    ///
    /// let mut registry = Registry::new();
    /// registry.set_fallback(find, names);
    /// let Ok(Call::Blocking(call)) = registry.find("x-anything", false) else { panic!() };
    /// let outcome = run_main(|nc| call(nc, executor::qmp::Arguments::new()));
    /// assert_eq!(outcome.unwrap().as_str(), r#""anything""#);
    /// assert!(registry.names().is_empty() && registry.find("stop", false).is_err());
    /// ```
    pub fn set_fallback(&mut self, find: fn(&str) -> Option<Call>, names: fn() -> Vec<String>) {
        let mut table = self.table.borrow_mut();
        table.fallback = Some(find);
        table.fallback_names = Some(names);
    }

    /// Sets how long [`Coroutine`](super::Coroutine) commands may take that have no [`TIMEOUT`](Command::TIMEOUT) of
    /// their own. One that takes longer is dropped, and its client is told "The command timed out after 5s".
    ///
    /// Commands of the [fallback](Self::set_fallback) have no limit: C's cannot be dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use executor::qmp::{Arguments, Call, Command, Coroutine, Error, Registry};
    /// use executor::{MainCx, block_on, run_main};
    ///
    /// struct Hang;
    ///
    /// impl Command for Hang {
    ///     const NAME: &'static str = "x-hang";
    ///     type Mode = Coroutine;
    ///     type Args = ();
    ///     type Ret = ();
    /// }
    ///
    /// async fn hang(_: &MainCx, (): ()) -> Result<(), Error> {
    ///     std::future::pending().await
    /// }
    ///
    /// let mut registry = Registry::new();
    /// registry.set_timeout(Duration::from_millis(5));
    /// registry.command::<Hang, _>(hang);
    /// let Ok(Call::Coroutine(call)) = registry.find("x-hang", false) else { panic!() };
    /// let outcome = run_main(|nc| {
    ///     block_on(nc, async move |cx: &MainCx| call(cx, Arguments::new()).await)
    /// });
    /// assert_eq!(outcome.unwrap_err().to_string(), "The command timed out after 5ms");
    /// ```
    pub fn set_timeout(&mut self, limit: Duration) {
        self.table.borrow_mut().timeout = Some(limit);
    }

    /// Tells `observer` what becomes of every call from now on: when its handler is called, and how and when
    /// it ends. For traces; without an observer there is no cost.
    ///
    /// It is told in the thread of the call, and is not to panic. Servers and QEMU's monitors take over the
    /// out-of-band commands when they get the registry, so call this before.
    ///
    /// # Examples
    ///
    /// See [`CommandEvent`] for what it is told:
    ///
    /// ```
    /// use executor::qmp::{CommandStep, Registry};
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// static CALLS: AtomicUsize = AtomicUsize::new(0);
    ///
    /// let mut registry = Registry::new();
    /// registry.add_query_commands();
    /// registry.observe(|event| {
    ///     if let CommandStep::Begins = event.step {
    ///         CALLS.fetch_add(1, Ordering::Relaxed);
    ///     }
    /// });
    /// # let Ok(executor::qmp::Call::Blocking(call)) = registry.find("query-commands", false) else { panic!() };
    /// # executor::run_main(|nc| call(nc, executor::qmp::Arguments::new())).unwrap();
    /// // A client calls the command.
    /// assert_eq!(CALLS.load(Ordering::Relaxed), 1);
    /// ```
    pub fn observe(&mut self, observer: impl Fn(&CommandEvent<'_>) + Send + Sync + 'static) {
        self.table.borrow_mut().observer = Some(Arc::new(observer));
    }

    /// Returns the names of all commands, in the order of registration.
    pub fn names(&self) -> Vec<&'static str> {
        self.table.borrow().names.clone()
    }

    /// Returns what to call for the command `name`, asked for out of band or not.
    ///
    /// # Errors
    ///
    /// Fails when there is no such command, or when it does not support `oob`.
    pub fn find(&self, name: &str, oob: bool) -> Result<Call, Error> {
        let registered = self.table.borrow().call(name);
        match registered.or_else(|| self.find_fallback(name)) {
            None => Err(Error::command_not_found(name)),
            Some(Call::Blocking(_) | Call::Coroutine(_)) if oob => Err(Error::no_oob(name)),
            Some(call) => Ok(call),
        }
    }

    fn find_fallback(&self, name: &str) -> Option<Call> {
        let find = self.table.borrow().fallback?;
        let call = find(name)?;
        Some(self.table.borrow().observed(name, call))
    }

    /// Returns the out-of-band commands as they are now.
    pub fn oob_table(&self) -> OobTable {
        let table = self.table.borrow();
        let calls = table.names.iter().filter_map(|&name| match table.call(name)? {
            Call::Oob(call) => Some((name, Some(call))),
            Call::Blocking(_) | Call::Coroutine(_) => Some((name, None)),
        });
        OobTable { calls: Arc::new(calls.chain([(NEGOTIATION, None)]).collect()) }
    }
}

/// Commands may be called for longer than there is a registry.
fn upgrade(table: &Weak<RefCell<Table>>) -> Result<Rc<RefCell<Table>>, Error> {
    table.upgrade().ok_or_else(Error::cancelled)
}

impl OobTable {
    /// Returns what to call for the command `name`.
    ///
    /// # Errors
    ///
    /// Fails as [`Registry::find`] does.
    pub fn find(&self, name: &str) -> Result<OobCall, Error> {
        let call = self.calls.get(name).ok_or_else(|| Error::command_not_found(name))?;
        call.clone().ok_or_else(|| Error::no_oob(name))
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.names();
        f.debug_struct("Registry").field("commands", &names).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for OobTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let supported = self.calls.iter().filter(|(_, call)| call.is_some());
        f.debug_set().entries(supported.map(|(name, _)| name)).finish()
    }
}

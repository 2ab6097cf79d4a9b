//! What a command is: a type that names it, and a handler whose shape its mode decides.
//!
//! The [`Mode`] is one associated type of [`Command`], so a command that runs both in a coroutine
//! and out of band, which QEMU refuses when it builds, cannot be spelled here.
//!
//! | mode | the handler gets | so it may |
//! |-|-|-|
//! | [`Blocking`] | `&mut NoCoroutine` | run a nested loop, touch BQL data, not await |
//! | [`Coroutine`] | `&MainCx` | await, touch BQL data between two awaits |
//! | [`Oob`] | `&OobContext` | neither: it runs at once, also when the main loop hangs |
//!
//! A [`Handler`] becomes a [`Call`] when it is registered: the types of arguments and result end
//! there, and what remains takes JSON and gives JSON.
//!
//! Threads: `Blocking` and `Coroutine` calls stay on the thread that registered them; `Oob` calls
//! are `Send + Sync`.

#![forbid(unsafe_code)]

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::parse_arguments;
use super::error::Error;
use super::request::{Arguments, Outcome};
use super::writer::Json;
use crate::{MainCx, NoCoroutine, OobContext};

mod mode;

pub use mode::{Blocking, Coroutine, Mode, Oob};

/// A command's name, mode and types; what `qapi-gen` makes of a `command` in a schema.
///
/// The types map as in QAPI, and wrong arguments are refused in QEMU's words:
///
/// | QAPI | Rust |
/// |-|-|
/// | no arguments | `()` |
/// | `struct` | a struct; members in QAPI's order |
/// | optional member | `Option<T>` |
/// | `enum` | an enum without data, `#[serde(rename_all = "kebab-case")]` |
/// | `int`, `int8` … `uint64`, `size` | `i64`, `i8` … `u64`, `u64` |
/// | `number`, `bool`, `str`, `any` | `f64`, `bool`, `String`, `serde_json::Value` |
/// | flat union | `#[serde(tag = "…")]` on an enum |
/// | alternate | `#[serde(untagged)]` on an enum |
///
/// Members that the type does not have are always refused, and `null` is not an absent member. In
/// tagged, untagged and flattened types, write `#[serde(deny_unknown_fields)]`: there `serde` itself
/// keeps the members, and the path in an error ends at the type.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Call, Command, Coroutine, Error, Registry};
/// use executor::{MainCx, block_on, run_main};
///
/// #[derive(serde::Deserialize)]
/// struct ResizeArgs {
///     device: String,
///     size: i64,
/// }
///
/// struct BlockResize;
///
/// impl Command for BlockResize {
///     const NAME: &'static str = "block_resize";
///     type Mode = Coroutine;
///     type Args = ResizeArgs;
///     type Ret = ();
/// }
///
/// async fn block_resize(_cx: &MainCx, args: ResizeArgs) -> Result<(), Error> {
///     if args.size < 0 {
///         return Err(Error::generic(format!("Cannot shrink '{}' that much", args.device)));
///     }
///     Ok(())
/// }
///
/// let mut registry = Registry::new();
/// registry.command::<BlockResize, _>(block_resize);
///
/// // As a client would see it.
/// let Ok(Call::Coroutine(call)) = registry.find("block_resize", false) else { panic!() };
/// let arguments = serde_json::from_str(r#"{"device": "vda", "size": -1}"#).unwrap();
/// let outcome = run_main(|nc| block_on(nc, async move |cx: &MainCx| call(cx, arguments).await));
/// assert_eq!(outcome.unwrap_err().to_string(), "Cannot shrink 'vda' that much");
/// ```
pub trait Command: 'static {
    /// The name on the wire.
    const NAME: &'static str;
    /// What it does, in half a line, for people who ask `help`.
    const HELP: &'static str = "";
    /// How long it may take, its wait for its turn included; then it is dropped, and fails. `None`: as long as the
    /// [registry](super::Registry::set_timeout) says. Only a [`Coroutine`] command can have a time.
    const TIMEOUT: Option<Duration> = None;
    /// How many of it may run at a time; others wait for their turn. `None`: any number. Only a [`Coroutine`] command
    /// can wait.
    const CONCURRENCY: Option<usize> = None;
    /// Where the handler runs.
    type Mode: Mode;
    /// The arguments; `()` for none.
    type Args: DeserializeOwned + 'static;
    /// The result; `()` for none, which clients see as `{}`. Its `Deserialize` is where the
    /// [`Schema`](super::Schema) learns what it looks like.
    type Ret: Serialize + DeserializeOwned;
}

/// An `async fn` of two arguments whose future may borrow from the first.
///
/// Implemented for every such function and closure. It names what `AsyncFn` would, which
/// Rust 1.83 does not have.
///
/// # Examples
///
/// ```
/// use executor::qmp::{AsyncHandler, Error};
/// use executor::{MainCx, block_on, run_main};
///
/// /// Tries again once. The future of a handler may borrow the context, so this says `for<'a>`.
/// async fn retry<F>(cx: &MainCx, size: u32, handler: F) -> Result<u32, Error>
/// where
///     F: for<'a> AsyncHandler<&'a MainCx, u32, Result<u32, Error>>,
/// {
///     match handler(cx, size).await {
///         Err(_) => handler(cx, size / 2).await,
///         done => done,
///     }
/// }
///
/// async fn allocate(_: &MainCx, size: u32) -> Result<u32, Error> {
///     if size > 10 { Err(Error::generic("Too large")) } else { Ok(size) }
/// }
///
/// let done = run_main(|nc| block_on(nc, async |cx: &MainCx| retry(cx, 16, allocate).await));
/// assert_eq!(done, Ok(8));
/// ```
pub trait AsyncHandler<Cx, Args, Output>: Fn(Cx, Args) -> Self::Future {
    /// The future of one call.
    type Future: Future<Output = Output>;
}

impl<F, Fut, Cx, Args> AsyncHandler<Cx, Args, Fut::Output> for F
where
    F: Fn(Cx, Args) -> Fut,
    Fut: Future,
{
    type Future = Fut;
}

/// A function that can handle the command `C`, whose mode is `M`.
///
/// Implemented for functions and closures of the shape that the mode wants; nothing else needs to
/// implement it.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Arguments, Call, Command, Coroutine, Error, Handler};
/// use executor::{MainCx, block_on, run_main};
///
/// struct Status;
///
/// impl Command for Status {
///     const NAME: &'static str = "query-status";
///     type Mode = Coroutine;
///     type Args = ();
///     type Ret = bool;
/// }
///
/// async fn status(_: &MainCx, (): ()) -> Result<bool, Error> {
///     Ok(true)
/// }
///
/// // What a registry does with it.
/// let Call::Coroutine(call) = Handler::<Status, _>::into_call(status) else { panic!() };
/// run_main(|nc| {
///     let outcome = block_on(nc, async |cx: &MainCx| call(cx, Arguments::new()).await);
///     assert_eq!(outcome.unwrap().as_str(), "true");
///
///     let unknown = serde_json::from_str(r#"{"force": true}"#).unwrap();
///     let outcome = block_on(nc, async |cx: &MainCx| call(cx, unknown).await);
///     assert_eq!(outcome.unwrap_err().to_string(), "Parameter 'force' is unexpected");
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a valid handler for the QMP command `{C}` (mode `{M}`)",
    label = "the shape of this function does not fit the command's mode",
    note = "Blocking:  `fn(&mut NoCoroutine, Args) -> Result<Ret, Error>`",
    note = "Coroutine: `async fn(&MainCx, Args) -> Result<Ret, Error>`",
    note = "Oob:       `fn(&OobContext, Args) -> Result<Ret, Error>`, and `Send + Sync`",
    note = "`Args` and `Ret` are the command's, `Error` is `qmp::Error`; a closure is `Fn`, because commands are called again"
)]
pub trait Handler<C: Command<Mode = M>, M: Mode>: 'static {
    /// Returns the handler as a function from JSON to JSON.
    fn into_call(self) -> Call;
}

#[diagnostic::do_not_recommend]
impl<C, F> Handler<C, Blocking> for F
where
    C: Command<Mode = Blocking>,
    F: for<'a> Fn(&'a mut NoCoroutine, C::Args) -> Result<C::Ret, Error> + 'static,
{
    fn into_call(self) -> Call {
        Call::Blocking(Rc::new(move |nc, arguments| {
            result(&self(nc, parse_arguments(arguments)?)?)
        }))
    }
}

#[diagnostic::do_not_recommend]
impl<C, F> Handler<C, Coroutine> for F
where
    C: Command<Mode = Coroutine>,
    F: for<'a> AsyncHandler<&'a MainCx, C::Args, Result<C::Ret, Error>> + 'static,
{
    fn into_call(self) -> Call {
        let handler = Rc::new(self);
        Call::Coroutine(Rc::new(move |cx, arguments| {
            let handler = Rc::clone(&handler);
            Box::pin(async move { result(&handler(cx, parse_arguments(arguments)?).await?) })
        }))
    }
}

impl<C, F> Handler<C, Oob> for F
where
    C: Command<Mode = Oob>,
    F: for<'a> Fn(&'a OobContext, C::Args) -> Result<C::Ret, Error> + Send + Sync + 'static,
{
    fn into_call(self) -> Call {
        Call::Oob(Arc::new(move |cx, arguments| result(&self(cx, parse_arguments(arguments)?)?)))
    }
}

/// Lets a closure that owns state handle a [`Coroutine`] command.
///
/// An `async fn` needs no help. A closure has to return a box, and its future has to own what it
/// uses for longer than the call:
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// use executor::qmp::{Arguments, Call, Command, Coroutine, Registry, boxed};
/// use executor::{MainCx, block_on, run_main};
///
/// struct CountCalls;
///
/// impl Command for CountCalls {
///     const NAME: &'static str = "x-count-calls";
///     type Mode = Coroutine;
///     type Args = ();
///     type Ret = u64;
/// }
///
/// let calls = Rc::new(Cell::new(0));
/// let mut registry = Registry::new();
/// registry.command::<CountCalls, _>(boxed(move |_cx, ()| {
///     let calls = Rc::clone(&calls);
///     Box::pin(async move {
///         calls.set(calls.get() + 1);
///         Ok(calls.get())
///     })
/// }));
///
/// let Ok(Call::Coroutine(call)) = registry.find("x-count-calls", false) else { panic!() };
/// run_main(|nc| {
///     for count in ["1", "2"] {
///         let outcome = block_on(nc, async |cx: &MainCx| call(cx, Arguments::new()).await);
///         assert_eq!(outcome.unwrap().as_str(), count);
///     }
/// });
/// ```
pub fn boxed<F, Args, T>(handler: F) -> F
where
    F: for<'a> Fn(&'a MainCx, Args) -> Pin<Box<dyn Future<Output = T> + 'a>>,
{
    handler
}

/// The future of a [`CoroutineCall`].
///
/// # Examples
///
/// ```
/// use executor::qmp::{Arguments, CallFuture, Json};
/// use executor::{MainCx, block_on, run_main};
///
/// /// A call without types, for commands that are known at run time only.
/// fn count_arguments(_: &MainCx, arguments: Arguments) -> CallFuture<'_> {
///     Box::pin(async move { Json::new(&arguments.len()) })
/// }
///
/// let outcome = run_main(|nc| {
///     block_on(nc, async |cx: &MainCx| count_arguments(cx, Arguments::new()).await)
/// });
/// assert_eq!(outcome.unwrap().as_str(), "0");
/// ```
pub type CallFuture<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// A [`Blocking`] command: call it in the main loop, outside of any task.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Arguments, BlockingCall, Call, Registry};
/// use executor::run_main;
///
/// let mut registry = Registry::new();
/// registry.add_query_commands();
/// let Ok(Call::Blocking(call)) = registry.find("query-commands", false) else { panic!() };
/// let call: BlockingCall = call; // It may be kept.
/// let outcome = run_main(|nc| call(nc, Arguments::new()));
/// let names = r#"[{"name": "qmp_capabilities"}, {"name": "query-commands"}]"#;
/// assert_eq!(outcome.unwrap().as_str(), names);
/// ```
pub type BlockingCall = Rc<dyn Fn(&mut NoCoroutine, Arguments) -> Outcome>;

/// A [`Coroutine`] command: await it in a task of the main loop.
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
///
/// use executor::qmp::{Arguments, CoroutineCall, Error};
/// use executor::{MainCx, block_on, run_main};
///
/// /// Puts a name before what a call complains about.
/// fn named(name: &'static str, call: CoroutineCall) -> CoroutineCall {
///     Rc::new(move |cx, arguments| {
///         let running = call(cx, arguments);
///         Box::pin(async move {
///             running.await.map_err(|error| Error::generic(format!("{name}: {error}")))
///         })
///     })
/// }
///
/// let fails: CoroutineCall =
///     Rc::new(|_cx, _arguments| Box::pin(async { Err(Error::generic("No such disk")) }));
/// let call = named("vda", fails);
/// let outcome = run_main(|nc| {
///     block_on(nc, async move |cx: &MainCx| call(cx, Arguments::new()).await)
/// });
/// assert_eq!(outcome.unwrap_err().to_string(), "vda: No such disk");
/// ```
pub type CoroutineCall = Rc<dyn for<'a> Fn(&'a MainCx, Arguments) -> CallFuture<'a>>;

/// An [`Oob`] command: call it from wherever the monitor is read.
///
/// # Examples
///
/// ```
/// use std::thread;
///
/// use executor::OobContext;
/// use executor::qmp::{Command, Error, Oob, OobCall, Registry};
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
/// fn stop(cx: &OobContext, (): ()) -> Result<(), Error> {
///     cx.schedule(|_nc| { /* … */ });
///     Ok(())
/// }
///
/// let mut registry = Registry::new();
/// registry.command::<Stop, _>(stop);
/// let calls = registry.oob_table();
/// let monitor = thread::spawn(move || -> Result<OobCall, Error> { calls.find("x-stop") });
/// assert!(monitor.join().expect("it does not panic").is_ok());
/// ```
pub type OobCall = Arc<dyn Fn(&OobContext, Arguments) -> Outcome + Send + Sync>;

/// A handler without its types. Cheap to clone.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Call, Registry};
///
/// /// What a monitor has to do before it can call.
/// fn needs(call: &Call) -> &'static str {
///     match call {
///         Call::Blocking(_) => "a bottom half",
///         Call::Coroutine(_) => "a task",
///         Call::Oob(_) => "nothing",
///     }
/// }
///
/// let mut registry = Registry::new();
/// registry.add_query_commands();
/// registry.add_human_monitor();
/// let found = ["query-commands", "human-monitor-command"].map(|name| registry.find(name, false));
/// let needed = found.map(|call| needs(&call.expect("they are registered")));
/// assert_eq!(needed, ["a bottom half", "a task"]);
/// ```
#[derive(Clone)]
pub enum Call {
    /// Runs outside of any task.
    Blocking(BlockingCall),
    /// Runs as a task.
    Coroutine(CoroutineCall),
    /// Runs anywhere, at once.
    Oob(OobCall),
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocking(_) => "Blocking",
            Self::Coroutine(_) => "Coroutine",
            Self::Oob(_) => "Oob",
        })
    }
}

/// Writes a result; nothing is an empty object, because every reply has a `return` object.
fn result<T: Serialize>(value: &T) -> Outcome {
    let json = Json::new(value)?;
    Ok(if json.as_str() == "null" { Json::object(&[]) } else { json })
}

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
/// use executor::MainCx;
/// use executor::qmp::{Command, Coroutine, Error, Registry};
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

/// How a command runs: [`Blocking`], [`Coroutine`] or [`Oob`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a mode of QMP commands",
    label = "a command has exactly one of the modes `Blocking`, `Coroutine` and `Oob`"
)]
pub trait Mode: sealed::Sealed {}

/// The command runs in the main loop, outside of any task, and may run a nested loop.
///
/// Stands for a command without `coroutine` and without `allow-oob`.
#[derive(Debug)]
pub enum Blocking {}

/// The command runs as a task of the main loop. Stands for `'coroutine': true`.
#[derive(Debug)]
pub enum Coroutine {}

/// The command runs at once, on the thread that reads the monitor, when the client asks with
/// `exec-oob`. Stands for `'allow-oob': true`.
#[derive(Debug)]
pub enum Oob {}

impl Mode for Blocking {}
impl Mode for Coroutine {}
impl Mode for Oob {}

mod sealed {
    use super::{Blocking, Coroutine, Oob};

    /// Keeps [`Mode`](super::Mode) to three types.
    pub trait Sealed {}

    impl Sealed for Blocking {}
    impl Sealed for Coroutine {}
    impl Sealed for Oob {}
}

/// An `async fn` of two arguments whose future may borrow from the first.
///
/// Implemented for every such function and closure. It names what `AsyncFn` would, which
/// Rust 1.83 does not have.
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
/// use executor::qmp::{boxed, Command, Coroutine, Registry};
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
/// ```
pub fn boxed<F, Args, T>(handler: F) -> F
where
    F: for<'a> Fn(&'a MainCx, Args) -> Pin<Box<dyn Future<Output = T> + 'a>>,
{
    handler
}

/// The future of a [`CoroutineCall`].
pub type CallFuture<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

/// A [`Blocking`] command: call it in the main loop, outside of any task.
pub type BlockingCall = Rc<dyn Fn(&mut NoCoroutine, Arguments) -> Outcome>;

/// A [`Coroutine`] command: await it in a task of the main loop.
pub type CoroutineCall = Rc<dyn for<'a> Fn(&'a MainCx, Arguments) -> CallFuture<'a>>;

/// An [`Oob`] command: call it from wherever the monitor is read.
pub type OobCall = Arc<dyn Fn(&OobContext, Arguments) -> Outcome + Send + Sync>;

/// A handler without its types. Cheap to clone.
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

//! The three ways in which a command runs, as types.
//!
//! Nothing but names: a [`Command`](super::Command) has one of them, and [`Handler`](super::Handler) says what it
//! means.

#![forbid(unsafe_code)]

/// How a command runs: [`Blocking`], [`Coroutine`] or [`Oob`].
///
/// # Examples
///
/// ```
/// use executor::qmp::{Call, Command, Handler, Mode, Registry};
/// # use executor::qmp::{Blocking, Error};
/// # use executor::NoCoroutine;
///
/// /// Registers a command of any mode, and says that it did.
/// fn add<C: Command<Mode = M>, M: Mode>(registry: &mut Registry, handler: impl Handler<C, M>) -> String {
///     registry.command::<C, M>(handler);
///     format!("added {}", C::NAME)
/// }
/// # struct Stop;
/// # impl Command for Stop {
/// #     const NAME: &'static str = "stop";
/// #     type Mode = Blocking;
/// #     type Args = ();
/// #     type Ret = ();
/// # }
/// # fn stop(_: &mut NoCoroutine, (): ()) -> Result<(), Error> { Ok(()) }
///
/// let mut registry = Registry::new();
/// assert_eq!(add::<Stop, _>(&mut registry, stop), "added stop");
/// assert!(matches!(registry.find("stop", false), Ok(Call::Blocking(_))));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a mode of QMP commands",
    label = "a command has exactly one of the modes `Blocking`, `Coroutine` and `Oob`"
)]
pub trait Mode: sealed::Sealed {}

/// The command runs in the main loop, outside of any task, and may run a nested loop.
///
/// Stands for a command without `coroutine` and without `allow-oob`.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Arguments, Blocking, Call, Command, Error, Registry};
/// use executor::{NoCoroutine, run_main};
///
/// struct Flush;
///
/// impl Command for Flush {
///     const NAME: &'static str = "x-flush";
///     type Mode = Blocking;
///     type Args = ();
///     type Ret = u32;
/// }
///
/// /// Waits for what is in flight, in a nested loop.
/// fn flush(nc: &mut NoCoroutine, (): ()) -> Result<u32, Error> {
///     let mut in_flight = 3;
///     nc.wait_while(|_bql| in_flight == 0);
///     in_flight -= 1;
///     Ok(in_flight)
/// }
///
/// let mut registry = Registry::new();
/// registry.command::<Flush, _>(flush);
/// let Ok(Call::Blocking(call)) = registry.find("x-flush", false) else { panic!() };
/// assert_eq!(run_main(|nc| call(nc, Arguments::new())).unwrap().as_str(), "2");
/// ```
#[derive(Debug)]
pub enum Blocking {}

/// The command runs as a task of the main loop. Stands for `'coroutine': true`.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Call, Command, Coroutine, Error, Registry};
/// use executor::time::sleep;
/// use executor::{MainCx, block_on, run_main};
/// use std::time::Duration;
///
/// #[derive(serde::Deserialize)]
/// struct WaitArgs {
///     ms: u64,
/// }
///
/// struct Wait;
///
/// impl Command for Wait {
///     const NAME: &'static str = "x-wait";
///     type Mode = Coroutine;
///     type Args = WaitArgs;
///     type Ret = ();
/// }
///
/// /// The main loop goes on meanwhile, and so do other commands.
/// async fn wait(_: &MainCx, args: WaitArgs) -> Result<(), Error> {
///     sleep(Duration::from_millis(args.ms)).await;
///     Ok(())
/// }
///
/// let mut registry = Registry::new();
/// registry.command::<Wait, _>(wait);
/// let Ok(Call::Coroutine(call)) = registry.find("x-wait", false) else { panic!() };
/// let arguments = serde_json::from_str(r#"{"ms": 1}"#).unwrap();
/// let outcome = run_main(|nc| block_on(nc, async move |cx: &MainCx| call(cx, arguments).await));
/// assert_eq!(outcome.unwrap().as_str(), "{}");
/// ```
#[derive(Debug)]
pub enum Coroutine {}

/// The command runs at once, on the thread that reads the monitor, when the client asks with
/// `exec-oob`. Stands for `'allow-oob': true`.
///
/// # Examples
///
/// It answers while the main loop is stuck, here in another command:
///
/// ```
/// use std::sync::mpsc::{Sender, channel};
///
/// use executor::net::UnixStream;
/// use executor::qmp::{Blocking, Command, Error, Oob, Registry, Server};
/// use executor::{MainCx, NoCoroutine, OobContext, block_on, run_main};
/// # use executor::qmp::{SessionOptions, Version, VersionNumber};
/// use futures_util::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
/// use futures_util::stream::StreamExt;
///
/// struct Stuck;
///
/// impl Command for Stuck {
///     const NAME: &'static str = "x-stuck";
///     type Mode = Blocking;
///     type Args = ();
///     type Ret = ();
/// }
///
/// struct Free;
///
/// impl Command for Free {
///     const NAME: &'static str = "x-free";
///     type Mode = Oob;
///     type Args = ();
///     type Ret = ();
/// }
///
/// async fn program(cx: &MainCx) -> std::io::Result<()> {
///     let (send, receive) = channel();
///     let mut registry = Registry::new();
///     registry.command::<Stuck, _>(move |_: &mut NoCoroutine, (): ()| {
///         receive.recv().map_err(|error| Error::generic(error.to_string()))
///     });
///     registry.command::<Free, _>(move |_: &OobContext, (): ()| {
///         send.send(()).map_err(|error| Error::generic(error.to_string()))
///     });
/// #   let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
/// #   let options = SessionOptions::new(Version { qemu, package: String::new() });
///     let server = Server::start(cx, registry, options)?;
/// #   let path = std::env::temp_dir().join(format!("executor-oob-{}.sock", std::process::id()));
/// #   let address = executor::qmp::Address::Unix(path.clone());
///     server.listen(&address)?;
///
///     let mut client = UnixStream::connect(path).await?;
///     client.write_all(b"{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}").await?;
///     client.write_all(b"{'execute': 'x-stuck', 'id': 1} {'exec-oob': 'x-free', 'id': 2}").await?;
///     let answers: Vec<_> = BufReader::new(client).lines().skip(2).take(2).collect().await;
///     assert!(answers.iter().any(|line| matches!(line, Ok(line) if line == r#"{"return": {}, "id": 1}"#)));
///     server.shutdown().await;
///     Ok(())
/// }
///
/// run_main(|nc| block_on(nc, program))?;
/// # Ok::<(), std::io::Error>(())
/// ```
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

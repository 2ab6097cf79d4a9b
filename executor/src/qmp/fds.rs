//! File descriptors that clients pass: `getfd`, `closefd`, and how other commands get them.
//!
//! A client sends an fd along with the bytes of a `getfd`, over a UNIX socket, and gives it a name; a command that
//! is told the name takes it, or the client closes it. As in QEMU, fds that nobody has named are closed when others
//! arrive, and all that are left are closed when the client has gone.
//!
//! Whose fds a handler means is the client whose command is running: it is known to the thread while that
//! handler is called or polled (`monitor_cur()`).
//!
//! Threads: any. No fd is closed under the lock, since that can take its time.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use serde::Deserialize;

use super::command::{Blocking, Command};
use super::error::Error;
use super::registry::Registry;
use crate::NoCoroutine;

/// How many a client may have named at a time.
const MOST_NAMED: usize = 64;

/// The fds of one client.
#[derive(Debug, Default)]
pub(super) struct ClientFds {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What came last, and has no name.
    received: Vec<OwnedFd>,
    named: BTreeMap<String, OwnedFd>,
    /// The client has gone.
    closed: bool,
}

impl ClientFds {
    /// Keeps fds that have come, in place of those that came before.
    pub(super) fn receive(&self, fds: Vec<OwnedFd>) {
        let mut state = self.lock();
        let unwanted = if state.closed { fds } else { mem::replace(&mut state.received, fds) };
        drop(state);
        drop(unwanted);
    }

    /// Closes all of them, and those that come later.
    pub(super) fn close_all(&self) {
        let state = mem::replace(&mut *self.lock(), State { closed: true, ..State::default() });
        drop(state);
    }

    /// Gives the first of those that came last a name. The others are closed, and so is the one that had the name.
    fn name(&self, name: String) -> Result<(), Error> {
        let received = mem::take(&mut self.lock().received);
        let Some(fd) = received.into_iter().next() else {
            return Err(Error::generic("No file descriptor supplied via SCM_RIGHTS"));
        };
        if name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(Error::wrong_value("fdname", "a name not starting with a digit"));
        }
        let mut state = self.lock();
        if state.closed || (state.named.len() >= MOST_NAMED && !state.named.contains_key(&name)) {
            let most = format!("Only {MOST_NAMED} file descriptors can be kept at a time");
            return Err(Error::generic(most));
        }
        let replaced = state.named.insert(name, fd);
        drop(state);
        drop(replaced);
        Ok(())
    }

    fn take(&self, name: &str) -> Option<OwnedFd> {
        self.lock().named.remove(name)
    }

    /// No foreign code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The client whose command is running in this thread.
    static CURRENT: RefCell<Option<Arc<ClientFds>>> = const { RefCell::new(None) };
}

/// The client whose command is running here, to take along to elsewhere.
pub(super) fn current() -> Option<Arc<ClientFds>> {
    CURRENT.with_borrow(Option::clone)
}

/// Calls `f` on behalf of a client.
pub(super) fn on_behalf<R>(client: Option<Arc<ClientFds>>, f: impl FnOnce() -> R) -> R {
    /// Puts back who was there before, also after a panic.
    struct Before(Option<Arc<ClientFds>>);
    impl Drop for Before {
        fn drop(&mut self) {
            let client = CURRENT.replace(self.0.take());
            drop(client);
        }
    }
    let _before = Before(CURRENT.replace(client));
    f()
}

/// A future that is polled on behalf of a client.
pub(super) struct OnBehalf<F> {
    client: Arc<ClientFds>,
    future: F,
}

impl<F: Future + Unpin> OnBehalf<F> {
    /// Makes the future on behalf of the client, too.
    pub(super) fn new(client: Arc<ClientFds>, make: impl FnOnce() -> F) -> Self {
        let future = on_behalf(Some(Arc::clone(&client)), make);
        Self { client, future }
    }
}

impl<F: Future + Unpin> Future for OnBehalf<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let client = Arc::clone(&self.client);
        on_behalf(Some(client), || Pin::new(&mut self.future).poll(cx))
    }
}

/// Takes the file descriptor that the client has named `name` with `getfd`. Stands for `monitor_get_fd()`.
///
/// For handlers, while they are called or polled: elsewhere nobody has passed anything. The name is free afterwards.
///
/// # Errors
///
/// If the client has not named one so.
///
/// # Examples
///
/// ```
/// use std::fs::File;
///
/// use executor::MainCx;
/// use executor::qmp::{Error, take_fd};
///
/// #[derive(serde::Deserialize)]
/// struct SaveArgs {
///     fdname: String,
/// }
///
/// async fn save(_cx: &MainCx, args: SaveArgs) -> Result<(), Error> {
///     let file = File::from(take_fd(&args.fdname)?);
///     // ...
/// # drop(file);
///     Ok(())
/// }
///
/// // This is no handler, and no client has passed anything.
/// let error = take_fd("disk").unwrap_err();
/// assert_eq!(error.to_string(), "File descriptor named 'disk' not found");
/// ```
///
/// With a client: see [`Registry::add_fd_commands`].
pub fn take_fd(name: &str) -> Result<OwnedFd, Error> {
    let taken = current().and_then(|client| client.take(name));
    taken.ok_or_else(|| not_found(name))
}

fn not_found(name: &str) -> Error {
    Error::generic(format!("File descriptor named '{name}' not found"))
}

struct GetFd;

impl Command for GetFd {
    const NAME: &'static str = "getfd";
    const HELP: &'static str = "name the file descriptor that comes along";
    type Mode = Blocking;
    type Args = FdName;
    type Ret = ();
}

struct CloseFd;

impl Command for CloseFd {
    const NAME: &'static str = "closefd";
    const HELP: &'static str = "close a file descriptor that was named";
    type Mode = Blocking;
    type Args = FdName;
    type Ret = ();
}

#[derive(Deserialize)]
struct FdName {
    fdname: String,
}

impl Registry {
    /// Adds `getfd` and `closefd`, by which the clients of a [`Server`](super::Server) pass file descriptors over
    /// UNIX sockets. A handler gets them with [`take_fd`].
    ///
    /// They are closed in programs that this one starts. A client can have 64 at a time; those that it leaves behind
    /// are closed. As in QEMU, the next `getfd` is to be sent when the reply to the last one is there.
    ///
    /// # Panics
    ///
    /// Panics if one of them is registered already.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::fs::File;
    /// use std::io::{IoSlice, Read, Seek, Write};
    /// use std::os::fd::AsRawFd;
    /// use std::os::unix::net;
    ///
    /// use executor::net::UnixStream;
    /// use executor::qmp::{Command, Coroutine, Error, Registry, Server, take_fd};
    /// use executor::{MainCx, block_on, run_main};
    /// # use executor::qmp::{SessionOptions, Version, VersionNumber};
    /// use futures_util::io::{AsyncBufReadExt, BufReader};
    /// use futures_util::stream::StreamExt;
    /// use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct SaveArgs {
    ///     fdname: String,
    /// }
    ///
    /// struct Save;
    ///
    /// impl Command for Save {
    ///     const NAME: &'static str = "x-save";
    ///     type Mode = Coroutine;
    ///     type Args = SaveArgs;
    ///     type Ret = ();
    /// }
    ///
    /// async fn save(_: &MainCx, args: SaveArgs) -> Result<(), Error> {
    ///     let mut file = File::from(take_fd(&args.fdname)?);
    ///     file.write_all(b"saved").map_err(|error| Error::generic(error.to_string()))
    /// }
    ///
    /// async fn program(cx: &MainCx) -> std::io::Result<()> {
    ///     let mut registry = Registry::new();
    ///     registry.add_fd_commands();
    ///     registry.command::<Save, _>(save);
    /// #   let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
    /// #   let options = SessionOptions::new(Version { qemu, package: String::new() });
    ///     let server = Server::start(cx, registry, options)?;
    /// #   let path = std::env::temp_dir().join(format!("executor-fds-{}.sock", std::process::id()));
    /// #   let address = executor::qmp::Address::Unix(path.clone());
    ///     server.listen(&address)?;
    ///
    ///     // A client that passes a file along with the bytes of its `getfd`.
    ///     let client = net::UnixStream::connect(path)?;
    ///     (&client).write_all(b"{'execute': 'qmp_capabilities'}")?;
    /// #   let path = std::env::temp_dir().join(format!("executor-fds-{}", std::process::id()));
    /// #   let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    /// #   std::fs::remove_file(path)?;
    ///     let bytes = [IoSlice::new(b"{'execute': 'getfd', 'arguments': {'fdname': 'out'}}")];
    ///     let passed = [ControlMessage::ScmRights(&[file.as_raw_fd()])];
    ///     sendmsg::<()>(client.as_raw_fd(), &bytes, &passed, MsgFlags::empty(), None)?;
    ///     let mut replies = BufReader::new(UnixStream::from_std(client.try_clone()?)?).lines().skip(2);
    ///     assert_eq!(replies.next().await.transpose()?.as_deref(), Some(r#"{"return": {}}"#));
    ///
    ///     (&client).write_all(b"{'execute': 'x-save', 'arguments': {'fdname': 'out'}}")?;
    ///     assert_eq!(replies.next().await.transpose()?.as_deref(), Some(r#"{"return": {}}"#));
    ///     let mut text = String::new();
    ///     file.rewind()?;
    ///     file.read_to_string(&mut text)?;
    ///     assert_eq!(text, "saved");
    ///     server.shutdown().await;
    ///     Ok(())
    /// }
    ///
    /// run_main(|nc| block_on(nc, program))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn add_fd_commands(&mut self) {
        self.command::<GetFd, _>(|_: &mut NoCoroutine, args: FdName| {
            let client = current().ok_or_else(|| Error::generic("There is no client"))?;
            client.name(args.fdname)
        });
        self.command::<CloseFd, _>(|_: &mut NoCoroutine, args: FdName| {
            take_fd(&args.fdname).map(drop)
        });
    }
}

//! A QMP server: sockets in front, a registry of commands behind.
//!
//! ```text
//!      clients                  the monitor's iothread                        the main loop
//!   ┌──────────┐  accept   ┌──────────────────────────────┐   jobs    ┌────────────────────────────┐
//!   │ sockets, │──────────►│ listener                     │──────────►│ dispatcher (Registry)      │
//!   │ stdio    │◄─────────►│ client: Session, Transport   │◄──────────│ one task or bottom half    │
//!   └──────────┘           │ (runs out-of-band commands)  │  errands  │ per command                │
//!                          └──────────────▲───────────────┘           └─────────────┬──────────────┘
//!                                         └───────────── hub (events) ◄─────────────┘
//! ```
//!
//! As in QEMU, an iothread of its own reads, parses and writes, so that out-of-band commands work while
//! the main loop is busy or hangs. Unlike in QEMU, in-band commands of different clients do not wait for
//! each other: each runs in its own task. Commands of one client run one after another, unless it has
//! enabled `x-concurrent`.
//!
//! Threads: a [`Server`] belongs to the main loop; [`EventSink`]s go anywhere. What is shared between
//! the two threads is behind short locks (`queue`, `mailbox`, `hub`) that no foreign code runs under.
//!
//! Data flows one way through the modules: `queue`, `mailbox` → `hub` → `commands`, `transport` → `client` →
//! `listener` → here.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net;
use std::os::unix::net as unix;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::registry::Registry;
use super::session::SessionOptions;
use crate::aio::iothread::IoThread;
use crate::bql;
use crate::cx::{Bql, MainCx};
use crate::io_context::reschedule_to;
use crate::net::{TcpStream, UnixStream};
use crate::remote::Remote;
use crate::task::JoinHandle;

mod address;
mod client;
mod commands;
mod event_sink;
mod hub;
mod listener;
mod mailbox;
#[cfg(feature = "testing")]
pub(crate) mod pipe;
mod queue;
mod stdio;
mod transport;

pub use address::{Address, AddressError};
pub use event_sink::EventSink;

use client::Monitor;
use commands::{Crowd, Dispatcher};
use listener::{Accepting, Listener};
use queue::Queue;
use stdio::Stdio;
use transport::Transport;

/// A QMP server.
///
/// Lives on the main loop, inside a task or in the program's `block_on`. [`listen`](Self::listen) opens
/// it to clients; [`shutdown`](Self::shutdown) ends it in an orderly way. Dropping it ends it at once:
/// clients find their connection closed.
///
/// # Examples
///
/// ```
/// use executor::net::UnixStream;
/// use executor::qmp::{Address, Registry, Server, SessionOptions, Version, VersionNumber};
/// use executor::{MainCx, block_on, run_main};
/// use futures_util::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
/// use futures_util::stream::StreamExt;
///
/// async fn serve(cx: &MainCx) -> std::io::Result<()> {
///     let mut registry = Registry::new();
///     registry.add_query_commands();
///     let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
///     let options = SessionOptions::new(Version { qemu, package: String::new() });
///     let server = Server::start(cx, registry, options)?;
/// #   let path = std::env::temp_dir().join(format!("executor-server-{}.sock", std::process::id()));
///     server.listen(&Address::Unix(path.clone()))?;
///     assert_eq!(server.local_addresses(), [Address::Unix(path.clone())]);
///
///     // A client, which would be another program.
///     let mut client = UnixStream::connect(path).await?;
///     client.write_all(b"{'execute': 'qmp_capabilities'} {'execute': 'query-commands'}").await?;
///     let mut lines = BufReader::new(client).lines().skip(2); // The greeting, the first reply.
///     let reply = lines.next().await.transpose()?.unwrap_or_default();
///     assert!(reply.ends_with(r#"{"name": "query-commands"}]}"#));
///     assert_eq!(server.clients(), 1);
///     server.events().emit("RESUME", ());
///     let event = lines.next().await.transpose()?.unwrap_or_default();
///     assert!(event.ends_with(r#""event": "RESUME"}"#));
///
///     server.shutdown().await;
///     assert!(lines.next().await.is_none(), "the connection is closed");
///     Ok(())
/// }
///
/// run_main(|nc| block_on(nc, serve))?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Server {
    monitor: Arc<Monitor>,
    crowd: Rc<Crowd>,
    doors: RefCell<Doors>,
    events: EventSink,
    /// `None` after the shutdown.
    parts: Option<Parts>,
}

/// What is still open to clients.
#[derive(Default)]
struct Doors {
    listeners: Vec<(Listener, Remote<()>)>,
    stdio: bool,
}

/// What runs.
struct Parts {
    iothread: IoThread,
    dispatcher: JoinHandle<()>,
}

impl Server {
    /// Starts a server that nobody can connect to yet.
    ///
    /// The commands of `registry` are those of the server from now on.
    ///
    /// # Errors
    ///
    /// If the system is out of threads or file descriptors.
    pub fn start(cx: &MainCx, registry: Registry, options: SessionOptions) -> io::Result<Self> {
        Self::start_with_events(cx, registry, options, EventSink::new())
    }

    /// As [`start`](Self::start), with a sink that handlers in the registry have already.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and if the sink is another server's.
    pub fn start_with_events(
        cx: &MainCx,
        registry: Registry,
        options: SessionOptions,
        events: EventSink,
    ) -> io::Result<Self> {
        if !events.hub.open() {
            return Err(io::Error::other("the event sink belongs to another QMP server"));
        }
        let iothread = cx.bql(create_iothread)?;
        let io = iothread.io();
        reschedule_to(&io, Arc::clone(&events.hub).pace()).detach();
        let (jobs, crowd) = (Arc::new(Queue::new()), Rc::default());
        let (hub, oob) = (Arc::clone(&events.hub), registry.oob_table());
        let monitor = Arc::new(Monitor { io, hub, jobs: Arc::clone(&jobs), oob, options });
        let dispatcher = Dispatcher { registry, jobs, crowd: Rc::clone(&crowd) };
        let dispatcher = cx.spawn_owning("qmp:dispatcher", |cx| dispatcher.run(cx));
        let parts = Some(Parts { iothread, dispatcher });
        Ok(Self { monitor, crowd, doors: RefCell::default(), events, parts })
    }

    /// Returns where to say that something has happened.
    pub fn events(&self) -> EventSink {
        self.events.clone()
    }

    /// Takes clients at `address`, too. Any number of times.
    ///
    /// The file of a UNIX socket that nobody listens on is replaced. A host's name is looked up, which
    /// can take its time. Standard input and output are one client, who is there already and leaves at
    /// the end of the input.
    ///
    /// # Errors
    ///
    /// What the system says; names the address. A UNIX socket that somebody listens on, or at whose path
    /// another server begins or ceases to at this moment (it has `PATH.lock`), and standard input for the
    /// second time, are in use.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::net::TcpStream;
    /// use executor::qmp::{Address, Registry, Server};
    /// # use executor::qmp::{SessionOptions, Version, VersionNumber};
    /// use executor::{MainCx, block_on, run_main};
    /// use futures_util::io::AsyncReadExt;
    ///
    /// async fn program(cx: &MainCx) -> std::io::Result<()> {
    /// #   let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
    /// #   let options = SessionOptions::new(Version { qemu, package: String::new() });
    ///     let server = Server::start(cx, Registry::new(), options)?;
    ///     server.listen(&"tcp:127.0.0.1:0".parse().expect("the address is right"))?;
    ///     let [Address::Tcp(place)] = &server.local_addresses()[..] else { panic!() };
    ///     let mut client = TcpStream::connect(place.parse().expect("it has a port now")).await?;
    ///     let mut greeting = [0; 7];
    ///     client.read_exact(&mut greeting).await?;
    ///     assert_eq!(greeting, *b"{\"QMP\":");
    ///
    ///     let error = server.listen(&Address::Unix("/no/such/folder".into())).unwrap_err();
    ///     assert!(error.to_string().starts_with("unix:/no/such/folder: "));
    ///     server.shutdown().await;
    ///     Ok(())
    /// }
    ///
    /// run_main(|nc| block_on(nc, program))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen(&self, address: &Address) -> io::Result<()> {
        let listening = match address {
            Address::Unix(path) => Listener::unix(path, &self.monitor).map(|new| self.open(new)),
            Address::Tcp(place) => Listener::tcp(place, &self.monitor).map(|new| self.open(new)),
            Address::Stdio => self.serve_stdio(),
        };
        listening.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
    }

    fn open(&self, (listener, accepting): (Listener, Accepting)) {
        let accepting = reschedule_to(&self.monitor.io, accepting);
        self.doors.borrow_mut().listeners.push((listener, accepting));
    }

    fn serve_stdio(&self) -> io::Result<()> {
        if self.doors.borrow().stdio {
            let why = "standard input has a monitor already";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        let fds = stdio::duplicates()?;
        self.monitor.serve(|| Ok(Transport::Stdio(Stdio::new(fds))));
        self.doors.borrow_mut().stdio = true;
        Ok(())
    }

    /// Takes the client that waits at `address`: who listens there speaks as a client does. What `-qmp` means to
    /// QEMU without `server=on`, for programs that make a socket and then start the server.
    ///
    /// Waits until it is connected, which takes no time on one machine, and does not come back when the client has
    /// gone.
    ///
    /// # Errors
    ///
    /// What the system says; names the address.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::net::UnixListener;
    /// use executor::qmp::{Address, Registry, Server};
    /// # use executor::qmp::{SessionOptions, Version, VersionNumber};
    /// use executor::{MainCx, block_on, run_main};
    /// use futures_util::io::AsyncReadExt;
    ///
    /// async fn program(cx: &MainCx) -> std::io::Result<()> {
    /// #   let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
    /// #   let options = SessionOptions::new(Version { qemu, package: String::new() });
    /// #   let path = std::env::temp_dir().join(format!("executor-connect-{}.sock", std::process::id()));
    ///     let client = UnixListener::bind(&path)?; // It listens before there is a server.
    ///     let server = Server::start(cx, Registry::new(), options)?;
    ///     server.connect(&Address::Unix(path.clone()))?;
    ///     let (mut connection, _) = client.accept().await?;
    ///     let mut greeting = [0; 7];
    ///     connection.read_exact(&mut greeting).await?;
    ///     assert_eq!(greeting, *b"{\"QMP\":");
    ///     server.shutdown().await;
    ///     std::fs::remove_file(path)
    /// }
    ///
    /// run_main(|nc| block_on(nc, program))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect(&self, address: &Address) -> io::Result<()> {
        let connecting = match address {
            Address::Unix(path) => unix::UnixStream::connect(path).map(|socket| {
                self.monitor.serve(|| UnixStream::from_std(socket).map(Transport::Unix));
            }),
            Address::Tcp(place) => net::TcpStream::connect(place).map(|socket| {
                self.monitor.serve(|| TcpStream::from_std(socket).map(Transport::Tcp));
            }),
            Address::Stdio => self.serve_stdio(),
        };
        connecting.map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))
    }

    /// Takes a client that a test plays.
    #[cfg(feature = "testing")]
    pub(crate) fn connect_in_memory(&self) -> pipe::ClientEnd {
        let (client, server) = pipe::pair();
        self.monitor.serve(|| Ok(Transport::Memory(server)));
        client
    }

    /// Returns where clients can connect. A TCP address has the port that the kernel has chosen.
    pub fn local_addresses(&self) -> Vec<Address> {
        let doors = self.doors.borrow();
        let stdio = doors.stdio.then_some(Address::Stdio);
        doors.listeners.iter().map(|(listener, _)| listener.address.clone()).chain(stdio).collect()
    }

    /// Returns how many clients are connected.
    pub fn clients(&self) -> usize {
        self.monitor.hub.len()
    }

    /// Ends the server: no more clients, no more commands.
    ///
    /// Socket files are removed. Clients are sent the replies and events that they have coming, if they
    /// read them within a second, and are then disconnected. A command that is still running is
    /// cancelled, which is its reply, so a handler that stops the program has this done by another task and returns. An
    /// out-of-band handler is waited for.
    ///
    /// When this has completed, nothing of the server is left: no task, no thread, no fd.
    pub async fn shutdown(mut self) {
        let doors = self.doors.take();
        for (listener, accepting) in doors.listeners {
            drop(listener);
            accepting.cancel().await;
        }
        self.monitor.hub.close();
        self.monitor.hub.wait_until_empty().await;
        self.monitor.jobs.close();
        self.crowd.wait_until_gone().await;
        if let Some(Parts { iothread, dispatcher }) = self.parts.take() {
            dispatcher.cancel().await;
            Bql::lend(|bql| destroy(bql, iothread));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.doors.take());
        self.monitor.hub.close();
        let Some(Parts { iothread, dispatcher }) = self.parts.take() else { return };
        dispatcher.abort();
        // Without the lock the main loop is at its end, and so is the process.
        if bql::is_locked() {
            Bql::lend(|bql| destroy(bql, iothread));
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.local_addresses())
            .field("clients", &self.clients())
            .finish_non_exhaustive()
    }
}

/// Makes the monitor's thread.
///
/// QEMU's own monitors live in `mon_iothread`, which QEMU makes when it first needs it, and aborts if the
/// name is taken by then. So this one has another name.
fn create_iothread(bql: &Bql) -> io::Result<IoThread> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: only uniqueness matters.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    IoThread::create_internal(bql, &format!("qmp_iothread{number}"))
}

/// Ends the monitor's thread and waits for it.
fn destroy(bql: &Bql, iothread: IoThread) {
    iothread.destroy(bql).expect("nobody else knows the thread");
}

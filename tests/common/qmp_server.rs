//! A main loop in a thread of its own, servers on it, and clients that talk to them over real sockets.
//!
//! A process has one main loop, so one thread runs it for all tests of a program. Tests that have a server
//! take turns, because they count the process's fds and tasks. A client that waits for longer than half a
//! minute fails its test.

#![allow(dead_code, reason = "every test program uses another part")]

use std::cell::RefCell;
use std::fs;
use std::future::pending;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use executor::qmp::{Address, EventSink, Registry, Server, SessionOptions, Version, VersionNumber};
use executor::{MainCx, MainHandle, NoCoroutine, Probe, TaskInfo, block_on, run_main};
use serde_json::Value;

/// Longer than anything takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// The main loop of this program.
fn main_loop() -> &'static (MainHandle, Probe) {
    static MAIN: OnceLock<(MainHandle, Probe)> = OnceLock::new();
    MAIN.get_or_init(|| {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            run_main(|nc| {
                block_on(nc, async |cx: &MainCx| {
                    send.send((cx.main(), cx.probe())).expect("the test waits");
                    pending::<()>().await;
                });
            });
        });
        receive.recv().expect("the main loop starts")
    })
}

/// Calls `f` on the main loop.
pub(crate) fn on_main<R: Send + 'static>(
    f: impl FnOnce(&mut NoCoroutine) -> R + Send + 'static,
) -> R {
    futures::executor::block_on(main_loop().0.call(f)).expect("the function does not panic")
}

/// To the main loop, from elsewhere.
pub(crate) fn main_handle() -> MainHandle {
    main_loop().0.clone()
}

/// A look at the main loop's executor.
pub(crate) fn main_probe() -> Probe {
    main_loop().1.clone()
}

/// How many commands are running on the main loop.
pub(crate) fn command_tasks() -> usize {
    main_loop().1.tasks().iter().filter(|task| is_command(task)).count()
}

fn is_command(task: &TaskInfo) -> bool {
    let name = task.label.name.as_deref().unwrap_or_default();
    name.starts_with("qmp:") && name != "qmp:dispatcher"
}

/// Cancels the tasks that run a command, as an operator can.
pub(crate) fn cancel_commands() {
    let probe = &main_loop().1;
    for task in probe.tasks().iter().filter(|task| is_command(task)) {
        probe.cancel(task.label.id);
    }
}

/// Shuts the test's server down, from a handler.
pub(crate) fn begin_shutdown(main: &MainHandle) {
    main.run(shut_down).detach();
}

/// Looks at something again and again until it is so.
pub(crate) fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "not within half a minute: {what}");
        thread::yield_now();
    }
}

pub(crate) fn open_fds() -> usize {
    fs::read_dir("/proc/self/fd").expect("the kernel lists the fds").count()
}

/// A path for a socket, in a folder that nobody else uses.
pub(crate) fn socket_path() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("qmp-{}-{number}.sock", std::process::id()))
}

thread_local! {
    /// On the main loop's thread.
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// The right to have a server. One test has it.
struct Turn(());

static TAKEN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

impl Turn {
    fn take() -> Self {
        let (taken, given_back) = &TAKEN;
        let free = taken.lock().and_then(|taken| given_back.wait_while(taken, |taken| *taken));
        *free.unwrap_or_else(PoisonError::into_inner) = true;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (taken, given_back) = &TAKEN;
        *taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        given_back.notify_one();
    }
}

/// The server of one test, at a UNIX socket. Shut down at the end, if the test has not done so.
pub(crate) struct TestServer {
    pub(crate) path: PathBuf,
    _turn: Turn,
}

pub(crate) fn options() -> SessionOptions {
    let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
    SessionOptions::new(Version { qemu, package: String::new() })
}

impl TestServer {
    pub(crate) fn start(register: impl FnOnce(&mut Registry, &EventSink) + Send + 'static) -> Self {
        Self::start_with(options(), register)
    }

    pub(crate) fn start_with(
        options: SessionOptions,
        register: impl FnOnce(&mut Registry, &EventSink) + Send + 'static,
    ) -> Self {
        let turn = Turn::take();
        let start = async move |cx: &MainCx| {
            let events = EventSink::new();
            let mut registry = Registry::new();
            registry.add_query_commands();
            register(&mut registry, &events);
            let server = Server::start_with_events(cx, registry, options, events);
            SERVER.set(Some(server.expect("the server starts")));
        };
        futures::executor::block_on(main_loop().0.run(start)).expect("the server starts");
        let this = Self { path: socket_path(), _turn: turn };
        this.listen(Address::Unix(this.path.clone())).expect("the path is free");
        this
    }

    /// Calls `f` with the server, on the main loop.
    pub(crate) fn with<R: Send + 'static>(
        &self,
        f: impl FnOnce(&Server) -> R + Send + 'static,
    ) -> R {
        on_main(|_| SERVER.with_borrow(|server| f(server.as_ref().expect("the server is there"))))
    }

    pub(crate) fn listen(&self, address: Address) -> std::io::Result<()> {
        self.with(move |server| server.listen(&address))
    }

    pub(crate) fn clients(&self) -> usize {
        self.with(Server::clients)
    }

    pub(crate) fn events(&self) -> EventSink {
        self.with(Server::events)
    }

    /// Shuts the server down; the test keeps its turn.
    pub(crate) fn shut_down(&self) {
        futures::executor::block_on(main_loop().0.run(shut_down)).expect("the server shuts down");
    }

    /// Drops the server without a shutdown; the test keeps its turn.
    pub(crate) fn drop_server(&self) {
        on_main(|_| drop(SERVER.take()));
    }

    /// Connects, without more.
    pub(crate) fn connect(&self) -> Client<UnixStream> {
        connect(&self.path)
    }

    /// Connects, and ends the negotiation.
    pub(crate) fn client(&self) -> Client<UnixStream> {
        self.connect().negotiate("{'execute': 'qmp_capabilities'}")
    }

    /// Connects, and enables oob.
    pub(crate) fn oob_client(&self) -> Client<UnixStream> {
        let enable = "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}";
        self.connect().negotiate(enable)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let result = futures::executor::block_on(main_loop().0.run(shut_down));
        if !thread::panicking() {
            result.expect("the server shuts down");
        }
    }
}

async fn shut_down(_: &MainCx) {
    if let Some(server) = SERVER.take() {
        server.shutdown().await;
    }
}

/// Connects to a UNIX socket, without more.
pub(crate) fn connect(path: &Path) -> Client<UnixStream> {
    Client::new(UnixStream::connect(path).expect("the server listens"))
}

/// A stream that can be read and written by reference.
pub(crate) trait Stream: Read + Write + Sized {
    fn limit_waiting(&self);
}

impl Stream for UnixStream {
    fn limit_waiting(&self) {
        self.set_read_timeout(Some(LONG)).expect("the time is not zero");
        self.set_write_timeout(Some(LONG)).expect("the time is not zero");
    }
}

impl Stream for TcpStream {
    fn limit_waiting(&self) {
        self.set_read_timeout(Some(LONG)).expect("the time is not zero");
        self.set_write_timeout(Some(LONG)).expect("the time is not zero");
    }
}

/// A client, line by line.
pub(crate) struct Client<S: Read> {
    stream: BufReader<S>,
}

impl<S: Stream> Client<S> {
    pub(crate) fn new(stream: S) -> Self {
        stream.limit_waiting();
        Self { stream: BufReader::new(stream) }
    }

    fn negotiate(mut self, command: &str) -> Self {
        let greeting = self.receive();
        assert!(greeting["QMP"]["version"].is_object(), "no greeting: {greeting}");
        let reply = self.ask(command);
        assert_eq!(reply.to_string(), r#"{"return":{}}"#);
        self
    }

    pub(crate) fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(text.as_ref()).expect("the server is there");
    }

    /// Waits for a line.
    pub(crate) fn receive(&mut self) -> Value {
        serde_json::from_str(&self.receive_line()).expect("the server sends JSON")
    }

    /// Waits for a line, and does not parse it.
    pub(crate) fn receive_line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the server answers");
        assert!(line.ends_with("\r\n"), "the line is not complete: {line:?}");
        line
    }

    /// Sends a request and waits for a line.
    pub(crate) fn ask(&mut self, text: &str) -> Value {
        self.send(text);
        self.receive()
    }

    /// Waits until the server closes the connection; returns what it sent before.
    pub(crate) fn receive_rest(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => (),
            // The server has left something unread, as it may.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (),
            Err(error) => panic!("the server does not close the connection: {error}"),
        }
        String::from_utf8(bytes).expect("the server sends ASCII")
    }

    pub(crate) fn stream(&self) -> &S {
        self.stream.get_ref()
    }
}

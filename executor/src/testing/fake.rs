//! QMP servers and clients for tests, without sockets.
//!
//! The server is the real one, with its monitor's thread, sessions, queues and limits; its clients' transports are bytes
//! in memory, and the clients are played by the test.
//!
//! Threads: the test's own.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use super::kit::Kit;
use crate::cx::MainCx;
use crate::main_loop::main_core;
use crate::probe::TaskInfo;
use crate::qmp::{EventSink, Registry, Server, SessionOptions, Version, VersionNumber};

mod client;

pub use client::FakeClient;

/// A server, until it is shut down or the test ends.
pub(super) type Owned = Rc<RefCell<Option<Server>>>;

/// A QMP server of a test. From [`Kit::serve`]; it lives as long as the test.
///
/// ```
/// use executor::qmp::Registry;
///
/// executor::testing::run(|kit| {
///     let server = kit.serve(Registry::new());
///     let client = server.client(kit);
///     assert_eq!(server.clients(), 1);
///     client.disconnect();
///     kit.run_until_idle();
///     assert_eq!(server.clients(), 0);
/// });
/// ```
#[derive(Clone)]
pub struct FakeServer {
    server: Owned,
    names: Rc<[&'static str]>,
}

impl Kit<'_> {
    /// Starts a server with the commands of `registry` and the default options: those of QEMU.
    ///
    /// ```
    /// use executor::qmp::Registry;
    ///
    /// executor::testing::run(|kit| {
    ///     let server = kit.serve(Registry::new());
    ///     let (_one, _other) = (server.client(kit), server.client(kit));
    ///     assert_eq!(server.clients(), 2);
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If the system is out of threads or file descriptors.
    pub fn serve(&mut self, registry: Registry) -> FakeServer {
        self.serve_with_events(registry, EventSink::new())
    }

    /// Starts a server with a sink that handlers in the registry have.
    ///
    /// ```
    /// use executor::qmp::{EventSink, Registry};
    ///
    /// executor::testing::run(|kit| {
    ///     let events = EventSink::new();
    ///     let mut client = kit.serve_with_events(Registry::new(), events.clone()).client(kit);
    ///     events.emit("RESUME", ());
    ///     assert_eq!(client.receive(kit)["event"], "RESUME");
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// As [`serve`](Self::serve), and if the sink is another server's.
    pub fn serve_with_events(&mut self, registry: Registry, events: EventSink) -> FakeServer {
        let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
        let options = SessionOptions::new(Version { qemu, package: String::new() });
        self.serve_with(registry, options, events)
    }

    /// Starts a server with other options, too.
    ///
    /// ```
    /// use executor::qmp::{EventSink, Registry, SessionOptions, Version, VersionNumber};
    ///
    /// executor::testing::run(|kit| {
    ///     let qemu = VersionNumber { micro: 2, minor: 0, major: 10 };
    ///     let options = SessionOptions::new(Version { qemu, package: "test".to_owned() });
    ///     let mut client = kit.serve_with(Registry::new(), options, EventSink::new()).connect();
    ///     assert_eq!(client.receive(kit)["QMP"]["version"]["qemu"]["major"], 10);
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// As [`serve_with_events`](Self::serve_with_events).
    pub fn serve_with(
        &mut self,
        registry: Registry,
        options: SessionOptions,
        events: EventSink,
    ) -> FakeServer {
        let names = registry.names().into();
        let cx = MainCx::new(main_core());
        let server = Server::start_with_events(&cx, registry, options, events)
            .unwrap_or_else(|error| panic!("the server of the test does not start: {error}"));
        let server = Rc::new(RefCell::new(Some(server)));
        self.servers.push(Rc::clone(&server));
        FakeServer { server, names }
    }

    /// Starts a server with the commands of `registry`, and returns a client that has ended the negotiation.
    ///
    /// ```
    /// use executor::qmp::Registry;
    ///
    /// executor::testing::run(|kit| {
    ///     let mut registry = Registry::new();
    ///     registry.add_query_commands();
    ///     let mut client = kit.client(registry);
    ///     let reply = client.ask(kit, r#"{"execute": "query-commands", "id": 7}"#);
    ///     assert_eq!(reply["return"][1]["name"], "query-commands");
    ///     assert_eq!(reply["id"], 7);
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// As [`serve`](Self::serve).
    pub fn client(&mut self, registry: Registry) -> FakeClient {
        self.serve(registry).client(self)
    }

    /// The commands that run as tasks, or wait for their turn, in the order in which they were begun. Their names are
    /// those of the tasks: `qmp:` and the command's.
    ///
    /// ```
    /// executor::testing::run(|kit| assert!(kit.commands().is_empty()));
    /// ```
    #[must_use]
    pub fn commands(&self) -> Vec<TaskInfo> {
        let is_command = |task: &TaskInfo| {
            let name = task.label.name.as_deref().unwrap_or_default();
            name.starts_with("qmp:") && name != "qmp:dispatcher"
        };
        self.tasks().into_iter().filter(is_command).collect()
    }
}

impl FakeServer {
    /// Returns a client that has just connected, and has not read the greeting.
    ///
    /// ```
    /// use executor::qmp::Registry;
    ///
    /// executor::testing::run(|kit| {
    ///     let server = kit.serve(Registry::new());
    ///     let mut client = server.connect();
    ///     assert!(client.receive(kit)["QMP"]["version"].is_object());
    ///     let reply = client.ask(kit, "{'execute': 'query-status'}");
    ///     assert_eq!(reply["error"]["class"], "CommandNotFound");
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If the server was shut down.
    #[track_caller]
    pub fn connect(&self) -> FakeClient {
        let server = self.server.borrow();
        let server = server.as_ref().expect("the server of the test was shut down");
        FakeClient::new(server.connect_in_memory(), Rc::clone(&self.names))
    }

    /// Returns a client that has ended the negotiation without enabling anything.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let server = kit.serve(Registry::new());
    ///     assert!(server.client(kit).is_connected());
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// As [`connect`](Self::connect).
    #[track_caller]
    pub fn client(&self, kit: &mut Kit<'_>) -> FakeClient {
        let mut client = self.connect();
        client.negotiate(kit, &[]);
        client
    }

    /// Returns a client that has enabled commands out of band.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut client = kit.serve(Registry::new()).oob_client(kit);
    ///     let error = client.command_oob(kit, "x-none", ()).unwrap_err();
    ///     assert_eq!(error.to_string(), "The command x-none has not been found");
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// As [`connect`](Self::connect).
    #[track_caller]
    pub fn oob_client(&self, kit: &mut Kit<'_>) -> FakeClient {
        let mut client = self.connect();
        client.negotiate(kit, &["oob"]);
        client
    }

    /// Returns how many clients are connected, as far as the server knows.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| assert_eq!(kit.serve(Registry::new()).clients(), 0));
    /// ```
    #[must_use]
    pub fn clients(&self) -> usize {
        self.server.borrow().as_ref().map_or(0, Server::clients)
    }

    /// Shuts the server down in an orderly way: see [`Server::shutdown`]. Does nothing for the second time.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let server = kit.serve(Registry::new());
    ///     let client = server.client(kit);
    ///     server.shutdown(kit);
    ///     assert!(!client.is_connected());
    /// });
    /// ```
    #[track_caller]
    pub fn shutdown(&self, kit: &mut Kit<'_>) {
        let server = self.server.take();
        if let Some(server) = server {
            kit.wait(server.shutdown());
        }
    }
}

impl fmt::Debug for FakeServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeServer").field("commands", &self.names).finish_non_exhaustive()
    }
}

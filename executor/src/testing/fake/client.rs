//! A client that a test plays.
//!
//! Owns its end of the connection, and the messages that have come and that nobody has asked for.
//!
//! Threads: the test's own.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::kit::Kit;
use crate::qmp::{ClientEnd, Command, Error, ErrorClass};

/// A QMP client that the test plays. From [`Kit::client`] or [`FakeServer`](super::FakeServer).
///
/// What it sends is there at once, but nothing happens before the test lets the main loop go on: with the methods that
/// take the kit, or those of the [`Kit`] itself. It hangs up when it is dropped.
///
/// ```
/// use executor::qmp::Registry;
///
/// executor::testing::run(|kit| {
///     let mut registry = Registry::new();
///     registry.add_query_commands();
///     let mut client = kit.client(registry);
///     let reply = client.ask(kit, r#"{"execute": "query-commands", "id": 7}"#);
///     assert_eq!((&reply["id"], reply["return"].is_array()), (&7.into(), true));
/// });
/// ```
pub struct FakeClient {
    end: ClientEnd,
    names: Rc<[&'static str]>,
    /// Messages that nobody has asked for yet.
    inbox: VecDeque<Value>,
    calls: u64,
}

impl FakeClient {
    pub(super) fn new(end: ClientEnd, names: Rc<[&'static str]>) -> FakeClient {
        FakeClient { end, names, inbox: VecDeque::new(), calls: 0 }
    }

    /// Reads the greeting, and ends the negotiation with these capabilities enabled.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut client = kit.serve(Registry::new()).connect();
    ///     client.negotiate(kit, &["oob"]);
    ///     assert!(client.is_connected());
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If the server refuses.
    #[track_caller]
    pub fn negotiate(&mut self, kit: &mut Kit<'_>, enable: &[&str]) {
        let greeting = self.receive(kit);
        assert!(greeting["QMP"].is_object(), "this is no greeting: {greeting}");
        let arguments = if enable.is_empty() { json!({}) } else { json!({"enable": enable}) };
        if let Err(error) = self.command(kit, "qmp_capabilities", arguments) {
            panic!("the negotiation fails: {error}");
        }
    }

    /// Sends text as it is, a request or a part of one. Does not wait.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut client = kit.client(Registry::new());
    ///     client.send("{'execute': 'x-no");
    ///     kit.run_until_idle();
    ///     client.send("ne'}");
    ///     assert_eq!(client.receive(kit)["error"]["class"], "CommandNotFound");
    /// });
    /// ```
    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        self.end.send(text.as_ref(), Vec::new());
    }

    /// Sends text, and file descriptors with it, as over a UNIX socket: for [`getfd`](crate::qmp::take_fd).
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut registry = Registry::new();
    ///     registry.add_fd_commands();
    ///     let mut client = kit.client(registry);
    ///     let file = std::fs::File::open("/dev/null").expect("it is there").into();
    ///     client.send_with_fds(r#"{"execute": "getfd", "arguments": {"fdname": "null"}}"#, vec![file]);
    ///     assert!(client.receive(kit)["return"].is_object());
    /// });
    /// ```
    pub fn send_with_fds(&mut self, text: impl AsRef<[u8]>, fds: Vec<OwnedFd>) {
        self.end.send(text.as_ref(), fds);
    }

    /// Asks for a command, in band. Does not wait: [`receive`](Self::receive) has the reply.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut client = kit.client(Registry::new());
    ///     client.execute("x-none", ());
    ///     assert_eq!(client.receive(kit)["error"]["class"], "CommandNotFound");
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If the arguments are no JSON.
    #[track_caller]
    pub fn execute(&mut self, command: &str, arguments: impl Serialize) {
        self.send(request("execute", command, arguments, None));
    }

    /// Returns the next message, a reply or an event; lets the main loop go on until it is there, and then until nobody
    /// can go on before time does.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut client = kit.client(Registry::new());
    ///     client.send("{'execute': 'a', 'id': 1} {'execute': 'b', 'id': 2}");
    ///     assert_eq!(client.receive(kit)["id"], 1);
    ///     assert_eq!(client.receive(kit)["id"], 2);
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// If no message comes before time goes on, unless the clock
    /// [goes on by itself](crate::testing::PausedClock::set_auto_advance); if the server has closed the connection.
    #[track_caller]
    pub fn receive(&mut self, kit: &mut Kit<'_>) -> Value {
        self.wait_for(kit, |_| true)
    }

    /// Returns the next message that is there already.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut client = kit.client(Registry::new());
    ///     client.send("{'execute': 'a'}");
    ///     assert!(client.received().is_none());
    ///     kit.run_until_idle();
    ///     assert!(client.received().is_some());
    /// });
    /// ```
    pub fn received(&mut self) -> Option<Value> {
        self.pull();
        self.inbox.pop_front()
    }

    /// Returns the events that are there already, and leaves the replies.
    ///
    /// ```
    /// use executor::NoCoroutine;
    /// use executor::qmp::{Blocking, Command, EventSink, Registry};
    ///
    /// struct Reset;
    ///
    /// impl Command for Reset {
    ///     const NAME: &'static str = "x-reset";
    ///     type Mode = Blocking;
    ///     type Args = ();
    ///     type Ret = ();
    /// }
    ///
    /// executor::testing::run(|kit| {
    ///     let events = EventSink::new();
    ///     let (mut registry, sink) = (Registry::new(), events.clone());
    ///     registry.command::<Reset, _>(move |_: &mut NoCoroutine, ()| {
    ///         sink.emit("RESET", ());
    ///         Ok(())
    ///     });
    ///     let mut client = kit.serve_with_events(registry, events).client(kit);
    ///
    ///     client.call::<Reset>(kit, ()).expect("it succeeds");
    ///     assert_eq!(client.events()[0]["event"], "RESET");
    /// });
    /// ```
    pub fn events(&mut self) -> Vec<Value> {
        self.pull();
        let (events, others) = self.inbox.drain(..).partition(is_event);
        self.inbox = others;
        events.into()
    }

    /// Sends a request as it is, and returns the next reply. Events that come before are left.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut client = kit.client(Registry::new());
    ///     let reply = client.ask(kit, "{'execute': 7}");
    ///     assert_eq!(reply["error"]["desc"], "QMP input member 'execute' must be a string");
    /// });
    /// ```
    ///
    /// # Panics
    ///
    /// As [`receive`](Self::receive).
    #[track_caller]
    pub fn ask(&mut self, kit: &mut Kit<'_>, text: impl AsRef<[u8]>) -> Value {
        self.send(text);
        self.wait_for(kit, |message| !is_event(message))
    }

    /// Calls a command in band, and returns what came of it. Other replies, and events, are left.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut registry = Registry::new();
    ///     registry.add_query_commands();
    ///     let list = kit.client(registry).command(kit, "query-commands", ()).expect("it succeeds");
    ///     assert_eq!(list[0]["name"], "qmp_capabilities");
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// That of the command, or of the server.
    ///
    /// # Panics
    ///
    /// As [`receive`](Self::receive), and if the arguments are no JSON.
    #[track_caller]
    pub fn command(
        &mut self,
        kit: &mut Kit<'_>,
        command: &str,
        arguments: impl Serialize,
    ) -> Result<Value, Error> {
        self.outcome(kit, "execute", command, arguments)
    }

    /// Calls a command out of band, and returns what came of it. Other replies, and events, are left.
    ///
    /// ```
    /// use executor::OobContext;
    /// use executor::qmp::{Command, Oob, Registry};
    ///
    /// struct Ping;
    ///
    /// impl Command for Ping {
    ///     const NAME: &'static str = "x-ping";
    ///     type Mode = Oob;
    ///     type Args = ();
    ///     type Ret = String;
    /// }
    ///
    /// executor::testing::run(|kit| {
    ///     let mut registry = Registry::new();
    ///     registry.command::<Ping, _>(|_: &OobContext, ()| Ok("pong".to_owned()));
    ///     let mut client = kit.serve(registry).oob_client(kit);
    ///     assert_eq!(client.command_oob(kit, "x-ping", ()).unwrap(), "pong");
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// As [`command`](Self::command); and if the client has not enabled `oob`.
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command).
    #[track_caller]
    pub fn command_oob(
        &mut self,
        kit: &mut Kit<'_>,
        command: &str,
        arguments: impl Serialize,
    ) -> Result<Value, Error> {
        self.outcome(kit, "exec-oob", command, arguments)
    }

    /// Calls the command `C` in band, and returns its result as its own type. Other replies, and events, are left.
    ///
    /// The arguments are whatever becomes the right JSON: `serde_json::json!`, a type of the test's, `()` for none.
    /// See the [module's documentation](crate::testing) for an example.
    ///
    /// # Errors
    ///
    /// That of the command, or of the server.
    ///
    /// # Panics
    ///
    /// As [`command`](Self::command); if the registry has no such command; if the result is not of the type `C::Ret`.
    #[track_caller]
    pub fn call<C: Command>(
        &mut self,
        kit: &mut Kit<'_>,
        arguments: impl Serialize,
    ) -> Result<C::Ret, Error> {
        let (name, names) = (C::NAME, &self.names);
        assert!(
            names.contains(&name),
            "the registry of this server has no command `{name}`: register it before the server is started. It has: {}",
            names.join(", ")
        );
        let value = self.command(kit, name, arguments)?;
        // A command without a result answers with an empty object.
        let result = serde_json::from_value(value.clone());
        let result = result.or_else(|error| {
            if value == json!({}) { serde_json::from_value(Value::Null) } else { Err(error) }
        });
        Ok(result.unwrap_or_else(|error| {
            panic!("the result of `{name}` has another type: {error}: {value}")
        }))
    }

    /// Ends the client's direction, as a program does that has no more to say and still reads.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut client = kit.client(Registry::new());
    ///     client.end_input();
    ///     kit.run_until_idle();
    ///     assert!(!client.is_connected());
    /// });
    /// ```
    pub fn end_input(&mut self) {
        self.end.end_input();
    }

    /// Sets whether the client reads. One that does not is a pipe that is full: see what becomes of a server's memory.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let mut client = kit.client(Registry::new());
    ///     client.set_reading(false);
    ///     client.send("{'execute': 'a'}");
    ///     kit.run_until_idle();
    ///     assert!(client.received().is_none());
    ///     client.set_reading(true);
    ///     assert!(client.receive(kit)["error"].is_object());
    /// });
    /// ```
    pub fn set_reading(&mut self, reads: bool) {
        self.end.set_reading(reads);
    }

    /// Whether the server has not closed the connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.end.is_connected()
    }

    /// Hangs up, whatever runs; the same as to drop it. The server notices when the main loop goes on.
    ///
    /// ```
    /// # use executor::qmp::Registry;
    /// executor::testing::run(|kit| {
    ///     let server = kit.serve(Registry::new());
    ///     server.client(kit).disconnect();
    ///     kit.run_until_idle();
    ///     assert_eq!(server.clients(), 0);
    /// });
    /// ```
    pub fn disconnect(self) {
        drop(self);
    }

    #[track_caller]
    fn outcome(
        &mut self,
        kit: &mut Kit<'_>,
        how: &str,
        command: &str,
        arguments: impl Serialize,
    ) -> Result<Value, Error> {
        self.calls += 1;
        let id = json!(format!("call-{}", self.calls));
        self.send(request(how, command, arguments, Some(&id)));
        let mut reply = self.wait_for(kit, |message| message["id"] == id);
        match reply.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => Err(error(&reply["error"])),
        }
    }

    /// Takes out the first message that is wanted; lets the main loop go on until it is there.
    #[track_caller]
    fn wait_for(&mut self, kit: &mut Kit<'_>, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            self.pull();
            let found = self.inbox.iter().position(&wanted);
            if let Some(message) = found.and_then(|at| self.inbox.remove(at)) {
                kit.run_until_idle();
                return message;
            }
            let line = kit.wait(poll_fn(|cx| self.end.poll_line(cx)));
            let line =
                line.expect("the server has closed the connection, and no such message has come");
            self.inbox.push_back(parse(&line));
        }
    }

    fn pull(&mut self) {
        while let Some(line) = self.end.take_line() {
            self.inbox.push_back(parse(&line));
        }
    }
}

fn is_event(message: &Value) -> bool {
    !message["event"].is_null()
}

fn parse(line: &[u8]) -> Value {
    serde_json::from_slice(line).expect("the server writes JSON, a message per line")
}

#[track_caller]
fn request(how: &str, command: &str, arguments: impl Serialize, id: Option<&Value>) -> String {
    let arguments = match serde_json::to_value(arguments) {
        Ok(Value::Null) => json!({}),
        Ok(arguments) => arguments,
        Err(error) => panic!("the arguments of `{command}` are no JSON: {error}"),
    };
    let mut request = json!({how: command, "arguments": arguments});
    if let Some(id) = id {
        request["id"] = id.clone();
    }
    request.to_string()
}

/// The error of a reply.
fn error(error: &Value) -> Error {
    let text = |member: &str| error[member].as_str().unwrap_or_default().to_owned();
    let class = ErrorClass::named(&text("class"));
    Error::new(class.unwrap_or(ErrorClass::GenericError), text("desc"))
}

impl fmt::Debug for FakeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeClient")
            .field("connected", &self.is_connected())
            .field("messages", &self.inbox)
            .finish_non_exhaustive()
    }
}

//! One monitor, without its socket: bytes in, requests out; outcomes in, bytes out.
//!
//! [`Session`] owns everything the protocol remembers about a connection: greeting, negotiation,
//! the half-read message, the queue, and what is unsent. Whoever drives it moves the bytes and
//! runs the commands; see [`Session::next_request`] for the loop.
//!
//! # What may run when
//!
//! Without oob, one request is taken up at a time and the input behind it is not looked at before
//! the reply is written. So `qmp_capabilities` may be sent with requests behind it, even before
//! the greeting was read. With oob, reading goes on: requests to be run out of band are
//! returned at once and overtake, up to eight others wait their turn, then reading stops.
//! A mistake in the input takes its place in the queue, so replies keep the order of the input.
//!
//! With the capability `x-concurrent`, which QEMU does not have and which is offered only if the program wants
//! it, requests do not wait for each other: up to [`CONCURRENT`] run at a time, and each reply is sent when it is
//! there. Only the `id` tells a client which is which, so a request without one is refused.
//!
//! # Clients that do not read
//!
//! No request is taken up and no input is wanted while `output_limit` bytes are unsent, so
//! replies take at most that plus those that were running. Events beyond another
//! `output_limit` bytes are dropped and counted; a client that reads again misses those. Input waits
//! in the socket: the session holds what [`feed`](Session::feed) was given last, and the message
//! that is being read, whose limits are in [`parser`](super::parser).
//!
//! Any thread, one at a time (`Send`); no clock, no input or output of its own; relies on
//! `parser`, `request` and `output`.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::args::parse_arguments;
use super::error::Error;
use super::events::Event;
use super::output::Output;
use super::parser::{Limits, Parser};
use super::request::{self, NEGOTIATION, Outcome, Rejected, Request, Ticket};
use super::shape::Shape;
use super::writer::Json;

/// In-band requests that wait while another runs, when oob is enabled (`QMP_REQ_QUEUE_LEN_MAX`).
const QUEUE_LENGTH: usize = 8;

/// In-band requests that run at a time, when `x-concurrent` is enabled.
pub(super) const CONCURRENT: usize = 64;

/// What the server is, for the greeting and `query-version`.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Session, SessionOptions, Version, VersionNumber};
///
/// let qemu = VersionNumber { micro: 2, minor: 0, major: 10 };
/// let version = Version { qemu, package: "example 1.0".to_owned() };
/// let session = Session::new(SessionOptions::new(version));
/// assert!(session.unsent().starts_with(
///     br#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "example 1.0"},"#
/// ));
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Version {
    /// The number that clients compare.
    pub qemu: VersionNumber,
    /// The build, for people.
    pub package: String,
}

/// A version number, in the order in which QEMU writes it.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Json, VersionNumber};
///
/// let number = VersionNumber { micro: 2, minor: 0, major: 10 };
/// assert_eq!(Json::new(&number)?.as_str(), r#"{"micro": 2, "minor": 0, "major": 10}"#);
/// # Ok::<(), executor::qmp::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct VersionNumber {
    /// Counts corrections.
    pub micro: u32,
    /// Counts releases.
    pub minor: u32,
    /// Counts years.
    pub major: u32,
}

/// How a [`Session`] behaves.
///
/// # Examples
///
/// A client that does not read:
///
/// ```
/// use std::time::SystemTime;
///
/// use executor::qmp::{Event, Session, SessionOptions, Version, VersionNumber};
///
/// let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
/// let mut options = SessionOptions::new(Version { qemu, package: String::new() });
/// options.output_limit = 200;
/// let mut session = Session::new(options);
/// session.feed(b"{'execute': 'qmp_capabilities'}");
/// assert!(session.next_request().is_none() && session.wants_input());
///
/// let event = Event::new("POWERDOWN", SystemTime::now());
/// (0..10).for_each(|_| session.emit(&event));
/// let missed = session.dropped_events();
/// assert!(missed > 0 && !session.wants_input());
///
/// let read = session.unsent().len();
/// session.advance(read);
/// session.emit(&event);
/// assert!(session.wants_input() && session.dropped_events() == missed);
/// ```
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// What the greeting says.
    pub version: Version,
    /// Whether clients may enable out-of-band execution.
    pub offers_oob: bool,
    /// Whether clients may enable `x-concurrent`: commands of one client that run at the same time. QEMU has
    /// no such capability.
    pub offers_concurrent: bool,
    /// Whether lines are laid out for people (`pretty=on`). Few clients can read that.
    pub pretty: bool,
    /// Unsent bytes at which work stops; also the room for unsent events.
    pub output_limit: usize,
}

impl SessionOptions {
    /// Returns the defaults, which are QEMU's: oob offered, one command at a time, one object per line; a limit
    /// of 1 MiB.
    pub fn new(version: Version) -> Self {
        let (offers_oob, offers_concurrent) = (true, false);
        Self { version, offers_oob, offers_concurrent, pretty: false, output_limit: 1 << 20 }
    }
}

/// One monitor's side of the protocol.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Json, Session, SessionOptions, Version, VersionNumber};
///
/// let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
/// let mut session = Session::new(SessionOptions::new(Version { qemu, package: String::new() }));
/// session.feed(b"{'execute': 'qmp_capabilities'} {'execute': 'query-name', 'id': 7}");
///
/// let request = session.next_request().expect("the second one is for us");
/// assert_eq!(request.name, "query-name");
/// session.respond(request.ticket, Ok(Json::new(&[1])?));
///
/// assert!(session.unsent().ends_with(b"{\"return\": [1], \"id\": 7}\r\n"));
/// # Ok::<(), executor::qmp::Error>(())
/// ```
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    offers_oob: bool,
    offers_concurrent: bool,
    parser: Parser,
    input: Vec<u8>,
    /// How much of `input` has been parsed.
    parsed: usize,
    queue: VecDeque<Result<Value, Error>>,
    /// How many in-band requests were returned and have no reply yet.
    running: usize,
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Negotiating,
    Commands(Enabled),
}

/// What a client has enabled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Enabled {
    oob: bool,
    concurrent: bool,
}

#[derive(Serialize)]
struct Greeting<'v> {
    version: &'v Version,
    capabilities: &'v [Capability],
}

/// Every capability there is.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Capability {
    Oob,
    #[serde(rename = "x-concurrent")]
    Concurrent,
}

/// Those of QEMU. Where nothing else is offered, nothing else has a name.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename = "QMPCapability", rename_all = "kebab-case")]
enum QemuCapability {
    Oob,
}

impl From<QemuCapability> for Capability {
    fn from(QemuCapability::Oob: QemuCapability) -> Self {
        Self::Oob
    }
}

#[derive(Deserialize)]
struct NegotiationArgs<C> {
    enable: Option<Vec<C>>,
}

/// What the arguments of the negotiation look like in QEMU.
pub(super) fn negotiation_shape() -> Shape {
    Shape::of::<NegotiationArgs<QemuCapability>>()
}

impl Session {
    /// Returns a session that has the greeting to send.
    pub fn new(options: SessionOptions) -> Self {
        let oob = options.offers_oob.then_some(Capability::Oob);
        let concurrent = options.offers_concurrent.then_some(Capability::Concurrent);
        let capabilities: Vec<_> = oob.into_iter().chain(concurrent).collect();
        let greeting = Greeting { version: &options.version, capabilities: &capabilities };
        let mut output = Output::new(options.output_limit, options.pretty);
        output.push(&Json::object(&[("QMP", Json::infallible(&greeting))]));
        Self {
            phase: Phase::Negotiating,
            offers_oob: options.offers_oob,
            offers_concurrent: options.offers_concurrent,
            parser: Parser::new(Limits::default()),
            input: Vec::new(),
            parsed: 0,
            queue: VecDeque::new(),
            running: 0,
            output,
        }
    }

    /// Tells whether to read from the client.
    ///
    /// When not, the client's bytes are to stay in its socket, and it will notice.
    pub fn wants_input(&self) -> bool {
        self.parsed == self.input.len() && self.may_parse()
    }

    /// Takes bytes from the client; any number, cut anywhere.
    ///
    /// They are kept until [`next_request`](Self::next_request) gets to them, so the caller's
    /// buffer bounds the memory: read a few kilobytes when [`wants_input`](Self::wants_input).
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.parsed);
        self.parsed = 0;
        self.input.extend_from_slice(bytes);
    }

    /// Returns the next request to run, if one may run now.
    ///
    /// Answers whatever needs no command. Call it until it returns `None`: after
    /// [`feed`](Self::feed), after [`respond`](Self::respond), and after
    /// [`advance`](Self::advance).
    pub fn next_request(&mut self) -> Option<Request> {
        while !self.output.is_full() {
            let item = match self.parse() {
                Some(item) if !looks_oob(&item) => {
                    self.queue.push_back(item);
                    continue;
                }
                Some(item) => item,
                None if !self.may_start() => return None,
                None => self.queue.pop_front()?,
            };
            let request = self.admit(item);
            if request.is_some() {
                return request;
            }
        }
        None
    }

    /// Writes the reply to a request.
    ///
    /// # Panics
    ///
    /// Panics if the ticket is from another session and nothing runs here.
    pub fn respond(&mut self, ticket: Ticket, outcome: Outcome) {
        if !ticket.oob {
            assert!(self.running > 0, "no in-band request of this session waits for a reply");
            self.running -= 1;
        }
        self.reply(ticket.id, outcome);
    }

    /// Sends an event, if the negotiation is over and there is room.
    pub fn emit(&mut self, event: &Event) {
        self.emit_line(&event.to_json());
    }

    /// As [`emit`](Self::emit), for an event that was written out once for many sessions.
    pub(super) fn emit_line(&mut self, event: &Json) {
        if self.phase != Phase::Negotiating {
            self.output.push_event(event);
        }
    }

    /// Returns what is to be sent to the client.
    pub fn unsent(&self) -> &[u8] {
        self.output.unsent()
    }

    /// Notes that the first `count` bytes of [`unsent`](Self::unsent) are sent.
    ///
    /// # Panics
    ///
    /// Panics if there were fewer.
    pub fn advance(&mut self, count: usize) {
        self.output.advance(count);
    }

    /// Returns how many events this client missed because it did not read.
    pub fn dropped_events(&self) -> u64 {
        self.output.dropped_events()
    }

    fn enabled(&self) -> Enabled {
        match self.phase {
            Phase::Negotiating => Enabled::default(),
            Phase::Commands(enabled) => enabled,
        }
    }

    fn may_start(&self) -> bool {
        self.running < if self.enabled().concurrent { CONCURRENT } else { 1 }
    }

    fn may_parse(&self) -> bool {
        let enabled = self.enabled();
        let queue_has_room = if enabled.oob || enabled.concurrent {
            self.queue.len() < QUEUE_LENGTH
        } else {
            self.queue.is_empty() && self.running == 0
        };
        queue_has_room && !self.output.is_full()
    }

    fn parse(&mut self) -> Option<Result<Value, Error>> {
        if !self.may_parse() {
            return None;
        }
        let mut rest = &self.input[self.parsed..];
        let item = self.parser.next(&mut rest);
        self.parsed = self.input.len() - rest.len();
        item
    }

    /// Returns the request in `item` if it is for a registry; else answers it.
    fn admit(&mut self, item: Result<Value, Error>) -> Option<Request> {
        let checked = item
            .map_err(|error| Rejected { id: None, error })
            .and_then(|value| request::check(value, self.enabled().oob));
        let request = match checked {
            Ok(request) => request,
            Err(Rejected { id, error }) => {
                self.reply(id, Err(error));
                return None;
            }
        };
        if request.name == NEGOTIATION {
            let Request { arguments, ticket, .. } = request;
            let outcome = self.negotiate(&ticket, arguments);
            self.reply(ticket.id, outcome);
            return None;
        }
        if self.phase == Phase::Negotiating {
            self.reply(request.ticket.id, Err(Error::expecting_negotiation()));
            return None;
        }
        if request.ticket.oob {
            return Some(request);
        }
        if self.enabled().concurrent && request.ticket.id.is_none() {
            self.reply(None, Err(Error::lacks_id()));
            return None;
        }
        self.running += 1;
        Some(request)
    }

    fn negotiate(&mut self, ticket: &Ticket, arguments: request::Arguments) -> Outcome {
        if ticket.oob {
            return Err(Error::no_oob(NEGOTIATION));
        }
        let enable = self.parse_capabilities(arguments)?;
        if self.phase != Phase::Negotiating {
            return Err(Error::negotiation_complete());
        }
        let enabled = Enabled {
            oob: enable.contains(&Capability::Oob),
            concurrent: enable.contains(&Capability::Concurrent),
        };
        if enabled.oob && !self.offers_oob {
            return Err(Error::generic("Capability oob not available"));
        }
        self.phase = Phase::Commands(enabled);
        Ok(Json::object(&[]))
    }

    fn parse_capabilities(&self, arguments: request::Arguments) -> Result<Vec<Capability>, Error> {
        let enable = if self.offers_concurrent {
            parse_arguments::<NegotiationArgs<Capability>>(arguments)?.enable
        } else {
            let args = parse_arguments::<NegotiationArgs<QemuCapability>>(arguments)?;
            args.enable.map(|list| list.into_iter().map(Capability::from).collect())
        };
        Ok(enable.unwrap_or_default())
    }

    /// Writes a reply, its members in the order in which QEMU's happen to be.
    fn reply(&mut self, id: Option<Value>, outcome: Outcome) {
        let id = id.map(|id| ("id", Json::infallible(&id)));
        let line = match outcome {
            Ok(result) => [Some(("return", result)), id],
            Err(error) => [id, Some(("error", error_json(&error)))],
        };
        let members: Vec<_> = line.into_iter().flatten().collect();
        self.output.push(&Json::object(&members));
    }
}

/// Tells whether `item` is not to queue.
fn looks_oob(item: &Result<Value, Error>) -> bool {
    item.as_ref().is_ok_and(request::looks_oob)
}

fn error_json(error: &Error) -> Json {
    let class = Json::infallible(error.class().as_str());
    let description = Json::infallible(error.description());
    Json::object(&[("class", class), ("desc", description)])
}

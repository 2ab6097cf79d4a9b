//! A QMP server without sockets: what the wire tests talk to.
//!
//! It knows the few commands of QEMU that the recorded cases use, answers them as a QEMU without
//! machine and disks does, and keeps the request `x-hold` until it is released. Its clock stands still at
//! the beginning of 1970.

#![allow(dead_code, reason = "every test program uses another part")]

use std::collections::VecDeque;
use std::time::SystemTime;

use executor::qmp::{
    Error, ErrorClass, Event, Json, Outcome, Request, Session, SessionOptions, Ticket, Version,
    VersionNumber, parse_arguments,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The version that the cases were recorded from.
pub(crate) fn recorded_version() -> Version {
    let qemu = VersionNumber { micro: 22, minor: 2, major: 7 };
    Version { qemu, package: "Debian 1:7.2+dfsg-7+deb12u18+b3".into() }
}

/// The line that a monitor greets with.
pub(crate) const GREETING: &str = "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \
    \"major\": 7}, \"package\": \"Debian 1:7.2+dfsg-7+deb12u18+b3\"}, \"capabilities\": [\"oob\"]}}\r\n";

/// One monitor and its client's bytes.
pub(crate) struct Monitor {
    pub(crate) session: Session,
    /// What the client has written and the monitor did not want yet.
    unread: VecDeque<u8>,
    /// Requests that wait for [`release`](Self::release).
    pub(crate) held: VecDeque<Ticket>,
    /// How many bytes one read gives.
    pub(crate) read_size: usize,
}

impl Monitor {
    pub(crate) fn new(options: SessionOptions) -> Self {
        let session = Session::new(options);
        Self { session, unread: VecDeque::new(), held: VecDeque::new(), read_size: usize::MAX }
    }

    /// A monitor as QEMU's `-qmp` makes it.
    pub(crate) fn raw() -> Self {
        Self::new(SessionOptions::new(recorded_version()))
    }

    /// A monitor after the negotiation.
    pub(crate) fn ready() -> Self {
        Self::after("{'execute': 'qmp_capabilities'}")
    }

    /// A monitor after the negotiation, with oob.
    pub(crate) fn oob() -> Self {
        Self::after("{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}")
    }

    fn after(negotiation: &str) -> Self {
        let mut monitor = Self::raw();
        monitor.write(negotiation);
        assert_eq!(monitor.read(), format!("{GREETING}{{\"return\": {{}}}}\r\n"));
        monitor
    }

    /// Writes as the client, and lets the server do what it can.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.unread.extend(bytes.as_ref());
        self.run();
    }

    /// Reads everything there is, as the client, and lets the server go on.
    pub(crate) fn read(&mut self) -> String {
        let mut text = String::new();
        while !self.session.unsent().is_empty() {
            text.push_str(&self.read_some(usize::MAX));
        }
        text
    }

    /// Reads up to `count` bytes as the client, and lets the server go on.
    pub(crate) fn read_some(&mut self, count: usize) -> String {
        let unsent = self.session.unsent();
        let count = count.min(unsent.len());
        let text = String::from_utf8(unsent[..count].to_vec()).expect("the output is ASCII");
        self.session.advance(count);
        self.run();
        text
    }

    /// Ends the request that was held first.
    pub(crate) fn release(&mut self) {
        let ticket = self.held.pop_front().expect("a request is held");
        self.session.respond(ticket, Ok(empty()));
        self.run();
    }

    /// Bytes that the server has left in the socket.
    pub(crate) fn unread(&self) -> usize {
        self.unread.len()
    }

    fn run(&mut self) {
        loop {
            while let Some(request) = self.session.next_request() {
                self.serve(request);
            }
            if !self.session.wants_input() || self.unread.is_empty() {
                return;
            }
            let count = self.read_size.min(self.unread.len());
            let bytes: Vec<u8> = self.unread.drain(..count).collect();
            self.session.feed(&bytes);
        }
    }

    fn serve(&mut self, request: Request) {
        if request.name == "x-hold" {
            self.held.push_back(request.ticket);
            return;
        }
        let outcome = self.call(&request);
        self.session.respond(request.ticket, outcome);
    }

    fn call(&mut self, request: &Request) -> Outcome {
        let no_oob =
            || Error::generic(format!("The command {} does not support OOB", request.name));
        match request.name.as_str() {
            "query-yank" | "x-fill" => {}
            name if COMMANDS.contains(&name) && request.ticket.is_oob() => return Err(no_oob()),
            _ => {}
        }
        let arguments = request.arguments.clone();
        match request.name.as_str() {
            "query-name" => parse_arguments::<()>(arguments).map(|()| empty()),
            "query-version" => {
                parse_arguments::<()>(arguments).and_then(|()| Json::new(&recorded_version()))
            }
            "query-yank" | "query-block-jobs" => {
                parse_arguments::<()>(arguments).and_then(|()| Json::new::<[(); 0]>(&[]))
            }
            "stop" => {
                parse_arguments::<()>(arguments)?;
                self.session.emit(&Event::new("STOP", SystemTime::UNIX_EPOCH));
                Ok(empty())
            }
            "human-monitor-command" => parse_arguments::<HumanMonitorCommand>(arguments)
                .and_then(|args| Json::new(&args.command_line)),
            "trace-event-set-state" => unsupported::<TraceEventSetState>(arguments),
            "screendump" => unsupported::<Screendump>(arguments),
            "migrate-set-capabilities" => {
                parse_arguments::<MigrateSetCapabilities>(arguments).map(|_| empty())
            }
            "migrate-set-parameters" => unsupported::<MigrateSetParameters>(arguments),
            "x-echo" => parse_arguments::<Echo>(arguments).and_then(|args| Json::new(&args.any)),
            "x-fill" => Json::new(&json!("x".repeat(arguments["size"].as_u64().unwrap() as usize))),
            name => {
                let description = format!("The command {name} has not been found");
                Err(Error::new(ErrorClass::CommandNotFound, description))
            }
        }
    }
}

const COMMANDS: [&str; 9] = [
    "query-name",
    "query-version",
    "query-block-jobs",
    "stop",
    "human-monitor-command",
    "trace-event-set-state",
    "screendump",
    "migrate-set-capabilities",
    "migrate-set-parameters",
];

fn empty() -> Json {
    Json::new(&json!({})).expect("an object can be written")
}

/// Checks the arguments of a command whose work is not part of the tests.
fn unsupported<T: serde::de::DeserializeOwned>(arguments: executor::qmp::Arguments) -> Outcome {
    parse_arguments::<T>(arguments)?;
    Err(Error::generic("this server has nothing to do that with"))
}

#[derive(Deserialize)]
struct Echo {
    any: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct HumanMonitorCommand {
    command_line: String,
    #[serde(rename = "cpu-index")]
    _cpu_index: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only the types matter")]
struct TraceEventSetState {
    name: String,
    enable: bool,
    ignore_unavailable: Option<bool>,
    vcpu: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ImageFormat {
    Ppm,
    Png,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the types matter")]
struct Screendump {
    filename: String,
    device: Option<String>,
    head: Option<i64>,
    format: Option<ImageFormat>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Capability {
    Xbzrle,
    ZeroBlocks,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the types matter")]
struct CapabilityStatus {
    capability: Capability,
    state: bool,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the types matter")]
struct MigrateSetCapabilities {
    capabilities: Vec<CapabilityStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only the types matter")]
struct MigrateSetParameters {
    compress_level: Option<u8>,
    downtime_limit: Option<u64>,
    xbzrle_cache_size: Option<u64>,
}

//! One monitor's session, driven from bytes: what the client sends and reads, and when its commands end.
//!
//! Checked: nothing panics; each command that is sent whole is answered once, at most once if stray bytes are
//! among them, and in the order of the commands in band unless the client has enabled another; no more commands run at a
//! time than documented; unsent bytes stay within their limits; what is sent is JSON.

use std::collections::HashMap;
use std::time::SystemTime;

use executor::qmp::{
    Error, Event, Json, Request, Session, SessionOptions, Ticket, Version, VersionNumber,
};
use serde_json::{Value, json};

use super::program::Program;

/// The longest result of a command.
const REPLY: usize = 255 * 16;

/// A session between a client and a server that does what a program says.
struct Dialogue {
    session: Session,
    limit: usize,
    /// What the client has sent and the session has not taken.
    wire: Vec<u8>,
    /// How many bytes were sent.
    sent: usize,
    /// How many commands with an id were sent.
    commands: usize,
    /// Whether bytes were sent that are no command.
    has_stray: bool,
    /// Which of them are to be run in band, one after the other.
    in_band: Vec<String>,
    /// How many commands may run at a time.
    most_running: usize,
    running: Vec<Ticket>,
    received: Vec<u8>,
}

/// Checks one program.
pub fn check(data: &[u8]) {
    let mut program = Program(data);
    let mut dialogue = Dialogue::new(program.byte_or_zero());
    while let Some(step) = program.byte() {
        dialogue.step(step, &mut program);
        dialogue.check_bounds();
    }
    dialogue.end();
    dialogue.check_replies();
}

impl Dialogue {
    fn new(flags: u8) -> Self {
        let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
        let mut options = SessionOptions::new(Version { qemu, package: String::new() });
        options.offers_oob = flags & 1 != 0;
        options.offers_concurrent = flags & 2 != 0;
        options.pretty = flags & 4 != 0;
        options.output_limit = if flags & 8 != 0 { 64 } else { 4096 };
        Self {
            limit: options.output_limit,
            session: Session::new(options),
            wire: Vec::new(),
            sent: 0,
            commands: 0,
            has_stray: false,
            in_band: Vec::new(),
            most_running: 1,
            running: Vec::new(),
            received: Vec::new(),
        }
    }

    fn step(&mut self, step: u8, program: &mut Program<'_>) {
        let argument = usize::from(step >> 4);
        match step & 15 {
            0 | 1 => self.command("execute", argument),
            2 => self.command("exec-oob", argument),
            3 => self.negotiate(argument),
            4 => {
                self.has_stray = true;
                let stray = program.bytes(argument + 1).to_vec();
                self.send(&stray);
            }
            5 => {
                self.has_stray = true;
                self.send(b"{'execute': 'without-id'}");
            }
            6 => self.respond(argument, Json::new(&argument)),
            7 => self.respond(argument, Err(Error::generic("refused"))),
            8 => {
                let length = usize::from(program.byte_or_zero()) * 16;
                self.respond(argument, Json::new(&"a".repeat(length)));
            }
            9 => {
                let event = Event::new("X_EVENT", SystemTime::UNIX_EPOCH);
                let data = json!({"number": argument});
                self.session.emit(&event.with_data(&data).expect("it is JSON"));
            }
            10 => _ = self.read((argument + 1) * 16),
            11 => _ = self.read(usize::MAX),
            12 => _ = self.feed(usize::MAX),
            13 => _ = self.feed((argument + 1) * 64),
            _ => _ = self.feed(argument + 1),
        }
        self.start();
    }

    /// Sends a command with an id of its own.
    fn command(&mut self, how: &str, argument: usize) {
        let arguments = ["", ", 'arguments': {'a': [1, -2.5e3, null]}", ", 'arguments': {}"];
        let id = format!("#{}", self.commands);
        let text = match argument {
            0..12 => {
                format!("{{'{how}': 'x-{argument}', 'id': '{id}'{}}}", arguments[argument % 3])
            }
            12 => format!("{{\"id\": \"{id}\", \"{how}\": \"x\", \"bogus\": 1}}\n"),
            13 => format!("{{'id': '{id}', '{how}': 13}}"),
            14 => format!("{{'id': '{id}', 'execute': 'a', 'exec-oob': 'b'}}"),
            _ => format!("{{'id': '{id}'}}\r\n"),
        };
        if how == "execute" {
            self.in_band.push(id);
        }
        self.commands += 1;
        self.send(text.as_bytes());
    }

    fn negotiate(&mut self, argument: usize) {
        let enable = match argument {
            0..4 => "",
            4..8 => ", 'arguments': {'enable': ['oob']}",
            8..11 => ", 'arguments': {'enable': ['x-concurrent']}",
            11..13 => ", 'arguments': {'enable': ['oob', 'x-concurrent']}",
            13 => ", 'arguments': {'enable': ['bogus']}",
            14 => ", 'arguments': {'enable': 1}",
            _ => ", 'arguments': {}",
        };
        if enable.contains("x-concurrent") {
            self.most_running = 64;
        }
        let id = format!("#{}", self.commands);
        let text = format!("{{'execute': 'qmp_capabilities', 'id': '{id}'{enable}}}");
        self.in_band.push(id);
        self.commands += 1;
        self.send(text.as_bytes());
    }

    fn send(&mut self, bytes: &[u8]) {
        self.wire.extend_from_slice(bytes);
        self.sent += bytes.len();
    }

    /// Hands the session some of what was sent, if it wants it.
    fn feed(&mut self, most: usize) -> bool {
        let count = most.min(self.wire.len());
        let wanted = count > 0 && self.session.wants_input();
        if wanted {
            let bytes: Vec<_> = self.wire.drain(..count).collect();
            self.session.feed(&bytes);
        }
        wanted
    }

    /// Takes up what may run.
    fn start(&mut self) {
        while let Some(Request { ticket, .. }) = self.session.next_request() {
            assert!(self.session.unsent().len() < self.limit, "the output was full");
            self.running.push(ticket);
        }
    }

    fn respond(&mut self, which: usize, outcome: Result<Json, Error>) {
        if !self.running.is_empty() {
            let ticket = self.running.remove(which % self.running.len());
            self.session.respond(ticket, outcome);
        }
    }

    fn read(&mut self, most: usize) -> bool {
        let count = most.min(self.session.unsent().len());
        self.received.extend_from_slice(&self.session.unsent()[..count]);
        self.session.advance(count);
        count > 0
    }

    fn check_bounds(&self) {
        let in_band = self.running.iter().filter(|ticket| !ticket.is_oob()).count();
        assert!(in_band <= self.most_running, "{in_band} commands run");
        // Replies to what ran, one refusal that may quote all that was sent, and events.
        let replies = self.limit + (self.commands + 1) * (REPLY + 256) + 6 * self.sent + 512;
        let bound = replies + 2 * self.limit;
        assert!(self.session.unsent().len() <= bound, "{} bytes", self.session.unsent().len());
    }

    /// The client sends no more, and reads until there is nothing.
    fn end(&mut self) {
        loop {
            self.start();
            let fed = self.feed(usize::MAX);
            self.start();
            let responded = !self.running.is_empty();
            self.respond(0, Json::new(&()));
            if !(self.read(usize::MAX) | fed | responded) {
                break;
            }
        }
        assert!(self.wire.is_empty(), "the session stopped to read");
        assert!(self.session.wants_input(), "nothing keeps it from reading");
    }

    fn check_replies(&self) {
        assert!(self.received.is_ascii() && self.received.ends_with(b"\r\n"));
        let mut answers: HashMap<String, usize> = HashMap::new();
        let (mut order, mut is_open) = (Vec::new(), false);
        for line in serde_json::Deserializer::from_slice(&self.received).into_iter::<Value>() {
            let line = line.expect("what is sent is JSON");
            let kinds = ["QMP", "return", "error", "event"];
            assert_eq!(kinds.iter().filter(|kind| line.get(kind).is_some()).count(), 1, "{line}");
            // The first thing that a client is given is the end of the negotiation.
            is_open |= line.get("return").is_some();
            assert!(is_open || line.get("event").is_none(), "{line} before the negotiation");
            if let Some(id) = line.get("id").and_then(Value::as_str) {
                order.push(id.to_owned());
                *answers.entry(id.to_owned()).or_default() += 1;
            }
        }
        if self.has_stray {
            // Stray bytes may spell an id themselves, or eat the beginning of a command.
            return;
        }
        for number in 0..self.commands {
            let count = answers.get(&format!("#{number}")).copied().unwrap_or(0);
            assert_eq!(count, 1, "command {number} has {count} replies");
        }
        if self.most_running == 1 {
            order.retain(|id| self.in_band.contains(id));
            assert_eq!(order, self.in_band, "the order of the replies");
        }
    }
}

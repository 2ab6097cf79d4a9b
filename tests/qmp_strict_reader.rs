//! A client as strict as libvirt's: lines end with CR and LF and nothing else does, each is one object of a known
//! kind, and a reply is to the request that waits.
//!
//! It reads in small odd pieces, so every line is cut somewhere.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use commands::add_quick_commands;
use common::{LONG, TestServer};
use serde_json::{Value, json};

/// See the module's documentation.
struct StrictClient {
    stream: UnixStream,
    unread: Vec<u8>,
    next_id: usize,
    events: Vec<String>,
}

impl StrictClient {
    fn connect(server: &TestServer) -> Self {
        let stream = UnixStream::connect(&server.path).expect("the server listens");
        stream.set_read_timeout(Some(LONG)).expect("the time is not zero");
        let mut this = Self { stream, unread: Vec::new(), next_id: 1, events: Vec::new() };
        let greeting = this.read_object();
        assert!(greeting["QMP"]["version"]["qemu"]["major"].is_u64(), "{greeting}");
        assert!(greeting["QMP"]["capabilities"].is_array(), "{greeting}");
        this
    }

    /// Reads up to the end of a line, and not beyond what the last read brought.
    fn read_line(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.unread.split_off(end + 2);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.truncate(end);
                assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
                return String::from_utf8(line).expect("it is ASCII");
            }
            let mut piece = [0; 7];
            let count = self.stream.read(&mut piece).expect("the server answers");
            assert_ne!(count, 0, "the server has closed the connection");
            self.unread.extend_from_slice(&piece[..count]);
        }
    }

    /// Reads a line, which is an object of one kind.
    fn read_object(&mut self) -> Value {
        let line = self.read_line();
        let object: Value = serde_json::from_str(&line).expect("a line is a value");
        let kinds = ["QMP", "event", "return", "error"];
        let count = kinds.iter().filter(|kind| object.get(kind).is_some()).count();
        assert_eq!(count, 1, "{line}");
        object
    }

    /// Sends a request as libvirt does, and reads up to its reply.
    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let id = format!("libvirt-{}", self.next_id);
        self.next_id += 1;
        let request = json!({"execute": command, "arguments": arguments, "id": id});
        write!(self.stream, "{request}\r\n").expect("the server is there");
        loop {
            let object = self.read_object();
            let Some(event) = object["event"].as_str() else {
                assert_eq!(object["id"], json!(id), "a reply to nobody: {object}");
                return object;
            };
            assert!(object["timestamp"]["seconds"].is_u64(), "{object}");
            self.events.push(event.to_owned());
        }
    }
}

#[test]
fn a_client_that_accepts_nothing_else_gets_lines_objects_and_its_replies() {
    let server = TestServer::start(|registry, events| {
        registry.add_query_schema();
        add_quick_commands(registry, events);
    });
    let mut client = StrictClient::connect(&server);
    let mut other = StrictClient::connect(&server);

    let early = client.ask("query-commands", json!({}));
    assert_eq!(early["error"]["class"], "CommandNotFound");
    for client in [&mut client, &mut other] {
        assert_eq!(client.ask("qmp_capabilities", json!({}))["return"], json!({}));
    }
    // What has to be escaped, and what is longer than any buffer.
    for text in ["\r\n", "\u{2028}é\u{1F600}\u{7f}\u{0}", &"long ".repeat(10_000)] {
        assert_eq!(client.ask("x-echo", json!({"text": text}))["return"], text);
    }
    for _ in 0..3 {
        assert_eq!(other.ask("stop", json!({}))["return"], json!({}));
    }
    assert_eq!(client.ask("nope\r\n", json!({}))["error"]["class"], "CommandNotFound");
    let schema = client.ask("query-qmp-schema", json!({}));
    assert!(schema["return"].as_array().is_some_and(|infos| infos.len() > 5), "{schema}");

    assert_eq!(client.events, ["STOP"; 3]);
    assert_eq!(other.events, ["STOP"; 3]);
    assert!(client.unread.is_empty() && other.unread.is_empty());
}

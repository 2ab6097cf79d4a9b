//! A client as strict as libvirt's: lines end with CR and LF and nothing else does, each is one object of a known
//! kind, and a reply is to the request that waits.
//!
//! It reads in small odd pieces, so every line is cut somewhere.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::common::LONG;

/// See the module's documentation.
pub(crate) struct StrictClient {
    stream: UnixStream,
    pub(crate) unread: Vec<u8>,
    next_id: usize,
    pub(crate) events: Vec<String>,
}

impl StrictClient {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the server listens");
        stream.set_read_timeout(Some(LONG)).expect("the time is not zero");
        let mut this = Self { stream, unread: Vec::new(), next_id: 1, events: Vec::new() };
        let greeting = this.read_object();
        assert!(greeting["QMP"]["version"]["qemu"]["major"].is_u64(), "{greeting}");
        assert!(greeting["QMP"]["capabilities"].is_array(), "{greeting}");
        this
    }

    /// Reads up to the end of a line, and not beyond what the last read brought.
    fn read_line(&mut self) -> String {
        // Where the end may be: not in what was looked at.
        let mut from = 0;
        loop {
            let mut pairs = self.unread[from..].windows(2);
            if let Some(end) = pairs.position(|pair| pair == b"\r\n") {
                let end = from + end;
                let rest = self.unread.split_off(end + 2);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.truncate(end);
                assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
                return String::from_utf8(line).expect("it is ASCII");
            }
            let mut piece = [0; 7];
            let count = self.stream.read(&mut piece).expect("the server answers");
            assert_ne!(count, 0, "the server has closed the connection");
            from = self.unread.len().saturating_sub(1);
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
    pub(crate) fn ask(&mut self, command: &str, arguments: Value) -> Value {
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

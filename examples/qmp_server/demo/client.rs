//! A QMP client as simple as can be: it sends a line, and reads lines until the reply.
//!
//! Owns a connection. Uses the standard library alone, so that it proves something about the server.
//!
//! Threads: one at a time.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

/// A client that has negotiated.
pub(super) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    pub(super) fn connect(socket: &Path) -> io::Result<Self> {
        let mut client = Self { stream: BufReader::new(UnixStream::connect(socket)?) };
        let _greeting = client.read()?;
        client.call("qmp_capabilities", &json!({}))?;
        Ok(client)
    }

    /// Sends a command and waits for its reply.
    pub(super) fn call(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        self.call_and_watch(command, arguments, |_, _| ())
    }

    /// As [`call`](Self::call), and shows the events that come before the reply.
    pub(super) fn call_and_watch(
        &mut self,
        command: &str,
        arguments: &Value,
        mut watch: impl FnMut(&str, &Value),
    ) -> io::Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut message = self.read()?;
            if let Some(event) = message["event"].as_str() {
                watch(event, &message["data"]);
            } else if message["error"].is_null() {
                return Ok(message["return"].take());
            } else {
                return Err(io::Error::other(format!("{command}: {}", message["error"]["desc"])));
            }
        }
    }

    fn read(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

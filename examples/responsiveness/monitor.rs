//! A client of a QMP server that waits for each reply.
//!
//! Threads: any; each client is one thread's.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::machine::PATIENCE;

/// A session in which commands can be executed.
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Negotiates.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self { stream: BufReader::new(stream) };
        this.receive()?;
        this.ask("qmp_capabilities", &json!({}))?;
        Ok(this)
    }

    /// Executes a command, and waits for what it returns.
    pub(crate) fn ask(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut reply = self.receive()?;
            if let Some(error) = reply.get("error") {
                return Err(io::Error::other(format!("{command}: {}", error["desc"])));
            }
            // Events come at any time.
            if reply.get("return").is_some() {
                return Ok(reply["return"].take());
            }
        }
    }

    fn receive(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "QEMU has closed a monitor"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

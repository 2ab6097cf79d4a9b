//! A QMP client that waits for each reply.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// A server that says nothing for so long is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session in which commands can be executed.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    /// `exec-oob` if the server allows it.
    execute: &'static str,
    next: u64,
}

impl Client {
    /// Connects and negotiates.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self { stream: BufReader::new(stream), execute: "execute", next: 0 };
        let greeting = this.receive()?;
        let capabilities = greeting["QMP"]["capabilities"].as_array().cloned();
        let capabilities =
            capabilities.ok_or_else(|| invalid("it does not greet as a QMP server"))?;
        let oob = capabilities.contains(&json!("oob"));
        let enable = if oob { json!(["oob"]) } else { json!([]) };
        this.call("qmp_capabilities", json!({"enable": enable}))?.map_err(invalid)?;
        if oob {
            this.execute = "exec-oob";
        }
        Ok(this)
    }

    /// Executes a command. The inner error is the server's refusal.
    pub(crate) fn call(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> io::Result<Result<Value, String>> {
        self.next += 1;
        let id = json!(self.next);
        let request = json!({self.execute: command, "arguments": arguments, "id": id});
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut reply = self.receive()?;
            // Events have no id.
            if reply["id"] == id {
                return Ok(match reply.get("error") {
                    Some(error) => Err(error["desc"].as_str().unwrap_or("refused").to_owned()),
                    None => Ok(reply["return"].take()),
                });
            }
        }
    }

    fn receive(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server has closed the connection",
            ));
        }
        serde_json::from_str(&line).map_err(invalid)
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

//! A server with the commands of `examples/commands`, and clients that call them.

#![allow(dead_code, reason = "every test program uses another part")]

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::commands::files::Files;
use crate::commands::{register_extensions, register_machine};
use crate::common::{Client, TestServer, main_probe};

/// Starts the server. Its machine is called `vm`.
pub(crate) fn start() -> TestServer {
    start_with(Files::default())
}

/// Starts the server, for clients that may have these files read.
pub(crate) fn start_with(files: Files) -> TestServer {
    TestServer::start(|registry, events| {
        register_machine(registry, Some("vm".into()), events);
        register_extensions(registry, main_probe(), events, files);
    })
}

/// What a client got for a request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What came before the reply.
    pub(crate) events: Vec<Value>,
    pub(crate) reply: Value,
}

impl Answer {
    /// What the command returned.
    #[track_caller]
    pub(crate) fn value(mut self) -> Value {
        assert!(self.reply["error"].is_null(), "the command failed: {}", self.reply);
        self.reply["return"].take()
    }

    /// What the command complained about.
    #[track_caller]
    pub(crate) fn error(&self) -> &str {
        assert_eq!(self.reply["error"]["class"], "GenericError", "{}", self.reply);
        self.reply["error"]["desc"].as_str().expect("an error has a description")
    }

    pub(crate) fn event_names(&self) -> Vec<&str> {
        self.events.iter().filter_map(|event| event["event"].as_str()).collect()
    }
}

/// Sends a request, in band.
pub(crate) fn send(client: &mut Client<UnixStream>, command: &str, arguments: Value) {
    client.send(json!({"execute": command, "arguments": arguments}).to_string());
}

/// Waits for a reply, and for the events before it.
pub(crate) fn receive(client: &mut Client<UnixStream>) -> Answer {
    let mut events = Vec::new();
    loop {
        let message = client.receive();
        if message["event"].is_null() {
            return Answer { events, reply: message };
        }
        events.push(message);
    }
}

/// Calls a command in band.
pub(crate) fn call(client: &mut Client<UnixStream>, command: &str, arguments: Value) -> Answer {
    send(client, command, arguments);
    receive(client)
}

/// Calls a command out of band; other replies are not expected meanwhile.
pub(crate) fn call_oob(client: &mut Client<UnixStream>, command: &str, arguments: Value) -> Answer {
    client.send(json!({"exec-oob": command, "arguments": arguments, "id": "oob"}).to_string());
    let answer = receive(client);
    assert_eq!(answer.reply["id"], "oob");
    answer
}

/// The tasks that `x-query-tasks` finds, on one executor.
pub(crate) fn tasks(client: &mut Client<UnixStream>, executor: &str) -> Vec<Value> {
    let tasks = call(client, "x-query-tasks", json!({})).value();
    let tasks = tasks.as_array().expect("it is a list").iter();
    tasks.filter(|task| task["executor"] == executor).cloned().collect()
}

/// The id of the one task of that name, if there is one now.
pub(crate) fn task_id(client: &mut Client<UnixStream>, name: &str) -> Option<u64> {
    let tasks = tasks(client, "main");
    let mut found = tasks.iter().filter(|task| task["name"] == name);
    let id = found.next().map(|task| task["id"].as_u64().expect("an id is a number"));
    assert!(found.next().is_none(), "there are several tasks called {name}");
    id
}

/// A file that is removed at the end of the test.
pub(crate) struct TestFile {
    pub(crate) path: PathBuf,
}

impl TestFile {
    pub(crate) fn new(content: &[u8]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("data-{}-{number}", std::process::id()));
        fs::write(&path, content).expect("there is room for a file");
        Self { path }
    }

    /// A file without content of `length` bytes, which takes up no room.
    pub(crate) fn sparse(length: u64) -> Self {
        let this = Self::new(&[]);
        this.set_length(length);
        this
    }

    pub(crate) fn set_length(&self, length: u64) {
        let file = fs::File::options().write(true).open(&self.path).expect("the file is there");
        file.set_len(length).expect("a sparse file takes up no room");
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().expect("the path is text")
    }

    /// Whether this process has the file open.
    pub(crate) fn is_open(&self) -> bool {
        let fds = fs::read_dir("/proc/self/fd").expect("the kernel lists the fds");
        // An fd may be closed between the listing and the look.
        let target = |fd: fs::DirEntry| fs::read_link(fd.path()).unwrap_or_default();
        fds.flatten().any(|fd| target(fd) == Path::new(&self.path))
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let removed = fs::remove_file(&self.path);
        if !std::thread::panicking() {
            removed.expect("the file is still there");
        }
    }
}

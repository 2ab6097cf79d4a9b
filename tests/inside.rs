//! The program `qmp_server`, seen from inside: its tasks, times and traces, as a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

#[allow(dead_code, reason = "other tests look at the arrows, too")]
#[path = "common/chrome.rs"]
mod chrome;

/// A server whose client is this test. It ends with the test.
struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        let test = std::env::current_exe().expect("a test has an executable");
        let profile = test.ancestors().nth(2).expect("it is in a folder of a folder");
        let mut command = Command::new(profile.join("examples/qmp_server"));
        command.args(["--qmp", "stdio", "--iothread", "io0"]).args(options);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("run all of `cargo test`: it builds the examples");
        let input = child.stdin.take().expect("it is a pipe");
        let output = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut this = Self { child, input, output };
        assert!(this.receive()["QMP"].is_object());
        this.call("qmp_capabilities", json!({}));
        this
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the server answers");
        serde_json::from_str(&line).expect("it answers in JSON")
    }

    fn call(&mut self, command: &str, arguments: Value) -> Value {
        writeln!(self.input, "{}", json!({"execute": command, "arguments": arguments}))
            .expect("the server reads");
        let mut reply = self.receive();
        reply["return"].take()
    }

    fn quit(mut self) {
        self.call("quit", json!({}));
        assert!(self.child.wait().expect("it is our child").success());
    }
}

#[test]
fn tasks_are_listed_with_their_times() {
    let mut server = Server::start(&[]);
    let tasks = server.call("x-query-tasks", json!({}));
    let is_dispatcher = |task: &&Value| task["name"] == "qmp:dispatcher";
    let task = tasks.as_array().expect("a list").iter().find(is_dispatcher).expect("it runs");
    let account = &task["account"];
    assert_eq!(account["state"], "polled", "it is what answers");
    let number = |key: &str| account[key].as_u64().unwrap_or_else(|| panic!("{key}: {task}"));
    assert!(number("age") >= number("polled") && number("polled") >= number("longest-poll"));
    assert!(number("woken") <= number("age"));
    server.quit();
}

#[test]
fn histograms_count_each_poll_once() {
    let mut server = Server::start(&[]);
    let stats = server.call("x-executor-stats", json!({}));
    for row in stats.as_array().expect("a list") {
        let sum = |key: &str| -> u64 {
            let counts = row["times"][key].as_array().expect("a histogram");
            counts.iter().map(|count| count.as_u64().expect("a number")).sum()
        };
        let polls = row["polls"].as_u64().expect("a number");
        // The batch that is going on is counted at its end; so is its poll.
        assert!(sum("poll") <= polls + 1 && sum("queue") >= sum("poll"), "{row}");
        assert!(sum("queue") >= sum("wake"), "{row}");
        // The main loop gives up the lock each time it sleeps; the iothread never had it.
        assert_eq!(sum("bql") > 0, row["executor"] == "main", "{row}");
    }
    server.quit();
}

#[test]
fn the_watchdogs_limit_can_be_changed_while_it_watches() {
    let mut server = Server::start(&["--watchdog", "0"]);
    assert_eq!(server.call("x-watchdog", json!({})), json!({"limit-ms": 0}));
    assert_eq!(server.call("x-watchdog", json!({"limit-ms": 70})), json!({"limit-ms": 70}));
    assert_eq!(server.call("x-watchdog", json!({})), json!({"limit-ms": 70}));
    assert_eq!(server.call("x-watchdog", json!({"limit-ms": 0})), json!({"limit-ms": 0}));
    server.quit();
}

#[test]
fn sigusr1_prints_the_tasks() {
    let mut server = Server::start(&[]);
    let pid = i32::try_from(server.child.id()).expect("a process id is small");
    kill(Pid::from_raw(pid), Signal::SIGUSR1).expect("it runs");
    let stderr = BufReader::new(server.child.stderr.take().expect("it is a pipe"));
    let mut lines = stderr.lines().map(|line| line.expect("it is text"));
    assert!(lines.any(|line| line.ends_with(" tasks")));
    assert!(lines.any(|line| line.contains("qmp:dispatcher")));
    server.quit();
}

#[test]
fn a_trace_file_is_whole_after_the_end() {
    let name = format!("inside-{}.json", std::process::id());
    let path: PathBuf = std::env::temp_dir().join(name);
    let server = Server::start(&["--trace", path.to_str().expect("it is text")]);
    server.quit();
    let events = chrome::read(&path);
    assert!(!chrome::select(&events, "B", "qmp:dispatcher").is_empty());
    let main = chrome::lane(&events, "main");
    assert_ne!(chrome::lane(&events, "IO io0"), main);
    let lock = chrome::lane(&events, "Big QEMU Lock");
    let held = chrome::select(&events, "B", "main");
    assert!(held.iter().any(|event| event["tid"] == lock && event["args"]["thread"] == main));
}

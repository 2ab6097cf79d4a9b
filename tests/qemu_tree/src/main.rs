//! Asks a QEMU that was built with the executor in its tree: `qemu_tree PROGRAM FOLDER`.
//!
//! Starts it with two QMP monitors and one for people, whose sockets are in FOLDER, and checks that an async
//! command waits without keeping the main loop, that it is seen while it waits, that it is in the schema,
//! and that QEMU ends although one waits.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Nothing here takes as long, but for a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(60);
const SLEEP: Duration = Duration::from_secs(2);
const NEGOTIATE: &str = r#"{"execute": "qmp_capabilities"}"#;
const NEGOTIATE_OOB: &str = r#"{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}"#;
const EMPTY: &str = r#"{"return": {}}"#;

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [program, folder] = arguments.as_slice() else {
        eprintln!("usage: qemu_tree PROGRAM FOLDER");
        return ExitCode::FAILURE;
    };
    let mut qemu = Qemu::start(program, folder);
    let (mut first, mut second) = (qemu.connect("first"), qemu.connect("second"));
    let mut people = qemu.connect("people");
    println!("{}", first.line("QMP"));
    assert_eq!(first.ask(NEGOTIATE), EMPTY);
    second.line("QMP");
    assert_eq!(second.ask(NEGOTIATE_OOB), EMPTY);
    people.until("(qemu) ");

    it_waits_and_keeps_nobody(&mut first, &mut second, &mut people);
    it_is_in_the_schema(&mut first);
    qemu_ends_although_it_waits(&mut first, &mut second, &mut people);
    let status = qemu.0.wait().expect("it is our child");
    assert!(status.success(), "QEMU has ended with {status}");
    println!("QEMU has ended: {status}");
    ExitCode::SUCCESS
}

fn it_waits_and_keeps_nobody(first: &mut Client, second: &mut Client, people: &mut Client) {
    let asked = Instant::now();
    first.send(&sleep(SLEEP));
    println!("{}", second.sleeping_task());
    // This monitor is served by the main loop itself.
    people.send("info status");
    let status = people.until("VM status: ");
    assert!(asked.elapsed() < SLEEP, "`info status` had to wait: {status}");
    println!("info status: answered after {} ms", asked.elapsed().as_millis());
    assert!(!first.has_said_something(), "the command does not wait");
    assert_eq!(first.line("return"), EMPTY);
    assert!(asked.elapsed() >= SLEEP, "the command has not waited");
    println!("x-async-sleep: {EMPTY} after {} ms", asked.elapsed().as_millis());
}

fn it_is_in_the_schema(client: &mut Client) {
    let schema = client.ask(r#"{"execute": "query-qmp-schema"}"#);
    assert!(schema.contains(r#""name": "x-async-sleep""#), "the schema has no `x-async-sleep`");
    println!("query-qmp-schema: knows x-async-sleep");
}

fn qemu_ends_although_it_waits(first: &mut Client, second: &mut Client, people: &mut Client) {
    first.send(&sleep(Duration::from_secs(3600)));
    second.sleeping_task();
    people.send("quit");
    let refused = first.line("error");
    assert!(refused.contains("cancelled"), "{refused}");
    println!("quit: {refused}");
}

fn sleep(time: Duration) -> String {
    let ms = time.as_millis();
    format!(r#"{{"execute": "x-async-sleep", "arguments": {{"ms": {ms}}}}}"#)
}

/// A QEMU that runs, and where its sockets are.
struct Qemu(Child, PathBuf);

impl Qemu {
    fn start(program: &Path, folder: &Path) -> Qemu {
        let socket = |name| format!("unix:{},server=on,wait=off", folder.join(name).display());
        let child = Command::new(program)
            .args(["-M", "none", "-accel", "qtest", "-display", "none", "-nodefaults"])
            .args(["-qmp", &socket("first"), "-qmp", &socket("second")])
            .args(["-monitor", &socket("people")])
            .stdin(Stdio::null())
            .spawn()
            .expect("QEMU starts");
        Qemu(child, folder.to_owned())
    }

    /// Connects as soon as QEMU listens.
    fn connect(&mut self, socket: &str) -> Client {
        let begun = Instant::now();
        loop {
            if let Ok(stream) = UnixStream::connect(self.1.join(socket)) {
                stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
                return Client { stream, read: String::new() };
            }
            let ended = self.0.try_wait().expect("it is our child");
            assert!(
                ended.is_none() && begun.elapsed() < PATIENCE,
                "QEMU does not listen: {ended:?}"
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client of a monitor.
struct Client {
    stream: UnixStream,
    /// What was received and not yet taken.
    read: String,
}

impl Client {
    fn send(&mut self, line: &str) {
        writeln!(self.stream, "{line}").expect("QEMU reads");
    }

    /// Sends a command and returns the reply.
    fn ask(&mut self, command: &str) -> String {
        self.send(command);
        self.line("return")
    }

    /// Asks, in the monitor's own thread, for the tasks, until the one that sleeps is among them.
    fn sleeping_task(&mut self) -> String {
        let begun = Instant::now();
        loop {
            let tasks = self.ask(r#"{"exec-oob": "x-async-tasks"}"#);
            if tasks.contains("async-qmp") {
                return format!("x-async-tasks: {tasks}");
            }
            assert!(begun.elapsed() < PATIENCE, "no task is seen: {tasks}");
        }
    }

    /// Returns the next line that is an object with this member; others are events.
    fn line(&mut self, member: &str) -> String {
        loop {
            let line = self.until("\n").trim_end().to_owned();
            if line.starts_with(&format!(r#"{{"{member}""#)) {
                return line;
            }
            assert!(!line.starts_with(r#"{"error""#), "{line}");
        }
    }

    /// Returns what comes up to `end`, and that.
    fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.read.find(end) {
                let rest = self.read.split_off(at + end.len());
                return std::mem::replace(&mut self.read, rest);
            }
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).expect("QEMU answers in time");
            assert!(count > 0, "QEMU has closed the connection after {:?}", self.read);
            self.read.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
    }

    /// Says whether there is something to read, without waiting for it.
    fn has_said_something(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("it is a socket");
        let mut piece = [0; 4096];
        let read = self.stream.read(&mut piece);
        self.stream.set_nonblocking(false).expect("it is a socket");
        !self.read.is_empty() || !read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

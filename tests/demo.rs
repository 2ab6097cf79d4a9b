//! The program `qmp_server`: how it is started, served, ended and demonstrated, as a process of its own.
//!
//! Cargo builds the examples before it runs the tests.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(30);

/// `target/debug/examples/qmp_server`, seen from `target/debug/deps/demo-0123456789abcdef`.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a test has an executable");
    let profile = test.ancestors().nth(2).expect("it is in a folder of a folder");
    let program = profile.join("examples/qmp_server");
    assert!(program.exists(), "{} is missing: run all of `cargo test`", program.display());
    program
}

/// A folder that is removed at the end of the test.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("demo-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("the name is free");
        Self { path }
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(&self.path).expect("the folder is there").next().is_none()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that has failed has more to say than this.
        let _left = fs::remove_dir_all(&self.path);
    }
}

/// A program that is killed if its test fails.
struct Running {
    child: Child,
}

impl Running {
    fn start(arguments: &[&str], temporary: &Path) -> Self {
        let child = Command::new(program())
            .args(arguments)
            .env("TMPDIR", temporary)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        Self { child }
    }

    /// Starts a server and waits until it says where it listens.
    fn listening(arguments: &[&str], temporary: &Path) -> (Self, String) {
        let mut this = Self::start(arguments, temporary);
        let mut line = String::new();
        let stderr = this.child.stderr.take().expect("it is a pipe");
        BufReader::new(stderr).read_line(&mut line).expect("the program says something");
        let address = line.trim_end().strip_prefix("qmp_server: listening at ");
        (this, address.unwrap_or_else(|| panic!("no address: {line}")).to_owned())
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id is small");
        kill(Pid::from_raw(pid), signal).expect("the program runs");
    }

    /// Waits until the program has ended by itself.
    fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended, which is fine.
        let _ended = self.child.kill();
    }
}

/// A client, line by line.
struct Client<S: Read + Write> {
    stream: BufReader<S>,
}

impl Client<UnixStream> {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the server listens");
        stream.set_read_timeout(Some(LONG)).expect("the time is not zero");
        Self::negotiate(stream)
    }
}

impl<S: Read + Write> Client<S> {
    fn negotiate(stream: S) -> Self {
        let mut this = Self { stream: BufReader::new(stream) };
        assert!(this.receive()["QMP"].is_object());
        assert_eq!(this.call("qmp_capabilities", json!({}))["return"], json!({}));
        this
    }

    fn send(&mut self, command: &str, arguments: Value) {
        let request = json!({"execute": command, "arguments": arguments});
        self.stream.get_mut().write_all(request.to_string().as_bytes()).expect("it is there");
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the server answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Calls a command; events are not expected, except for progress.
    fn call(&mut self, command: &str, arguments: Value) -> Value {
        self.send(command, arguments);
        loop {
            let message = self.receive();
            if !matches!(
                message["event"].as_str(),
                Some("X_FILE_CHECKSUM_PROGRESS" | "JOB_STATUS_CHANGE")
            ) {
                return message;
            }
        }
    }

    /// Everything until the server closes the connection.
    fn receive_rest(&mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).expect("the server closes the connection");
        rest
    }

    /// Whether a task of that name runs.
    fn runs(&mut self, name: &str) -> bool {
        let tasks = self.call("x-query-tasks", json!({}));
        tasks["return"].as_array().expect("a list").iter().any(|task| task["name"] == name)
    }
}

/// Asks again and again until it is so.
fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "not within half a minute: {what}");
        std::thread::yield_now();
    }
}

fn run(arguments: &[&str]) -> Output {
    let folder = Folder::new();
    let mut running = Running::start(arguments, &folder.path);
    drop(running.child.stdin.take());
    let mut output =
        Output { status: ExitStatus::default(), stdout: Vec::new(), stderr: Vec::new() };
    let (stdout, stderr) = (running.child.stdout.take(), running.child.stderr.take());
    stdout.expect("a pipe").read_to_end(&mut output.stdout).expect("the pipe is well");
    stderr.expect("a pipe").read_to_end(&mut output.stderr).expect("the pipe is well");
    output.status = running.wait();
    assert!(folder.is_empty(), "the program left something behind");
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it is text")
}

#[test]
fn help_tells_every_option() {
    let output = run(&["--help"]);

    assert!(output.status.success());
    let options = ["--qmp <ADDRESS>", "--iothread <ID>", "--name <NAME>", "--pretty", "unix:PATH"];
    for option in options.into_iter().chain(["--files <FOLDER>"]) {
        assert!(text(&output.stdout).contains(option), "{option}: {}", text(&output.stdout));
    }
}

#[test]
fn a_wrong_command_line_is_told_and_fails() {
    let cases = [
        (&["--qmp", "udp:1"][..], "expected `unix:PATH`, `tcp:HOST:PORT` or `stdio`"),
        (
            &["--qmp", "unix:/no/such/folder/qmp.sock"],
            "unix:/no/such/folder/qmp.sock: No such file",
        ),
        (&["--qmp", "stdio", "--qmp", "stdio"], "standard input has a monitor already"),
        (&["--qmp", "stdio", "--iothread", "0"], "iothread '0': Parameter 'id' expects"),
        (
            &["--qmp", "stdio", "--files", "/no/such/folder"],
            "--files /no/such/folder: No such file",
        ),
    ];
    for (arguments, expected) in cases {
        let output = run(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
}

#[test]
fn a_session_on_standard_input_ends_with_quit() {
    let folder = Folder::new();
    let options = ["--qmp", "stdio", "--name", "me", "--iothread", "io0"];
    let mut server = Running::start(&options, &folder.path);
    let commands = [
        "{'execute': 'qmp_capabilities'}",
        "{'execute': 'query-name'}",
        "{'execute': 'query-iothreads'}",
        "{'execute': 'quit'}",
    ];

    let mut input = server.child.stdin.take().expect("it is a pipe");
    input.write_all(commands.join("\n").as_bytes()).expect("the server reads");
    let mut output = String::new();
    let stdout = server.child.stdout.take();
    stdout.expect("a pipe").read_to_string(&mut output).expect("the server writes");

    assert!(server.wait().success());
    let lines: Vec<Value> =
        output.split("\r\n").filter(|line| !line.is_empty()).map(|l| l.parse().unwrap()).collect();
    let [greeting, capabilities, name, iothreads, shutdown, quit] = &lines[..] else {
        panic!("other lines than expected: {output}");
    };
    assert!(greeting["QMP"].is_object());
    assert_eq!(capabilities["return"], json!({}));
    assert_eq!(name["return"], json!({"name": "me"}));
    assert_eq!(iothreads["return"][0]["id"], "io0");
    assert_eq!(shutdown["data"], json!({"guest": false, "reason": "host-qmp-quit"}));
    assert_eq!(quit["return"], json!({}));
}

#[test]
fn pretty_lines_are_laid_out() {
    let folder = Folder::new();
    let mut server = Running::start(&["--qmp", "stdio", "--pretty"], &folder.path);
    let mut input = server.child.stdin.take().expect("it is a pipe");
    input.write_all(b"{'execute': 'qmp_capabilities'} {'execute': 'quit'}").expect("it reads");

    let mut output = String::new();
    let stdout = server.child.stdout.take();
    stdout.expect("a pipe").read_to_string(&mut output).expect("the server writes");

    assert!(server.wait().success());
    assert!(output.contains("\n    \"QMP\": {"), "{output}");
}

#[test]
fn quit_ends_the_server_and_removes_its_socket() {
    let folder = Folder::new();
    let path = folder.path.join("qmp.sock");
    let option = format!("unix:{}", path.display());
    let (server, address) = Running::listening(&["--qmp", &option], &folder.path);
    assert_eq!(address, option);

    let (mut client, mut other) = (Client::connect(&path), Client::connect(&path));
    client.send("quit", json!({}));

    let rest = client.receive_rest();
    assert!(rest.contains("\"SHUTDOWN\"") && rest.ends_with("{\"return\": {}}\r\n"), "{rest}");
    assert!(other.receive_rest().contains("\"SHUTDOWN\""));
    assert!(server.wait().success());
    assert!(folder.is_empty(), "the socket is still there");
}

#[test]
fn a_tcp_client_is_served_at_the_port_that_is_told() {
    let folder = Folder::new();
    let (server, address) = Running::listening(&["--qmp", "tcp:127.0.0.1:0"], &folder.path);
    let place = address.strip_prefix("tcp:").expect("it is what was asked for");

    let mut client = Client::negotiate(TcpStream::connect(place).expect("the server listens"));
    assert_eq!(client.call("query-status", json!({}))["return"]["running"], true);
    client.send("quit", json!({}));

    assert!(client.receive_rest().contains("host-qmp-quit"));
    assert!(server.wait().success());
}

/// A server with an iothread, and a client whose checksum takes for ever.
fn start_endless(folder: &Folder) -> (Running, PathBuf, Client<UnixStream>) {
    let path = folder.path.join("qmp.sock");
    let option = format!("unix:{}", path.display());
    let options = ["--qmp", &option, "--iothread", "io0"];
    let (server, _) = Running::listening(&options, &folder.path);
    let data = folder.path.join("data");
    let file = fs::File::create(&data).expect("the folder is ours");
    file.set_len(1 << 40).expect("a sparse file takes up no room");

    let mut client = Client::connect(&path);
    client.send("x-file-checksum", json!({"filename": data, "iothread": "io0"}));
    while client.receive()["event"] != "X_FILE_CHECKSUM_PROGRESS" {}
    fs::remove_file(&data).expect("the file is there");
    (server, path, client)
}

#[test]
fn a_signal_ends_the_server_in_good_order_also_while_a_command_runs() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = Folder::new();
        let (server, path, mut busy) = start_endless(&folder);
        let mut idle = Client::connect(&path);

        server.signal(signal);

        let shutdown = r#"{"guest": false, "reason": "host-signal"}"#;
        assert!(idle.receive_rest().contains(shutdown));
        assert!(busy.receive_rest().contains(shutdown));
        assert!(server.wait().success());
        assert!(folder.is_empty(), "the socket is still there");
    }
}

#[test]
fn a_client_that_goes_takes_its_command_along() {
    const CHECKSUM: &str = "qmp:x-file-checksum";

    let folder = Folder::new();
    let (server, path, busy) = start_endless(&folder);
    let mut other = Client::connect(&path);
    assert!(other.runs(CHECKSUM));

    drop(busy);

    wait_until("the command has gone", || !other.runs(CHECKSUM));
    let fds = format!("/proc/{}/fd", server.child.id());
    let is_data = |fd: fs::DirEntry| {
        // It was removed, so its name has a note behind it.
        let target = fs::read_link(fd.path()).unwrap_or_default();
        target.to_string_lossy().contains("/data (deleted)")
    };
    let is_closed = || !fs::read_dir(&fds).expect("it runs").flatten().any(is_data);
    wait_until("the file is closed", is_closed);
    other.send("quit", json!({}));
    assert!(server.wait().success());
}

#[test]
fn the_demonstration_succeeds_and_leaves_nothing_behind() {
    let output = run(&[]);

    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for part in ["A → x-file-checksum sha256 in io0", "p99", "io1", "All digests are right."] {
        assert!(said.contains(part), "`{part}` is missing: {said}");
    }
}

#[test]
fn an_interrupted_demonstration_leaves_nothing_behind() {
    let folder = Folder::new();
    let mut demo = Running::start(&[], &folder.path);
    let mut line = String::new();
    let mut stdout = BufReader::new(demo.child.stdout.take().expect("it is a pipe"));
    stdout.read_line(&mut line).expect("the program says something");
    assert!(!folder.is_empty(), "the socket is not there");

    demo.signal(Signal::SIGINT);

    let mut why = String::new();
    let stderr = demo.child.stderr.take();
    stderr.expect("a pipe").read_to_string(&mut why).expect("the pipe is well");
    assert_eq!(why, "qmp_server: interrupted; cleaned up\n");
    assert!(!demo.wait().success());
    assert!(folder.is_empty(), "the demonstration left its folder behind");
}

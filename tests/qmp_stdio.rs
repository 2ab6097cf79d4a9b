//! A monitor on standard input and output: this program starts itself as the server.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use commands::add_quick_commands;
use common::{TestServer, socket_path, wait_until};
use executor::qmp::Address;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

const NEGOTIATE: &str = "{'execute': 'qmp_capabilities'}\n";
const PING: &str = "{'execute': 'x-ping'}\n";

#[test]
#[ignore = "the server that the other tests start"]
fn serve() {
    let server = TestServer::start(add_quick_commands);
    server.listen(Address::Stdio).expect("standard input has no monitor yet");
    let again = server.listen(Address::Stdio).expect_err("standard input has a monitor");
    assert_eq!(again.to_string(), "stdio: standard input has a monitor already");
    wait_until("the client is gone", || server.clients() == 0);
}

fn start(input: impl Into<Stdio>, output: impl Into<Stdio>) -> Child {
    let program = std::env::current_exe().expect("the program has a path");
    Command::new(program)
        .args(["--exact", "serve", "--ignored", "--nocapture"])
        .stdin(input)
        .stdout(output)
        .spawn()
        .expect("the program can be started")
}

/// The two ends of a pipe that a child does not get unless it is given one.
fn pipe() -> nix::Result<(File, File)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}

/// What the monitor has written, among what the test harness of the server writes.
fn replies(output: &str) -> Vec<&str> {
    let begin = output.find("{\"QMP\"").expect("the monitor greets");
    output[begin..].split_inclusive('\n').take_while(|line| line.starts_with('{')).collect()
}

fn read_until(output: &mut BufReader<File>, end: &str) {
    let mut line = String::new();
    while !line.ends_with(end) {
        line.clear();
        let count = output.read_line(&mut line).expect("the pipe is well");
        assert!(count > 0, "the server has ended without {end:?}");
    }
}

#[test]
fn pipes_are_served_until_the_end_of_the_input_in_the_mode_they_have() {
    let (input, mut to_server) = pipe().expect("an fd is left");
    let (from_server, output) = pipe().expect("an fd is left");
    let shared = input.try_clone().expect("an fd is left");
    let mut server = start(input, output);
    let mut from_server = BufReader::new(from_server);

    to_server.write_all(NEGOTIATE.as_bytes()).expect("the server is there");
    read_until(&mut from_server, "{\"return\": {}}\r\n");
    let mode = fcntl(&shared, FcntlArg::F_GETFL).expect("the fd is open");
    assert!(!OFlag::from_bits_retain(mode).contains(OFlag::O_NONBLOCK));
    to_server.write_all(PING.as_bytes()).expect("the server is there");
    read_until(&mut from_server, "{\"return\": \"pong\"}\r\n");
    drop(to_server);

    assert!(server.wait().expect("it is our child").success());
}

#[test]
fn more_than_a_pipe_holds_goes_through() {
    let (input, mut to_server) = pipe().expect("an fd is left");
    let (from_server, output) = pipe().expect("an fd is left");
    let mut server = start(input, output);
    let mut from_server = BufReader::new(from_server);
    let long = "a".repeat(1_000_000);
    let echo = format!("{{'execute': 'x-echo', 'arguments': {{'text': '{long}'}}}}");

    let writing = std::thread::spawn(move || {
        to_server.write_all(NEGOTIATE.as_bytes()).expect("the server is there");
        to_server.write_all(echo.as_bytes()).expect("the server is there");
    });
    read_until(&mut from_server, &format!("{{\"return\": \"{long}\"}}\r\n"));

    writing.join().expect("everything was read");
    assert!(server.wait().expect("it is our child").success());
}

#[test]
fn files_are_served_from_beginning_to_end() {
    let (input, output) = (socket_path(), socket_path());
    fs::write(&input, NEGOTIATE.to_owned() + &PING.repeat(1000)).expect("the folder is writable");
    let open = || -> std::io::Result<_> { Ok((File::open(&input)?, File::create(&output)?)) };
    let (from, to) = open().expect("the files are ours");

    assert!(start(from, to).wait().expect("it is our child").success());

    let text = fs::read_to_string(&output).expect("the file is ours");
    let replies = replies(&text);
    assert_eq!(replies.len(), 1002);
    assert_eq!(replies[1], "{\"return\": {}}\r\n");
    assert!(replies[2..].iter().all(|reply| *reply == "{\"return\": \"pong\"}\r\n"));
    for path in [input, output] {
        fs::remove_file(path).expect("the file is ours");
    }
}

#[test]
fn an_input_that_is_empty_is_greeted() {
    let (from_server, output) = pipe().expect("an fd is left");
    let mut server = start(Stdio::null(), output);

    let text = std::io::read_to_string(from_server).expect("the pipe is well");

    assert_eq!(replies(&text).len(), 1);
    assert!(server.wait().expect("it is our child").success());
}

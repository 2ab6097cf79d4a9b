//! The clients of the Python package `qemu.qmp` are served well: `qmp-shell`, `qmp-shell-wrap`.
//!
//! See `common/python_clients.rs` for where they are. `tests/clients` drives these and others against whole programs,
//! QEMU among them.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/pty.rs"]
mod pty;
#[path = "common/python_clients.rs"]
mod python_clients;

use std::env;
use std::path::PathBuf;
use std::process::Command;

use commands::{add_panics, add_quick_commands};
use common::{TestServer, command_tasks, open_fds, wait_until};
use executor::qmp::Address;
use pty::Pty;
use python_clients::{find, type_into};

fn start() -> TestServer {
    TestServer::start(|registry, events| {
        registry.add_human_monitor();
        add_quick_commands(registry, events);
        add_panics(registry);
    })
}

/// The empty line asks for events.
const LINES: &str = "\
    x-echo text=hello\n\
    x-ping\n\
    x-panic-in-loop\n\
    x-echo\n\
    no-such-command\n\
    stop\n\
    \n\
    x-echo text=goodbye\n";

fn check(printed: &str) {
    let expected = [
        "Connected to QEMU 0.1.0",
        "\"return\": \"hello\"",
        "\"return\": \"pong\"",
        "as planned, in the loop",
        "Parameter 'text' is missing",
        "The command no-such-command has not been found",
        "STOP",
        "\"return\": \"goodbye\"",
    ];
    let mut rest = printed;
    for text in expected {
        let Some((_, after)) = rest.split_once(text) else {
            panic!("{text:?} is not printed, or out of turn: {printed}")
        };
        rest = after;
    }
}

#[test]
fn qmp_shell_talks_to_the_server_over_a_unix_socket() {
    let Some(shell) = find("qmp-shell") else { return };
    let server = start();
    let _first = server.client();
    let before = open_fds();
    let path = server.path.to_str().expect("the path is ASCII");

    check(&type_into(&shell, &[], path, LINES));

    wait_until("the client is gone", || server.clients() == 1);
    wait_until("its commands are gone", || command_tasks() == 0);
    assert_eq!(open_fds(), before);
}

#[test]
fn qmp_shell_talks_to_the_server_over_tcp() {
    let Some(shell) = find("qmp-shell") else { return };
    let server = start();
    server.listen(Address::Tcp("127.0.0.1:0".into())).expect("the kernel has a port");
    let addresses = server.with(|server| server.local_addresses());
    let Some(Address::Tcp(place)) = addresses.last() else { panic!("{addresses:?}") };

    let printed = type_into(&shell, &["-v"], place, LINES);

    check(&printed);
    assert!(printed.contains("\"execute\": \"x-ping\""), "requests are shown: {printed}");
}

#[test]
fn qmp_shell_is_a_human_monitor() {
    let Some(shell) = find("qmp-shell") else { return };
    let server = start();
    let path = server.path.to_str().expect("the path is ASCII");
    let lines = "x-echo hello\nx-ping\nx-echo\nno-such-command\ninfo commands\ncpu 7\n";

    let printed = type_into(&shell, &["-H"], path, lines);

    let expected = [
        "Welcome to the HMP shell!",
        "hello\r\n",
        "pong\r\n",
        "Error: Parameter 'text' is missing\r\n",
        "unknown command: 'no-such-command'\r\n",
        "x-panic-in-loop\r\n",
        "bad CPU index",
    ];
    let found = expected.iter().try_fold(&*printed, |rest, text| Some(rest.split_once(text)?.1));
    assert!(found.is_some(), "{printed}");
}

#[test]
fn qmp_shell_completes_commands_and_subjects() {
    let Some(shell) = find("qmp-shell") else { return };
    let server = start();
    let mut command = Command::new(shell);
    command.arg("-H").arg(&server.path).env("HOME", env::temp_dir()).env("TERM", "dumb");
    let mut shell = Pty::start(&mut command);

    // What the server sends ends with "\r\n", of which the terminal makes "\r\r\n".
    for (typed, completed) in [
        ("x-ec\t", "x-echo"),
        (" hello\n", "hello\r\r\n"),
        ("info comm\t", "info commands"),
        ("\n", "x-panic-in-task"),
        ("help x-pi\t", "help x-ping"),
        ("\n", "x-ping\r\r\n"),
    ] {
        shell.type_in(typed);
        shell.wait_for(completed);
    }
    let (status, printed) = shell.end("\x04");
    assert!(status.success(), "{status}: {printed}");
}

/// `target/debug/examples/qmp_server`, seen from `target/debug/deps/qmp_shell-0123456789abcdef`.
fn server_program() -> PathBuf {
    let test = env::current_exe().expect("a test has an executable");
    let profile = test.ancestors().nth(2).expect("it is in a folder of a folder");
    let program = profile.join("examples/qmp_server");
    assert!(program.exists(), "{} is missing: run all of `cargo test`", program.display());
    program
}

#[test]
fn qmp_shell_wrap_starts_the_server_and_ends_with_it() {
    let Some(wrap) = find("qmp-shell-wrap") else { return };
    // Others count fds: it is this test's turn.
    let _turn = start();
    let folder = env::temp_dir().join(format!("wrap-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("the name is free");
    let mut command = Command::new(wrap);
    // It makes its socket in the folder where it is.
    command.current_dir(&folder).env("HOME", &folder).env("TERM", "dumb");
    command.arg("--").arg(server_program()).args(["--name", "wrapped"]);
    let mut shell = Pty::start(&mut command);

    shell.wait_for("Connected");
    shell.type_in("query-name\n");
    shell.wait_for("\"name\": \"wrapped\"");
    shell.type_in("quit\n");
    shell.wait_for("\"return\": {}");
    // The shell does not like that its server has gone, as it does not with a QEMU.
    shell.end("\x04");

    std::fs::remove_dir_all(&folder).expect("the folder is still there");
}

//! `human-monitor-command`: every command, called by hand.

#[allow(dead_code, reason = "the server's program uses the rest")]
#[path = "../examples/commands/mod.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/commands.rs"]
mod session;

use std::os::unix::net::UnixStream;

use commands::files::Files;
use commands::{register_extensions, register_machine};
use common::{Client, TestServer, command_tasks, main_probe, wait_until};
use serde_json::json;
use session::{Answer, TestFile, call};

fn start() -> TestServer {
    TestServer::start(|registry, events| {
        registry.add_human_monitor();
        register_machine(registry, Some("vm".into()), events);
        register_extensions(registry, main_probe(), events, Files::default());
    })
}

fn run(client: &mut Client<UnixStream>, line: &str) -> Answer {
    call(client, "human-monitor-command", json!({"command-line": line}))
}

/// What a line prints.
fn print(client: &mut Client<UnixStream>, line: &str) -> String {
    run(client, line).value().as_str().expect("it is text").to_owned()
}

#[test]
fn help_lists_every_command_with_its_parameters() {
    let server = start();
    let mut client = server.client();
    let names = call(&mut client, "query-commands", json!({})).value();

    let help = print(&mut client, "help");

    let listed: Vec<_> = help.split_terminator("\r\n").collect();
    let begins = |name: &str| listed.iter().any(|line| line.split(' ').next() == Some(name));
    for name in names.as_array().unwrap().iter().filter_map(|info| info["name"].as_str()) {
        let by_hand = !["qmp_capabilities", "human-monitor-command"].contains(&name);
        assert_eq!(begins(name), by_hand, "{name}: {help}");
    }
    let checksum = "x-file-checksum [filename] [algorithm] [offset] [length] [iothread] [fdname] \
        -- compute the checksum of a file";
    assert!(listed.contains(&checksum), "{help}");
    assert_eq!(print(&mut client, "help x-file-checksum"), format!("{checksum}\r\n"));
    assert_eq!(print(&mut client, "? stop"), "stop -- stop the guest\r\n");
}

#[test]
fn info_is_the_query_of_that_name() {
    let server = start();
    let mut client = server.client();
    call(&mut client, "object-add", json!({"qom-type": "iothread", "id": "io5"})).value();

    let version = print(&mut client, "info version");
    let iothreads = print(&mut client, "info iothreads");
    let tasks = print(&mut client, "info tasks");

    assert!(version.starts_with("qemu:\r\n  micro: 0\r\n  minor: 1\r\n"), "{version}");
    let [heading, row] = iothreads.lines().collect::<Vec<_>>()[..] else { panic!("{iothreads}") };
    assert!(heading.starts_with("id   thread-id  poll-max-ns"), "{iothreads}");
    assert!(row.starts_with("io5  "), "{iothreads}");
    assert!(tasks.contains("qmp:human-monitor-command"), "{tasks}");
    assert_eq!(print(&mut client, "info"), print(&mut client, "help info"));
    assert!(
        print(&mut client, "info").contains("info tasks -- show the tasks of all executors\r\n")
    );
    call(&mut client, "object-del", json!({"id": "io5"})).value();
}

#[test]
fn a_command_of_any_mode_is_called_by_hand() {
    let server = start();
    let mut client = server.client();
    let file = TestFile::new(b"abc");

    let sum = print(&mut client, &format!("x-file-checksum {} sha256", file.path()));
    let stopped = run(&mut client, "stop");
    let status = print(&mut client, "query-status");
    let resumed = run(&mut client, "cont");

    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert!(sum.starts_with(&format!("digest: {digest}\r\nalgorithm: sha256\r\nbytes: 3\r\n")));
    assert_eq!(stopped.event_names(), ["STOP"]);
    assert_eq!(stopped.value(), "");
    assert_eq!(status, "status: paused\r\nrunning: off\r\n");
    assert_eq!(resumed.event_names(), ["RESUME"]);
    assert!(print(&mut client, "x-executor-stats").starts_with("executor  live  spawned"));
}

#[test]
fn what_is_wrong_is_told_in_the_text() {
    let server = start();
    let mut client = server.client();
    let cases = [
        ("", ""),
        ("nope 1", "unknown command: 'nope'\r\n"),
        ("info nope", "unknown command: 'info nope'\r\n"),
        ("help nope", "unknown command: 'nope'\r\n"),
        ("help info nope", "unknown command: 'info nope'\r\n"),
        ("human-monitor-command stop", "unknown command: 'human-monitor-command'\r\n"),
        ("object-del", "Error: Parameter 'id' is missing\r\n"),
        ("object-del io9", "Error: object 'io9' not found\r\n"),
        ("stop now", "Error: stop: extraneous characters at the end of line\r\n"),
        ("x-task-cancel many", "Error: Parameter 'id' expects uint64\r\n"),
    ];
    for (line, expected) in cases {
        assert_eq!(print(&mut client, line), expected, "{line}");
    }
    let refused =
        call(&mut client, "human-monitor-command", json!({"command-line": "stop", "cpu-index": 1}));
    assert_eq!(refused.error(), "Parameter 'cpu-index' expects a CPU number");
}

#[test]
fn a_command_that_was_called_by_hand_goes_with_its_client() {
    let server = start();
    let mut client = server.client();

    client.send(
        r#"{"execute": "human-monitor-command", "arguments": {"command-line": "x-sleep 1000"}}"#,
    );
    wait_until("the command runs", || command_tasks() == 1);
    drop(client);

    wait_until("the command has gone", || command_tasks() == 0);
}

//! The plugin's own QMP server inside QEMU: what it does that QEMU's monitors do not.
//!
//! See `common/qemu.rs` for which QEMUs are tested.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu.rs"]
mod qemu;

use common::wait_until;
use qemu::{Qemu, error, with_each_qemu};
use serde_json::{Value, json};

#[test]
fn commands_of_one_client_run_at_the_same_time_if_it_asks_for_that() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let mut client = qemu.ours_with("x-concurrent");
        let mut observer = qemu.ours();
        let forever = json!({ "seconds": 100_000 });
        for id in ["one", "two"] {
            client.send_json(&json!({ "execute": "x-sleep", "arguments": forever, "id": id }));
        }
        wait_until("the commands run", || observer.tasks_of("x-sleep").len() == 2);
        // QEMU's own take turns: the replies keep the order of the requests.
        for id in 0..20 {
            client.send_json(&json!({ "execute": "query-status", "id": id }));
        }
        for id in 0..20 {
            assert_eq!(client.receive()["id"], id);
        }
        for (task, id) in observer.tasks_of("x-sleep").into_iter().zip(["one", "two"]) {
            observer.ok("x-task-cancel", &json!({ "id": task }));
            let mut cancelled = error("The command was cancelled");
            cancelled["id"] = Value::from(id);
            assert_eq!(client.receive(), cancelled);
        }
        observer.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn commands_of_qemu_that_look_into_their_monitor_are_refused() {
    const FD: &str = "takes a file descriptor from a monitor of QEMU's own, which this is not";
    const STATE: &str = "is about a monitor of QEMU's own, which this is not";
    let fd_channel = json!({ "transport": "socket", "type": "fd", "str": "name" });
    let cases = [
        ("getfd", json!({ "fdname": "name" }), FD),
        ("closefd", json!({ "fdname": "name" }), FD),
        ("add-fd", json!({}), FD),
        ("add_client", json!({ "protocol": "vnc", "fdname": "name" }), FD),
        ("migrate", json!({ "uri": "fd:name" }), FD),
        ("migrate", json!({ "channels": [{ "channel-type": "main", "addr": fd_channel }] }), FD),
        ("dump-guest-memory", json!({ "paging": false, "protocol": "fd:name" }), FD),
        ("inject-nmi", json!({}), STATE),
    ];
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &["-M", "pc"]);
        let mut ours = qemu.ours();
        for (name, arguments, why) in &cases {
            let refused = error(&format!("The command {name} {why}"));
            assert_eq!(ours.ask(name, arguments), refused);
        }
        ours.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn other_commands_of_qemu_take_the_number_of_a_file_descriptor_and_no_name() {
    let fd_socket = json!({ "type": "fd", "data": { "str": "name" } });
    let backend = json!({ "type": "socket", "data": { "addr": fd_socket } });
    let cases = [
        ("chardev-add", json!({ "id": "c", "backend": backend })),
        ("nbd-server-start", json!({ "addr": fd_socket })),
        ("netdev_add", json!({ "type": "tap", "id": "t", "fd": "name" })),
        ("migrate-incoming", json!({ "uri": "fd:name" })),
    ];
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &["-M", "pc", "-incoming", "defer"]);
        let mut ours = qemu.ours();
        for (name, arguments) in &cases {
            let reply = ours.ask(name, arguments);
            let why = reply["error"]["desc"].as_str().expect("it fails");
            assert!(why.contains("name"), "{name}: {why}");
        }
        ours.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn the_list_of_commands_has_those_of_qemu_and_ours_once_each() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",commands=x-sleep", &[]);
        let names = |reply: Value| {
            let commands = reply.as_array().expect("it is a list").iter();
            let names = commands.map(|command| command["name"].as_str().expect("a string"));
            let mut names: Vec<_> = names.map(str::to_owned).collect();
            names.sort();
            names
        };
        let theirs = names(qemu.first().ok("query-commands", &json!({})));
        let ours = names(qemu.ours().ok("query-commands", &json!({})));
        // QEMU was given one of ours.
        let extra = ["x-executor-stats", "x-file-checksum", "x-query-tasks", "x-task-cancel"];
        let mut expected = [theirs, extra.map(str::to_owned).to_vec()].concat();
        expected.sort();
        assert_eq!(ours, expected);
    });
}

//! The plugin's own QMP server inside QEMU: what it does that QEMU's monitors do not.
//!
//! See `common/qemu.rs` for which QEMUs are tested.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/passed_fds.rs"]
mod passed_fds;
#[path = "common/qemu.rs"]
mod qemu;

use std::fs;

use common::wait_until;
use passed_fds::pass;
use qemu::{Folder, Monitor, Qemu, error, with_each_qemu};
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
fn a_file_that_a_client_of_our_server_passes_is_for_our_commands() {
    with_each_qemu(|program| {
        let folder = Folder::new();
        fs::write(folder.file("data"), "123456789").expect("there is room for a file");
        let qemu = Qemu::start(program, "", &[]);
        let (mut ours, mut theirs) = (qemu.ours(), qemu.first());
        let get = json!({ "execute": "getfd", "arguments": { "fdname": "data" } });
        let checksum = json!({ "fdname": "data", "algorithm": "crc32c" });
        for (monitor, found) in [(&mut ours, true), (&mut theirs, false)] {
            let file = fs::File::open(folder.file("data")).expect("it is there");
            pass(monitor.stream(), &get.to_string(), vec![file.into()]);
            assert_eq!(monitor.receive(), json!({ "return": {} }));
            if found {
                assert_eq!(monitor.ok("x-file-checksum", &checksum)["digest"], "e3069283");
            }
            let gone = error("File descriptor named 'data' not found");
            assert_eq!(monitor.ask("x-file-checksum", &checksum), gone);
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
        let extra = [
            "x-blockdev-checksum",
            "x-blockdev-compare",
            "x-executor-stats",
            "x-file-checksum",
            "x-query-tasks",
            "x-task-cancel",
            "x-watchdog",
        ];
        let mut expected = [theirs, extra.map(str::to_owned).to_vec()].concat();
        expected.sort();
        assert_eq!(ours, expected);
    });
}

/// An event without its time, which two monitors' copies share.
fn what(event: &Value) -> (Value, Value) {
    (event["event"].clone(), event["data"].clone())
}

#[test]
fn clients_of_our_server_hear_what_those_of_qemu_hear() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &["-M", "pc", "-S"]);
        let (mut theirs, mut ours, mut asking) = (qemu.second(), qemu.ours(), qemu.ours());
        let commands = ["cont", "stop", "cont", "system_reset"];
        let events = ["RESUME", "STOP", "RESUME", "RESET"];
        for (command, event) in commands.into_iter().zip(events) {
            asking.ok(command, &json!({}));
            let heard = [theirs.wait_for_event(event), ours.wait_for_event(event)];
            assert_eq!(heard[0], heard[1]);
        }
        asking.ok("quit", &json!({}));
        let heard = [theirs.wait_for_event("SHUTDOWN"), ours.wait_for_event("SHUTDOWN")];
        assert_eq!(what(&heard[0]), what(&heard[1]));
        qemu.expect_success();
    });
}

#[test]
fn whoever_has_the_reply_to_a_command_of_qemu_has_its_event() {
    fn next_two(client: &mut Monitor) -> [bool; 2] {
        [client.receive_line(), client.receive_line()].map(|line| line.get("event").is_some())
    }
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let mut ours = qemu.ours();
        // The forwarder has been let in when the first event arrives.
        ours.ok("stop", &json!({}));
        ours.ok("cont", &json!({}));
        ours.ok("x-sleep", &json!({ "seconds": 0.1 }));
        for command in ["stop", "cont"].repeat(20) {
            ours.send(command, &json!({}));
            assert_eq!(next_two(&mut ours), [true, false], "{command}");
        }
        ours.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

/// The trace without the times.
fn traced(path: &std::path::Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let what = |line: &str| {
        let (_, what) = line.split_once("] ").expect("a line begins with the time");
        what.split(" after ").next().expect("it has a beginning").to_owned()
    };
    text.lines().map(what).collect()
}

#[test]
fn a_trace_says_when_commands_begin_and_how_they_end() {
    with_each_qemu(|program| {
        let folder = Folder::new();
        let path = folder.file("trace");
        let arguments = format!(",selftest=on,trace={}", path.display());
        let qemu = Qemu::start(program, &arguments, &[]);
        let (mut theirs, mut ours) = (qemu.first(), qemu.ours());
        wait_until("the guest runs", || traced(&path).contains(&"the guest runs".into()));
        let before = traced(&path).len();

        theirs.ok("x-sleep", &json!({ "ns": 1 }));
        theirs.ask("x-sleep", &json!({}));
        ours.ask("x-selftest-panic-coroutine", &json!({}));
        ours.ok("query-name", &json!({}));
        ours.ok("stop", &json!({}));
        wait_until("the guest stops", || traced(&path).contains(&"the guest stops".into()));

        let mut lines = traced(&path).split_off(before);
        lines.retain(|line| line != "the guest stops");
        let expected = [
            "x-sleep begins",
            "x-sleep ends",
            "x-sleep begins",
            "x-sleep fails",
            "x-selftest-panic-coroutine begins",
            "x-selftest-panic-coroutine panics",
            "query-name begins",
            "query-name ends",
            "stop begins",
            "stop ends",
        ];
        assert_eq!(lines, expected);
        ours.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn a_trace_tells_of_a_client_that_hangs_up() {
    with_each_qemu(|program| {
        let folder = Folder::new();
        let path = folder.file("trace");
        let qemu = Qemu::start(program, &format!(",trace={}", path.display()), &[]);
        let mut client = qemu.ours();
        client.send("x-sleep", &json!({ "seconds": 100_000 }));
        wait_until("it begins", || traced(&path).contains(&"x-sleep begins".into()));
        drop(client);
        wait_until("it ends", || traced(&path).contains(&"x-sleep is cancelled".into()));
    });
}

#[test]
fn a_task_waits_until_the_guest_runs_and_until_it_stops() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",selftest=on", &["-S"]);
        let (mut waiting, mut ours) = (qemu.ours(), qemu.ours());
        let name = "x-selftest-await-guest";
        for (runs, command) in [(true, "cont"), (false, "stop")].repeat(20) {
            waiting.send(name, &json!({ "runs": runs }));
            wait_until("the task waits", || ours.tasks_of(name).len() == 1);
            ours.ok(command, &json!({}));
            assert_eq!(waiting.receive(), json!({ "return": runs }));
            assert_eq!(waiting.ok(name, &json!({ "runs": runs })), runs, "it need not wait");
        }
        ours.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn the_lock_of_qemu_is_counted_as_held_by_the_runs_of_the_main_loops_executor() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",accounts=on", &[]);
        let mut ours = qemu.ours();
        ours.ok("x-sleep", &json!({ "seconds": 0.01 }));
        let stats = ours.ok("x-executor-stats", &json!({}));
        let main = stats.as_array().unwrap().iter().find(|row| row["executor"] == "main").unwrap();
        let sum = |what: &str| -> u64 {
            let counts = main["times"][what].as_array().unwrap();
            counts.iter().map(|count| count.as_u64().unwrap()).sum()
        };
        assert!(sum("bql") > 0 && sum("bql") <= sum("run"), "{main}");
    });
}

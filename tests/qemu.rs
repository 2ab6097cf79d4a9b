//! The plugin in QEMU as distributions ship it: loading, commands, clients, and the end.
//!
//! See `common/qemu.rs` for which QEMUs are tested.

#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qemu.rs"]
mod qemu;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::wait_until;
use nix::sys::signal::Signal;
use qemu::{Folder, Qemu, error, run_to_end, with_each_qemu};
use serde_json::{Value, json};

const EXTENSIONS: [&str; 8] = [
    "x-sleep",
    "x-file-checksum",
    "x-query-tasks",
    "x-task-cancel",
    "x-executor-stats",
    "x-watchdog",
    "x-blockdev-checksum",
    "x-blockdev-compare",
];

/// Longer than any test.
fn forever() -> Value {
    json!({ "seconds": 100_000 })
}

/// The commands of ours that QEMU lists.
fn listed(qemu: &Qemu) -> Vec<String> {
    let commands = qemu.first().ok("query-commands", &json!({}));
    let names = commands.as_array().expect("it is a list").iter();
    let names = names.map(|command| command["name"].as_str().expect("it is a string").to_owned());
    let mut ours: Vec<_> = names.filter(|name| EXTENSIONS.contains(&name.as_str())).collect();
    ours.sort();
    ours
}

#[test]
fn qemu_lists_our_commands() {
    with_each_qemu(|program| {
        let mut all = EXTENSIONS.map(str::to_owned);
        all.sort();
        assert_eq!(listed(&Qemu::start(program, "", &[])), all);
        let some = Qemu::start(program, ",commands=x-sleep:x-query-tasks", &[]);
        assert_eq!(listed(&some), ["x-query-tasks", "x-sleep"]);
    });
}

#[test]
fn a_plugin_that_cannot_do_as_it_is_told_is_refused_with_one_sentence() {
    let known = "there are accounts=on|off, commands=NAME[:NAME...], naive=on|off, nested=on|off, qmp=unix:PATH, qmp-connect=unix:PATH, selftest=on|off, trace=on|off|PATH";
    let commands = EXTENSIONS.join(", ");
    let cases = [
        (",colour=red", format!("there is no argument `colour`; {known}")),
        (",nested=maybe", "the argument `nested` is `on` or `off`, not `maybe`".into()),
        (",commands=x-slumber", format!("there is no command `x-slumber`; there are {commands}")),
        (",qmp=nowhere", "`nowhere` is no address".into()),
        (",trace=/nonexistent/trace", "/nonexistent/trace: ".into()),
        (",qmp=unix:/nonexistent/qmp", "unix:/nonexistent/qmp: ".into()),
    ];
    with_each_qemu(|program| {
        for (arguments, sentence) in &cases {
            let output = run_to_end(program, arguments);
            let errors = String::from_utf8_lossy(&output.stderr);
            let said = errors.lines().filter_map(|line| line.strip_prefix("qemu_plugin: "));
            let said: Vec<_> = said.collect();
            assert_eq!(output.status.code(), Some(1), "{arguments}: {errors}");
            assert!(
                said.len() == 1 && said[0].contains(sentence.as_str()),
                "{arguments}: {errors}"
            );
        }
    });
}

#[test]
fn commands_report_wrong_arguments_in_the_words_of_qemu() {
    let cases = [
        (json!({ "seconds": "1" }), "Invalid parameter type for 'seconds', expected: number"),
        (json!({ "hours": 1 }), "Parameter 'hours' is unexpected"),
        (json!({ "ns": 1, "clock": "wall" }), "Parameter 'clock' does not accept value 'wall'"),
        (json!({}), "Need exactly one of 'seconds' and 'ns'"),
    ];
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let (mut theirs, mut ours) = (qemu.first(), qemu.ours());
        for (arguments, sentence) in &cases {
            assert_eq!(theirs.ask("x-sleep", arguments), error(sentence));
            assert_eq!(ours.ask("x-sleep", arguments), error(sentence));
        }
        let missing = theirs.ask("x-task-cancel", &json!({}));
        assert_eq!(missing, error("Parameter 'id' is missing"));
        let unknown = theirs.ask("x-task-cancel", &json!({ "id": 12_345 }));
        assert_eq!(unknown, error("Task 12345 not found"));
    });
}

#[test]
fn a_sleep_takes_its_time() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        for clock in ["realtime", "virtual"] {
            let start = Instant::now();
            qemu.first().ok("x-sleep", &json!({ "seconds": 0.05, "clock": clock }));
            qemu.ours().ok("x-sleep", &json!({ "ns": 50_000_000, "clock": clock }));
            assert!(start.elapsed() >= Duration::from_millis(100), "{clock}");
        }
    });
}

#[test]
fn a_sleep_on_the_guests_clock_stands_still_while_the_guest_does() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &["-S"]);
        let mut sleeper = qemu.ours();
        sleeper.send("x-sleep", &json!({ "ns": 1_000_000, "clock": "virtual" }));
        let mut other = qemu.ours();
        other.ok("x-sleep", &json!({ "seconds": 0.1 }));
        assert_eq!(other.tasks_of("x-sleep").len(), 1, "the guest's clock runs");

        qemu.first().ok("cont", &json!({}));

        assert_eq!(sleeper.receive(), json!({ "return": {} }));
    });
}

#[test]
fn a_command_that_waits_holds_up_the_monitors_of_qemu_but_not_ours() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let (mut first, mut second, mut ours) = (qemu.first(), qemu.second(), qemu.ours());
        let start = Instant::now();
        first.send("x-sleep", &json!({ "seconds": 0.3 }));
        // Answered while the other command runs.
        wait_until("the command runs", || ours.tasks_of("x-sleep").len() == 1);
        second.ok("query-status", &json!({}));
        assert!(start.elapsed() >= Duration::from_millis(300), "QEMU's dispatcher did not wait");
        assert_eq!(first.receive(), json!({ "return": {} }));
    });
}

/// Makes a file that is no multiple of anything, and lets another program say what its digest is.
fn file_with_digest(folder: &Folder) -> (String, String) {
    let path = folder.file("data").display().to_string();
    let bytes: Vec<u8> =
        (0..5_000_001_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&path, bytes).expect("there is space");
    let output = Command::new("sha256sum").arg(&path).output().expect("sha256sum is everywhere");
    let line = String::from_utf8(output.stdout).expect("it is text");
    (path, line.split_whitespace().next().expect("it is the first word").to_owned())
}

#[test]
fn a_checksum_is_right_wherever_it_is_made() {
    let folder = Folder::new();
    let (path, digest) = file_with_digest(&folder);
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        for mut monitor in [qemu.first(), qemu.ours()] {
            let pool = monitor.ok("x-file-checksum", &json!({ "filename": path }));
            let io0 = json!({ "filename": path, "iothread": "io0" });
            let iothread = monitor.ok("x-file-checksum", &io0);
            assert_eq!([&pool["digest"], &iothread["digest"]], [&digest, &digest]);
        }
        let nowhere = json!({ "filename": path, "iothread": "io1" });
        let reply = qemu.first().ask("x-file-checksum", &nowhere);
        assert_eq!(reply, error("Cannot find iothread io1"));
    });
}

#[test]
fn an_out_of_band_command_lists_and_cancels_a_command_that_holds_up_the_monitor() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let mut monitor = qemu.first_with_oob();
        monitor.send_json(&json!({ "execute": "x-sleep", "arguments": forever(), "id": 1 }));
        let mut task = Value::Null;
        wait_until("the command runs", || {
            monitor.send_oob("x-query-tasks", &json!({}), 2);
            let reply = monitor.receive();
            assert_eq!(reply["id"], 2);
            let tasks = reply["return"].as_array().expect("it is a list");
            let found = tasks.iter().find(|task| task["name"] == "qmp:x-sleep");
            task = found.map_or(Value::Null, |task| task["id"].clone());
            !task.is_null()
        });
        monitor.send_oob("x-task-cancel", &json!({ "id": task }), 3);
        let mut replies = [monitor.receive(), monitor.receive()];
        replies.sort_by_key(|reply| reply["id"].as_u64());
        let mut cancelled = error("The command was cancelled");
        cancelled["id"] = json!(1);
        assert_eq!(replies, [cancelled, json!({ "return": {}, "id": 3 })]);
    });
}

#[test]
fn commands_of_a_client_that_hangs_up_end() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let mut observer = qemu.ours();
        let mut client = qemu.ours();
        client.send("x-sleep", &forever());
        wait_until("the command runs", || observer.tasks_of("x-sleep").len() == 1);
        drop(client);
        wait_until("the command ends", || observer.tasks_of("x-sleep").is_empty());
    });
}

#[test]
fn tasks_go_on_in_the_main_context_if_asked_to() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",nested=on", &[]);
        qemu.first().ok("x-sleep", &json!({ "seconds": 0.01 }));
        qemu.ours().ok("x-sleep", &json!({ "seconds": 0.01, "clock": "virtual" }));
        qemu.first().ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn our_server_passes_the_commands_of_qemu_on_beside_a_command_that_waits() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let (mut first, mut ours) = (qemu.first(), qemu.ours());
        first.send("x-sleep", &forever());
        wait_until("the command runs", || ours.tasks_of("x-sleep").len() == 1);

        assert_eq!(ours.ok("query-status", &json!({}))["status"], "running");
        let node = json!({ "driver": "null-co", "node-name": "node", "size": 65_536 });
        ours.ok("blockdev-add", &node);
        // A command that QEMU runs in a coroutine.
        let resize = json!({ "node-name": "node", "size": 4096 });
        let refused = error("Image format driver does not support resize");
        assert_eq!(ours.ask("block_resize", &resize), refused);
        ours.ok("blockdev-del", &json!({ "node-name": "node" }));
        let unknown = ours.ask("x-unknown", &json!({}));
        assert_eq!(unknown["error"]["class"], "CommandNotFound");

        ours.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn requests_of_many_clients_for_commands_of_qemu_take_turns() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let mut clients: Vec<_> = (0..50).map(|_| qemu.ours()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let id = format!("extra{number}");
            client.send("object-add", &json!({ "qom-type": "iothread", "id": id }));
        }
        for client in &mut clients {
            assert_eq!(client.receive(), json!({ "return": {} }));
        }
        let iothreads = qemu.first().ok("query-iothreads", &json!({}));
        assert_eq!(iothreads.as_array().map(Vec::len), Some(51));
    });
}

#[test]
fn a_panic_is_an_error_reply_and_qemu_goes_on() {
    let cases = [
        ("x-selftest-panic-blocking", "a blocking panic"),
        ("x-selftest-panic-coroutine", "a panic in a task"),
        ("x-selftest-panic-oob", "an out-of-band panic"),
    ];
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",selftest=on", &[]);
        let (mut oob, mut second, mut ours) = (qemu.first_with_oob(), qemu.second(), qemu.ours());
        for (name, message) in cases {
            let reply = error(&format!("The command panicked: {message}"));
            assert_eq!(second.ask(name, &json!({})), reply);
            assert_eq!(ours.ask(name, &json!({})), reply);
        }
        oob.send_oob("x-selftest-panic-oob", &json!({}), 1);
        assert_eq!(oob.receive()["error"]["class"], "GenericError");
        second.ok("x-sleep", &json!({ "ns": 1 }));
        second.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn an_iothread_that_is_never_idle_serves_timers_and_fds() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",selftest=on", &[]);
        qemu.ours().ok("x-selftest-iothread-storm", &json!({ "iothread": "io0" }));
        qemu.first().ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn sleeps_end_in_nested_loops_and_in_iothreads() {
    with_each_qemu(|program| {
        for arguments in [",selftest=on", ",selftest=on,nested=on"] {
            let qemu = Qemu::start(program, arguments, &[]);
            for mut monitor in [qemu.first(), qemu.ours()] {
                monitor.ok("x-selftest-nested-sleep", &json!({}));
                monitor.ok("x-selftest-iothread-sleep", &json!({ "iothread": "io0" }));
            }
            qemu.first().ok("quit", &json!({}));
            qemu.expect_success();
        }
    });
}

#[test]
fn a_task_that_is_always_ready_starves_neither_sockets_nor_sleeps_of_its_iothread() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, ",selftest=on", &[]);
        let io0 = json!({ "iothread": "io0" });
        assert_eq!(qemu.ours().ok("x-selftest-busy-iothread", &io0), 100);
        qemu.first().ok("quit", &json!({}));
        qemu.expect_success();
    });
}

#[test]
fn a_command_that_qemu_calls_in_another_thread_runs_at_home() {
    with_each_qemu(|program| {
        for arguments in [",selftest=on", ",selftest=on,nested=on"] {
            let qemu = Qemu::start(program, arguments, &[]);
            let mut ours = qemu.ours();
            let dispatched = |name: &str, arguments: Value| {
                let request = json!({ "execute": name, "arguments": arguments });
                json!({ "request": request })
            };
            for ns in 0..100 {
                let sleep = dispatched("x-sleep", json!({ "ns": ns }));
                let reply = ours.ok("x-selftest-foreign-dispatch", &sleep);
                assert_eq!(reply, json!({ "return": {} }));
            }
            let panic = dispatched("x-selftest-panic-coroutine", json!({}));
            let reply = ours.ok("x-selftest-foreign-dispatch", &panic);
            assert_eq!(reply, error("The command panicked: a panic in a task"));
            qemu.first().ok("quit", &json!({}));
            qemu.expect_success();
        }
    });
}

#[test]
fn commands_outlive_a_reset_of_the_machine() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &["-M", "pc"]);
        let (mut sleeper, mut observer) = (qemu.ours(), qemu.ours());
        sleeper.send("x-sleep", &json!({ "seconds": 0.2, "clock": "virtual" }));
        wait_until("the command runs", || observer.tasks_of("x-sleep").len() == 1);
        qemu.first().ok("system_reset", &json!({}));
        assert_eq!(sleeper.receive(), json!({ "return": {} }));
        observer.ok("quit", &json!({}));
        qemu.expect_success();
    });
}

/// Starts a hundred commands that do not end by themselves.
fn start_100_commands(qemu: &Qemu) -> Vec<qemu::Monitor> {
    let mut clients: Vec<_> = (0..100).map(|_| qemu.ours()).collect();
    for client in &mut clients {
        client.send("x-sleep", &forever());
    }
    let mut observer = qemu.ours();
    wait_until("the commands run", || observer.tasks_of("x-sleep").len() == clients.len());
    clients
}

#[test]
fn qemu_quits_while_a_hundred_tasks_run() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let _clients = start_100_commands(&qemu);
        qemu.first().ok("quit", &json!({}));
        qemu.expect_success();
    });
}

/// A file that takes long to hash and no space.
fn huge_file(path: &Path) -> Value {
    let file = File::create(path).expect("the folder is ours");
    file.set_len(1 << 40).expect("holes cost nothing");
    json!({ "filename": path.display().to_string(), "iothread": "io0" })
}

#[test]
fn a_signal_ends_qemu_while_its_dispatcher_waits_for_us() {
    let folder = Folder::new();
    let busy = huge_file(&folder.file("huge"));
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let _clients = start_100_commands(&qemu);
        let (mut hashing, mut waiting) = (qemu.ours(), qemu.first());
        hashing.send("x-file-checksum", &busy);
        waiting.send("x-sleep", &forever());
        let mut observer = qemu.ours();
        wait_until("the last command runs", || observer.tasks_of("x-sleep").len() == 101);
        wait_until("the iothread works", || observer.tasks_of("x-file-checksum").len() == 1);
        qemu.signal(Signal::SIGTERM);
        assert_eq!(waiting.receive(), error("The command was cancelled"));
        qemu.expect_success();
    });
}

#[test]
fn an_iothread_is_removed_while_it_works() {
    let folder = Folder::new();
    let busy = huge_file(&folder.file("huge"));
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let mut hashing = qemu.ours();
        hashing.send("x-file-checksum", &busy);
        let mut observer = qemu.ours();
        wait_until("the iothread works", || observer.tasks_of("x-file-checksum").len() == 1);
        qemu.first().ok("object-del", &json!({ "id": "io0" }));
        assert_eq!(observer.tasks_of("x-file-checksum").len(), 1, "the command has a reference");
        let task = observer.tasks_of("x-file-checksum")[0];
        observer.ok("x-task-cancel", &json!({ "id": task }));
        assert_eq!(hashing.receive(), error("The command was cancelled"));
        qemu.first().ok("quit", &json!({}));
        qemu.expect_success();
    });
}

/// How much memory a process has that is in use, in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel says");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("it is a number")
}

#[test]
fn a_thousand_commands_in_a_row_leave_the_memory_as_it_is() {
    with_each_qemu(|program| {
        let qemu = Qemu::start(program, "", &[]);
        let (mut theirs, mut ours) = (qemu.first(), qemu.ours());
        let mut thousand = || {
            for _ in 0..500 {
                theirs.ok("x-sleep", &json!({ "ns": 0 }));
                ours.ok("x-sleep", &json!({ "ns": 0 }));
            }
        };
        thousand();
        let before = resident(qemu.pid());
        thousand();
        let grown = resident(qemu.pid()).saturating_sub(before);
        assert!(grown < 256, "a thousand commands took {grown} KiB");
    });
}

//! The commands of `examples/commands`, called over a socket; `commands_checksum.rs` has the largest one.

#[allow(dead_code, reason = "the server's program uses the rest")]
#[path = "../examples/commands/mod.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/commands.rs"]
mod session;

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use commands::machine::{MACHINE, ShutdownCause};
use common::{command_tasks, on_main, wait_until};
use executor::MainCx;
use serde_json::json;
use session::{call, call_oob, receive, send, start, task_id, tasks};

#[test]
fn the_commands_are_those_of_qemu_and_some_more() {
    let server = start();

    let list = call(&mut server.client(), "query-commands", json!({})).value();

    let names: Vec<_> = list.as_array().unwrap().iter().map(|info| &info["name"]).collect();
    assert_eq!(
        names,
        [
            "qmp_capabilities",
            "query-commands",
            "query-version",
            "query-name",
            "query-status",
            "stop",
            "cont",
            "quit",
            "object-add",
            "query-iothreads",
            "object-del",
            "x-sleep",
            "x-file-checksum",
            "x-query-tasks",
            "x-task-cancel",
            "x-executor-stats",
            "x-watchdog",
            "query-jobs",
        ]
    );
}

#[test]
fn name_and_version_are_told() {
    let server = start();
    let mut client = server.client();

    let version = call(&mut client, "query-version", json!({})).value();
    let name = call(&mut client, "query-name", json!({})).value();

    assert_eq!(version["qemu"], json!({"micro": 0, "minor": 1, "major": 0}));
    assert_eq!(name, json!({"name": "vm"}));
}

#[test]
fn wrong_arguments_are_refused_in_the_words_of_qemu() {
    let server = start();
    let mut client = server.client();
    let cases = [
        ("query-status", json!({"x": 1}), "Parameter 'x' is unexpected"),
        ("stop", json!({"x": 1}), "Parameter 'x' is unexpected"),
        ("object-add", json!({"qom-type": "iothread"}), "Parameter 'id' is missing"),
        ("object-add", json!({"id": "io"}), "Parameter 'qom-type' is missing"),
        (
            "object-add",
            json!({"qom-type": "rng-random", "id": "io"}),
            "Parameter 'qom-type' does not accept value 'rng-random'",
        ),
        (
            "object-add",
            json!({"qom-type": "iothread", "id": "0"}),
            "Parameter 'id' expects an identifier",
        ),
        (
            "object-add",
            json!({"qom-type": "iothread", "id": "a b"}),
            "Parameter 'id' expects an identifier",
        ),
        (
            "object-add",
            json!({"qom-type": "iothread", "id": ""}),
            "Parameter 'id' expects an identifier",
        ),
        (
            "object-add",
            json!({"qom-type": "iothread", "id": "io", "x": 1}),
            "Parameter 'x' is unexpected",
        ),
        ("object-del", json!({"id": "io9"}), "object 'io9' not found"),
        ("object-del", json!({"id": "qmp_iothread0"}), "object 'qmp_iothread0' not found"),
        ("x-sleep", json!({}), "Need exactly one of 'seconds' and 'ns'"),
        ("x-sleep", json!({"seconds": 1, "ns": 1}), "Need exactly one of 'seconds' and 'ns'"),
        (
            "x-sleep",
            json!({"seconds": -1}),
            "Parameter 'seconds' expects a number of seconds that is not negative",
        ),
        (
            "x-sleep",
            json!({"seconds": "1"}),
            "Invalid parameter type for 'seconds', expected: number",
        ),
        (
            "x-sleep",
            json!({"ns": 1, "clock": "host"}),
            "Parameter 'clock' does not accept value 'host'",
        ),
        ("x-task-cancel", json!({"id": 0}), "Task 0 not found"),
        ("x-task-cancel", json!({}), "Parameter 'id' is missing"),
        ("x-query-tasks", json!({"x": 1}), "Parameter 'x' is unexpected"),
    ];

    for (command, arguments, expected) in cases {
        assert_eq!(call(&mut client, command, arguments.clone()).error(), expected, "{arguments}");
    }
}

#[test]
fn stop_and_cont_tell_everybody_before_they_reply_and_once() {
    let server = start();
    let (mut client, mut other) = (server.client(), server.client());
    let steps = [
        ("stop", vec!["STOP"], json!({"status": "paused", "running": false})),
        ("stop", vec![], json!({"status": "paused", "running": false})),
        ("cont", vec!["RESUME"], json!({"status": "running", "running": true})),
        ("cont", vec![], json!({"status": "running", "running": true})),
    ];

    for (command, events, status) in steps {
        assert_eq!(call(&mut client, command, json!({})).event_names(), events);
        assert_eq!(call(&mut client, "query-status", json!({})).value(), status);
    }
    let heard = call(&mut other, "query-status", json!({}));
    assert_eq!(heard.event_names(), ["STOP", "RESUME"]);
}

#[test]
fn quit_wakes_the_program_and_tells_the_clients_first() {
    let server = start();
    let (told, tells) = mpsc::channel();
    on_main(move |nc| {
        let wait = async move |cx: &MainCx| {
            told.send(MACHINE.shutdown_requested(cx).await).expect("the test waits");
        };
        nc.spawn(wait).detach();
    });

    let answer = call(&mut server.client(), "quit", json!({}));

    assert_eq!(answer.event_names(), ["SHUTDOWN"]);
    assert_eq!(answer.events[0]["data"], json!({"guest": false, "reason": "host-qmp-quit"}));
    assert_eq!(tells.recv().expect("the program waits"), ShutdownCause::HostQmpQuit);
    assert_eq!(call(&mut server.client(), "quit", json!({})).event_names(), [""; 0]);
}

#[test]
fn an_iothread_can_be_added_shown_and_deleted() {
    let server = start();
    let mut client = server.client();
    let io7 = json!({"qom-type": "iothread", "id": "io7"});

    call(&mut client, "object-add", io7.clone()).value();
    let list = call(&mut client, "query-iothreads", json!({})).value();
    let thread = format!("/proc/self/task/{}", list[0]["thread-id"]);
    assert_eq!(list[0]["id"], "io7");
    assert!(Path::new(&thread).exists(), "no such thread: {list}");
    let twice = "attempt to add duplicate property 'io7' to object (type 'container')";
    assert_eq!(call(&mut client, "object-add", io7).error(), twice);

    call(&mut client, "object-del", json!({"id": "io7"})).value();
    assert_eq!(call(&mut client, "query-iothreads", json!({})).value(), json!([]));
    wait_until("the thread has ended", || !Path::new(&thread).exists());
}

#[test]
fn a_sleep_lasts_as_long_as_it_is_told_to() {
    let server = start();
    let mut client = server.client();

    for arguments in [json!({"seconds": 0.02}), json!({"ns": 20_000_000, "clock": "realtime"})] {
        let began = Instant::now();
        call(&mut client, "x-sleep", arguments).value();
        assert!(began.elapsed() >= Duration::from_millis(20));
    }
}

#[test]
fn a_sleep_on_the_clock_of_the_guest_stands_still_while_the_guest_does() {
    let server = start();
    let (mut client, mut sleeper) = (server.client(), server.client());
    call(&mut client, "stop", json!({})).value();

    send(&mut sleeper, "x-sleep", json!({"ns": 1_000_000, "clock": "virtual"}));
    wait_until("the command runs", || task_id(&mut client, "qmp:x-sleep").is_some());
    let id = task_id(&mut client, "qmp:x-sleep");
    // A sleep of this length or more on the other clock, in the same executor.
    call(&mut server.client(), "x-sleep", json!({"seconds": 0.05})).value();
    assert_eq!(task_id(&mut client, "qmp:x-sleep"), id);

    call(&mut client, "cont", json!({})).value();
    receive(&mut sleeper).value();
}

#[test]
fn a_sleeping_command_holds_up_nobody_and_is_listed() {
    let server = start();
    let (mut client, mut sleeper) = (server.client(), server.client());

    send(&mut sleeper, "x-sleep", json!({"seconds": 1000}));
    wait_until("the command runs", || task_id(&mut client, "qmp:x-sleep").is_some());
    call(&mut client, "query-status", json!({})).value();
    let listed = tasks(&mut client, "main");

    let sleep = listed.iter().find(|task| task["name"] == "qmp:x-sleep").expect("it runs");
    assert!(sleep["spawned-at"].as_str().unwrap().contains(".rs:"), "{sleep}");
    assert!(sleep["polls"].as_u64().unwrap() >= 1, "{sleep}");
    drop(sleeper);
    wait_until("the command has gone with its client", || command_tasks() == 0);
}

#[test]
fn a_task_can_be_cancelled_in_band_by_another_client() {
    let server = start();
    let (mut client, mut sleeper) = (server.client(), server.client());
    send(&mut sleeper, "x-sleep", json!({"seconds": 1000}));
    wait_until("the command runs", || task_id(&mut client, "qmp:x-sleep").is_some());
    let id = task_id(&mut client, "qmp:x-sleep");

    call(&mut client, "x-task-cancel", json!({"id": id})).value();

    assert_eq!(receive(&mut sleeper).error(), "The command was cancelled");
    assert_eq!(task_id(&mut client, "qmp:x-sleep"), None);
}

#[test]
fn a_client_can_cancel_its_own_command_out_of_band() {
    let server = start();
    let mut client = server.oob_client();
    send(&mut client, "x-sleep", json!({"seconds": 1000}));
    wait_until("the command runs", || command_tasks() == 1);
    let listed = call_oob(&mut client, "x-query-tasks", json!({})).value();
    let is_sleep = |task: &&serde_json::Value| task["name"] == "qmp:x-sleep";
    let sleep = listed.as_array().unwrap().iter().find(is_sleep).expect("it runs");

    client.send(json!({"exec-oob": "x-task-cancel", "arguments": {"id": sleep["id"]}}).to_string());

    let replies = [receive(&mut client), receive(&mut client)];
    let [cancel, sleep] = &replies;
    assert_eq!(cancel.reply["return"], json!({}));
    assert_eq!(sleep.error(), "The command was cancelled");
}

#[test]
fn the_task_that_serves_everybody_cannot_be_cancelled() {
    let server = start();
    let mut client = server.client();
    let id = task_id(&mut client, "qmp:dispatcher").expect("it serves us");

    let answer = call(&mut client, "x-task-cancel", json!({"id": id}));

    assert_eq!(answer.error(), format!("Task {id} starts the commands, this one, too"));
    call(&mut client, "query-status", json!({})).value();
}

#[test]
fn the_counters_of_every_executor_are_told_in_band_and_out_of_band() {
    let server = start();
    let mut client = server.oob_client();
    call(&mut client, "object-add", json!({"qom-type": "iothread", "id": "io8"})).value();

    // The reply is on its way before the task that worked for it is counted as completed.
    wait_until("the iothread's task is counted", || {
        let stats = call(&mut client, "x-executor-stats", json!({})).value();
        stats
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["executor"] == "io8" && row["completed"] != 0)
    });
    let in_band = call(&mut client, "x-executor-stats", json!({})).value();
    let out_of_band = call_oob(&mut client, "x-executor-stats", json!({})).value();

    for stats in [in_band, out_of_band] {
        let executors = stats.as_array().unwrap().iter();
        let of = |name: &str| executors.clone().find(|stats| stats["executor"] == name).cloned();
        let (main, io) = (of("main").expect("it is listed"), of("io8").expect("it is listed"));
        assert!(main["polls"].as_u64() >= Some(1), "{main}");
        assert!(main["spawned"].as_u64() > main["completed"].as_u64(), "{main}");
        assert!(io["completed"].as_u64() >= Some(1), "{io}");
    }
    call(&mut client, "object-del", json!({"id": "io8"})).value();
    let after = call(&mut client, "x-executor-stats", json!({})).value();
    assert!(!after.to_string().contains("io8"), "an executor that has ended is listed: {after}");
}

//! The commands of `examples/commands`, called by clients in memory, on a clock that stands still;
//! `commands_checksum.rs` has the largest one, and `qmp_server.rs` sockets.

#[allow(dead_code, reason = "the server's program uses the rest")]
#[path = "../examples/commands/mod.rs"]
mod commands;

use std::path::Path;
use std::time::Duration;

use commands::files::Files;
use commands::machine::{MACHINE, ShutdownCause};
use commands::{register_extensions, register_machine};
use executor::MainCx;
use executor::qmp::{Error, EventSink, Registry};
use executor::testing::{self, FakeClient, FakeServer, Kit};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);

/// Starts the server. Its machine is called `vm`.
fn start(kit: &mut Kit<'_>) -> FakeServer {
    let (mut registry, events) = (Registry::new(), EventSink::new());
    let main = kit.block_on(async |cx: &MainCx| cx.probe());
    registry.add_query_commands();
    register_machine(&mut registry, Some("vm".into()), &events);
    register_extensions(&mut registry, main, &events, Files::default());
    kit.serve_with_events(registry, events)
}

/// Calls a command that succeeds, in band.
#[track_caller]
fn call(kit: &mut Kit<'_>, client: &mut FakeClient, command: &str, arguments: Value) -> Value {
    client.command(kit, command, arguments).expect("the command succeeds")
}

/// The names of the events that have come since the last look.
fn events(client: &mut FakeClient) -> Vec<String> {
    let name = |event: Value| event["event"].as_str().unwrap_or_default().to_owned();
    client.events().into_iter().map(name).collect()
}

/// What `x-query-tasks` says of the one task of that name, if there is one.
fn task(list: &Value, name: &str) -> Option<Value> {
    let mut found = list.as_array()?.iter().filter(|task| task["name"] == name);
    let task = found.next().cloned();
    assert!(found.next().is_none(), "there are several tasks called {name}: {list}");
    task
}

/// The id of that task.
fn task_id(kit: &mut Kit<'_>, client: &mut FakeClient, name: &str) -> Option<u64> {
    task(&call(kit, client, "x-query-tasks", json!({})), name)?["id"].as_u64()
}

#[test]
fn the_commands_are_those_of_qemu_and_some_more() {
    testing::run(|kit| {
        let mut client = start(kit).client(kit);

        let list = call(kit, &mut client, "query-commands", json!({}));

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
    });
}

#[test]
fn name_and_version_are_told() {
    testing::run(|kit| {
        let mut client = start(kit).client(kit);

        let version = call(kit, &mut client, "query-version", json!({}));

        assert_eq!(version["qemu"], json!({"micro": 0, "minor": 1, "major": 0}));
        assert_eq!(call(kit, &mut client, "query-name", json!({})), json!({"name": "vm"}));
    });
}

#[test]
fn wrong_arguments_are_refused_in_the_words_of_qemu() {
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

    testing::run(move |kit| {
        let mut client = start(kit).client(kit);
        for (command, arguments, expected) in cases {
            let error = client.command(kit, command, &arguments).expect_err("it is refused");
            assert_eq!(error, Error::generic(expected), "{arguments}");
        }
    });
}

#[test]
fn stop_and_cont_tell_everybody_before_they_reply_and_once() {
    let steps = [
        ("stop", vec!["STOP"], json!({"status": "paused", "running": false})),
        ("stop", vec![], json!({"status": "paused", "running": false})),
        ("cont", vec!["RESUME"], json!({"status": "running", "running": true})),
        ("cont", vec![], json!({"status": "running", "running": true})),
    ];
    testing::run(|kit| {
        let server = start(kit);
        let (mut client, mut other) = (server.client(kit), server.client(kit));
        for (command, heard, status) in steps {
            client.execute(command, ());
            for event in heard {
                assert_eq!(client.receive(kit)["event"], event);
            }
            assert_eq!(client.receive(kit), json!({"return": {}}));
            assert_eq!(call(kit, &mut client, "query-status", json!({})), status);
        }
        assert_eq!(events(&mut other), ["STOP", "RESUME"]);
    });
}

#[test]
fn quit_wakes_the_program_and_tells_the_clients_first() {
    testing::run(|kit| {
        let mut client = start(kit).client(kit);
        let waiting = kit.spawn(async |cx: &MainCx| MACHINE.shutdown_requested(cx).await);
        kit.run_until_idle();
        assert!(!waiting.is_finished());

        client.execute("quit", ());

        let event = client.receive(kit);
        assert_eq!(event["event"], "SHUTDOWN");
        assert_eq!(event["data"], json!({"guest": false, "reason": "host-qmp-quit"}));
        assert_eq!(client.receive(kit), json!({"return": {}}));
        let cause = kit.block_on(async move |_: &MainCx| waiting.await.unwrap());
        assert_eq!(cause, ShutdownCause::HostQmpQuit);
        assert_eq!(client.ask(kit, "{'execute': 'quit'}"), json!({"return": {}}));
        assert_eq!(client.received(), None, "no second event");
    });
}

#[test]
fn an_iothread_can_be_added_shown_and_deleted() {
    testing::run(|kit| {
        let mut client = start(kit).client(kit);
        let io7 = json!({"qom-type": "iothread", "id": "io7"});

        call(kit, &mut client, "object-add", io7.clone());
        let list = call(kit, &mut client, "query-iothreads", json!({}));
        let thread = format!("/proc/self/task/{}", list[0]["thread-id"]);
        assert_eq!(list[0]["id"], "io7");
        assert!(Path::new(&thread).exists(), "no such thread: {list}");
        let twice = "attempt to add duplicate property 'io7' to object (type 'container')";
        let error = client.command(kit, "object-add", io7).unwrap_err();
        assert_eq!(error.to_string(), twice);

        call(kit, &mut client, "object-del", json!({"id": "io7"}));
        assert_eq!(call(kit, &mut client, "query-iothreads", json!({})), json!([]));
        assert!(!Path::new(&thread).exists(), "the thread has ended");
    });
}

#[test]
fn a_sleep_lasts_as_long_as_it_is_told_to() {
    testing::run(|kit| {
        kit.clock().set_auto_advance(true);
        let mut client = start(kit).client(kit);
        for arguments in [json!({"seconds": 0.25}), json!({"ns": 250_000_000, "clock": "realtime"})]
        {
            let before = kit.clock().elapsed();
            call(kit, &mut client, "x-sleep", arguments);
            assert_eq!(kit.clock().elapsed() - before, SECOND / 4);
        }
    });
}

#[test]
fn a_sleep_on_the_clock_of_the_guest_stands_still_while_the_guest_does() {
    testing::run(|kit| {
        let server = start(kit);
        let (mut client, mut sleeper) = (server.client(kit), server.client(kit));
        call(kit, &mut client, "stop", json!({}));
        sleeper.execute("x-sleep", json!({"seconds": 1, "clock": "virtual"}));
        kit.advance(1000 * SECOND);
        assert_eq!(kit.commands().len(), 1);

        call(kit, &mut client, "cont", json!({}));
        kit.advance(SECOND);
        assert_eq!(events(&mut sleeper), ["STOP", "RESUME"]);
        assert_eq!(sleeper.received(), Some(json!({"return": {}})));
    });
}

#[test]
fn a_sleeping_command_holds_up_nobody_is_listed_and_goes_with_its_client() {
    testing::run(|kit| {
        let server = start(kit);
        let (mut client, mut sleeper) = (server.client(kit), server.client(kit));

        sleeper.execute("x-sleep", json!({"seconds": 1000}));
        kit.run_until_idle();
        call(kit, &mut client, "query-status", json!({}));
        let listed = call(kit, &mut client, "x-query-tasks", json!({}));

        let sleep = task(&listed, "qmp:x-sleep").expect("it runs");
        assert!(sleep["spawned-at"].as_str().unwrap().contains(".rs:"), "{sleep}");
        assert!(sleep["polls"].as_u64().unwrap() >= 1, "{sleep}");
        sleeper.disconnect();
        assert_eq!(task_id(kit, &mut client, "qmp:x-sleep"), None);
    });
}

#[test]
fn a_task_can_be_cancelled_in_band_by_another_client() {
    testing::run(|kit| {
        let server = start(kit);
        let (mut client, mut sleeper) = (server.client(kit), server.client(kit));
        sleeper.execute("x-sleep", json!({"seconds": 1000}));
        kit.run_until_idle();
        let id = task_id(kit, &mut client, "qmp:x-sleep").expect("it runs");

        call(kit, &mut client, "x-task-cancel", json!({"id": id}));

        assert_eq!(sleeper.receive(kit)["error"]["desc"], "The command was cancelled");
        assert_eq!(task_id(kit, &mut client, "qmp:x-sleep"), None);
    });
}

#[test]
fn a_client_can_cancel_its_own_command_out_of_band() {
    testing::run(|kit| {
        let mut client = start(kit).oob_client(kit);
        client.execute("x-sleep", json!({"seconds": 1000}));
        kit.run_until_idle();
        let listed = client.command_oob(kit, "x-query-tasks", ()).unwrap();
        let id = task(&listed, "qmp:x-sleep").expect("it runs")["id"].clone();

        let cancelled = client.command_oob(kit, "x-task-cancel", json!({"id": id}));

        assert_eq!(cancelled.unwrap(), json!({}));
        assert_eq!(client.receive(kit)["error"]["desc"], "The command was cancelled");
    });
}

#[test]
fn the_task_that_serves_everybody_cannot_be_cancelled() {
    testing::run(|kit| {
        let mut client = start(kit).client(kit);
        let id = task_id(kit, &mut client, "qmp:dispatcher").expect("it serves us");

        let error = client.command(kit, "x-task-cancel", json!({"id": id})).unwrap_err();

        assert_eq!(error.to_string(), format!("Task {id} starts the commands, this one, too"));
        call(kit, &mut client, "query-status", json!({}));
    });
}

#[test]
fn the_counters_of_every_executor_are_told_in_band_and_out_of_band() {
    testing::run(|kit| {
        let mut client = start(kit).oob_client(kit);
        call(kit, &mut client, "object-add", json!({"qom-type": "iothread", "id": "io8"}));

        let in_band = call(kit, &mut client, "x-executor-stats", json!({}));
        let out_of_band = client.command_oob(kit, "x-executor-stats", ()).unwrap();

        for stats in [in_band, out_of_band] {
            let executors = stats.as_array().unwrap().iter();
            let of =
                |name: &str| executors.clone().find(|stats| stats["executor"] == name).cloned();
            let (main, io) = (of("main").expect("it is listed"), of("io8").expect("it is listed"));
            assert!(main["polls"].as_u64() >= Some(1), "{main}");
            assert!(main["spawned"].as_u64() > main["completed"].as_u64(), "{main}");
            assert!(io["completed"].as_u64() >= Some(1), "{io}");
        }
        call(kit, &mut client, "object-del", json!({"id": "io8"}));
        let after = call(kit, &mut client, "x-executor-stats", json!({}));
        assert!(
            !after.to_string().contains("io8"),
            "an executor that has ended is listed: {after}"
        );
    });
}

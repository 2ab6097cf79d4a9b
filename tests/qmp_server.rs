//! The QMP server and its clients: commands of all modes over real sockets, while both sides are well.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;

use std::collections::HashSet;
use std::fs;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use commands::{add_block, add_panics, add_quick_commands, add_wait, block};
use common::{Client, LONG, TestServer, on_main, wait_until};
use executor::qmp::{Address, Registry};
use serde_json::{Value, json};

fn start() -> TestServer {
    TestServer::start(add_quick_commands)
}

#[test]
fn a_client_is_greeted_negotiates_and_is_answered() {
    let server = start();
    let mut client = server.connect();

    assert_eq!(client.receive()["QMP"]["capabilities"], json!(["oob"]));
    let early = client.ask("{'execute': 'x-ping'}");
    assert_eq!(early["error"]["class"], "CommandNotFound");
    assert_eq!(client.ask("{'execute': 'qmp_capabilities'}"), json!({"return": {}}));
    let echo = client.ask("{'execute': 'x-echo', 'arguments': {'text': 'a'}, 'id': [1]}");
    assert_eq!(echo, json!({"return": "a", "id": [1]}));
    assert_eq!(client.ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
    let unknown = client.ask("{'execute': 'x-unknown'}");
    assert_eq!(unknown["error"]["desc"], "The command x-unknown has not been found");
}

#[test]
fn everything_may_be_sent_before_the_greeting_is_read() {
    let server = start();
    let mut client = server.connect();
    let echo = |number: usize| {
        format!("{{'execute': 'x-echo', 'arguments': {{'text': 'a'}}, 'id': {number}}}")
    };
    let requests: String = (0..100).map(echo).collect();

    client.send("{'execute': 'qmp_capabilities'}".to_owned() + &requests);

    assert!(client.receive()["QMP"].is_object());
    assert_eq!(client.receive(), json!({"return": {}}));
    for number in 0..100 {
        assert_eq!(client.receive(), json!({"return": "a", "id": number}));
    }
}

#[test]
fn a_client_does_not_wait_for_the_command_of_another_client() {
    let (told, tells) = mpsc::channel();
    let server = TestServer::start(move |registry, events| {
        add_quick_commands(registry, events);
        add_wait(registry, told);
    });
    let mut slow = server.client();
    slow.send("{'execute': 'x-wait'}");
    assert_eq!(tells.recv_timeout(LONG), Ok("begun"));

    let mut quick = server.client();
    let reply = quick.ask("{'execute': 'x-echo', 'arguments': {'text': 'quick'}}");

    assert_eq!(reply, json!({"return": "quick"}));
    assert!(tells.try_recv().is_err(), "the other command still runs");
}

#[test]
fn the_commands_of_one_client_run_one_after_another() {
    let (told, tells) = mpsc::channel();
    let server = TestServer::start(move |registry, events| {
        add_quick_commands(registry, events);
        add_wait(registry, told);
    });
    let mut client = server.oob_client();

    client.send("{'execute': 'x-wait'}{'execute': 'x-wait'}{'exec-oob': 'x-ping'}");
    assert_eq!(client.receive(), json!({"return": "pong"}));

    assert_eq!(tells.recv_timeout(LONG), Ok("begun"));
    assert!(tells.try_recv().is_err(), "the second one waits for the first");
}

#[test]
fn oob_overtakes_and_works_while_the_main_loop_is_held_up() {
    let (main, parts) = block();
    let server = TestServer::start(move |registry, events| {
        add_quick_commands(registry, events);
        add_block(registry, parts);
    });
    let mut client = server.oob_client();
    let mut other = server.oob_client();

    client.send("{'execute': 'x-block', 'id': 'slow'}");
    main.begun.recv_timeout(LONG).expect("the main loop is held up");

    assert_eq!(client.ask("{'exec-oob': 'x-ping', 'id': 1}"), json!({"return": "pong", "id": 1}));
    assert_eq!(other.ask("{'exec-oob': 'x-ping', 'id': 2}"), json!({"return": "pong", "id": 2}));
    let refused = other.ask("{'exec-oob': 'stop'}");
    assert_eq!(refused["error"]["desc"], "The command stop does not support OOB");
    main.release.send(()).expect("the handler waits");
    assert_eq!(client.receive(), json!({"return": {}, "id": "slow"}));
}

#[test]
fn new_clients_are_greeted_while_the_main_loop_is_held_up() {
    let (main, parts) = block();
    let server = TestServer::start(move |registry, events| {
        add_quick_commands(registry, events);
        add_block(registry, parts);
    });
    let mut client = server.client();
    client.send("{'execute': 'x-block'}");
    main.begun.recv_timeout(LONG).expect("the main loop is held up");

    let mut late = server.oob_client();
    assert_eq!(late.ask("{'exec-oob': 'x-ping'}"), json!({"return": "pong"}));

    late.send("{'execute': 'x-echo', 'arguments': {'text': 'then'}}");
    main.release.send(()).expect("the handler waits");
    assert_eq!(late.receive(), json!({"return": "then"}));
}

#[test]
fn an_event_precedes_the_reply_of_the_command_that_caused_it() {
    let server = start();
    let mut client = server.client();

    for _ in 0..100 {
        assert_eq!(client.ask("{'execute': 'stop'}")["event"], "STOP");
        assert_eq!(client.receive(), json!({"return": {}}));
    }
}

#[test]
fn events_reach_every_client_that_has_negotiated() {
    let server = start();
    let mut clients = [server.client(), server.client()];
    let mut silent = server.connect();
    assert!(silent.receive()["QMP"].is_object());

    server.events().emit("DEVICE_DELETED", json!({"path": "/machine/a"}));

    for client in &mut clients {
        let event = client.receive();
        assert_eq!(event["event"], "DEVICE_DELETED");
        assert_eq!(event["data"], json!({"path": "/machine/a"}));
        assert!(event["timestamp"]["seconds"].as_i64().is_some_and(|seconds| seconds > 0));
    }
    assert_eq!(silent.ask("{'execute': 'qmp_capabilities'}"), json!({"return": {}}));
}

#[test]
fn events_keep_their_order_also_from_other_threads() {
    let server = start();
    let mut client = server.client();
    let events = server.events();

    thread::spawn(move || {
        (0..1000).for_each(|number| events.emit("X_COUNT", json!({"n": number})));
    })
    .join()
    .expect("the events are sent");

    for number in 0..1000 {
        assert_eq!(client.receive()["data"]["n"], number);
    }
}

#[test]
fn of_a_chatty_event_the_first_and_the_last_of_a_second_are_sent() {
    let server = start();
    let mut client = server.client();
    let start = Instant::now();

    for actual in 0..50 {
        server.events().emit("BALLOON_CHANGE", json!({"actual": actual}));
    }
    server.events().emit("STOP", ());

    assert_eq!(client.receive()["data"], json!({"actual": 0}));
    assert_eq!(client.receive()["event"], "STOP");
    assert_eq!(client.receive()["data"], json!({"actual": 49}));
    assert!(start.elapsed() >= Duration::from_secs(1), "the last one was held back");
}

#[test]
fn an_event_that_was_held_back_is_sent_when_the_server_stops() {
    let server = start();
    let mut client = server.client();
    server.events().emit("BALLOON_CHANGE", json!({"actual": 1}));
    server.events().emit("BALLOON_CHANGE", json!({"actual": 2}));

    server.shut_down();

    assert_eq!(client.receive()["data"], json!({"actual": 1}));
    assert_eq!(client.receive()["data"], json!({"actual": 2}));
    assert_eq!(client.receive_rest(), "");
}

#[test]
fn a_handler_that_panics_gives_an_error_and_the_server_lives_on() {
    let server = TestServer::start(|registry: &mut Registry, events| {
        add_quick_commands(registry, events);
        add_panics(registry);
    });
    let mut client = server.oob_client();
    let cases = [
        ("{'execute': 'x-panic-in-task'}", "in a task"),
        ("{'execute': 'x-panic-in-loop'}", "in the loop"),
        ("{'execute': 'x-panic-out-of-band'}", "out of band"),
        ("{'exec-oob': 'x-panic-out-of-band'}", "out of band"),
    ];

    for (request, place) in cases {
        let error = &client.ask(request)["error"];
        assert_eq!(error["class"], "GenericError");
        assert_eq!(error["desc"], format!("The command panicked: as planned, {place}"));
    }
    assert_eq!(client.ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
}

#[test]
fn garbage_is_answered_with_an_error_and_then_commands_work() {
    let server = start();
    let mut client = server.client();

    client.send(b"\xff\xfe{{{ not JSON \x00\x01 \"");
    client.send(b"\xff");
    client.send("{'execute': 'x-ping', 'id': 'after'}");

    let mut reply = client.receive();
    while reply["id"] != "after" {
        assert_eq!(reply["error"]["class"], "GenericError");
        reply = client.receive();
    }
    assert_eq!(reply["return"], "pong");
}

#[test]
fn a_client_that_ends_its_direction_gets_its_replies_first() {
    let (main, parts) = block();
    let server = TestServer::start(move |registry, events| {
        add_quick_commands(registry, events);
        add_block(registry, parts);
    });
    let mut client = server.client();

    client.send("{'execute': 'x-block', 'id': 1}{'execute': 'x-ping', 'id': 2}");
    main.begun.recv_timeout(LONG).expect("the main loop is held up");
    client.stream().shutdown(Shutdown::Write).expect("the socket is open");
    main.release.send(()).expect("the handler waits");

    assert_eq!(client.receive(), json!({"return": {}, "id": 1}));
    assert_eq!(client.receive(), json!({"return": "pong", "id": 2}));
    assert_eq!(client.receive_rest(), "");
}

#[test]
fn tcp_clients_are_served_at_the_port_that_the_kernel_chose() {
    let server = start();
    server.listen(Address::Tcp("127.0.0.1:0".into())).expect("the kernel has a port");
    let addresses = server.with(|server| server.local_addresses());
    let [Address::Unix(_), Address::Tcp(place)] = &addresses[..] else { panic!("{addresses:?}") };
    assert!(!place.ends_with(":0"), "{place}");

    let mut client = Client::new(TcpStream::connect(place).expect("the server listens"));
    assert!(client.receive()["QMP"].is_object());
    client.send("{'execute': 'qmp_capabilities'}{'execute': 'x-ping'}");
    client.stream().shutdown(Shutdown::Write).expect("the socket is open");

    assert_eq!(client.receive(), json!({"return": {}}));
    assert_eq!(client.receive(), json!({"return": "pong"}));
    assert_eq!(client.receive_rest(), "");
}

/// How often the threads of these ids gave up the processor so far.
fn switches(threads: &[i32]) -> Vec<String> {
    let switches = |thread: &i32| {
        let status = fs::read_to_string(format!("/proc/self/task/{thread}/status"));
        let status = status.expect("the thread lives");
        status.lines().filter(|line| line.contains("ctxt_switches")).collect()
    };
    threads.iter().map(switches).collect()
}

#[test]
fn a_server_whose_clients_are_silent_does_nothing() {
    let server = start();
    let _clients = [server.client(), server.oob_client(), server.connect()];
    let main = on_main(|_| nix::unistd::gettid().as_raw());
    let all = fs::read_dir("/proc/self/task").expect("the kernel lists the threads");
    let name = |id: i32| fs::read_to_string(format!("/proc/self/task/{id}/comm"));
    let mut threads: Vec<i32> =
        all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    threads.retain(|&id| id == main || name(id).is_ok_and(|name| name.contains("qmp_iothread")));
    assert_eq!(threads.len(), 2, "the main loop's thread and the monitor's");

    wait_until("a quarter of a second without a wake-up", || {
        let before = switches(&threads);
        thread::sleep(Duration::from_millis(250));
        switches(&threads) == before
    });
}

#[test]
fn the_list_of_commands_is_complete() {
    let server = start();

    let reply = server.client().ask("{'execute': 'query-commands'}");

    let name = |command: &Value| command["name"].as_str().map(str::to_owned);
    let names: HashSet<_> =
        reply["return"].as_array().expect("a list").iter().filter_map(name).collect();
    let expected = ["qmp_capabilities", "query-commands", "x-echo", "x-ping", "stop"];
    assert_eq!(names, expected.map(str::to_owned).into());
}

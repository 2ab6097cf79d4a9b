//! The capability `x-concurrent`: commands of one client that run at the same time.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/qmp.rs"]
mod session;

use std::os::unix::net::UnixStream;

use commands::{add_quick_commands, add_wait};
use common::{Client, LONG, TestServer, options};
use executor::qmp::SessionOptions;
use serde_json::{Value, json};
use session::{GREETING, Monitor, recorded_version};

const ENABLE: &str = "{'execute': 'qmp_capabilities', 'arguments': {'enable': ['x-concurrent']}}";

fn offering() -> SessionOptions {
    SessionOptions { offers_concurrent: true, ..SessionOptions::new(recorded_version()) }
}

/// A session after the negotiation, in which `enable` were enabled.
fn enabled(enable: &str) -> Monitor {
    let mut monitor = Monitor::new(offering());
    monitor.read();
    monitor
        .write(format!("{{'execute': 'qmp_capabilities', 'arguments': {{'enable': [{enable}]}}}}"));
    assert_eq!(monitor.read(), "{\"return\": {}}\r\n");
    monitor
}

fn hold(monitor: &mut Monitor, ids: std::ops::Range<usize>) {
    for id in ids {
        monitor.write(format!("{{'execute': 'x-hold', 'id': {id}}}"));
    }
}

#[test]
fn it_is_greeted_only_where_it_is_offered() {
    assert_eq!(Monitor::raw().read(), GREETING);
    let greeting = Monitor::new(offering()).read();
    assert!(
        greeting.ends_with("\"capabilities\": [\"oob\", \"x-concurrent\"]}}\r\n"),
        "{greeting}"
    );
}

#[test]
fn where_it_is_not_offered_it_is_as_unknown_as_in_qemu() {
    let mut monitor = Monitor::raw();
    monitor.read();
    monitor.write(ENABLE);
    let unknown = monitor.read();
    monitor.write(ENABLE.replace("x-concurrent", "x-unknown"));
    assert_eq!(monitor.read().replace("x-unknown", "x-concurrent"), unknown);
    assert!(unknown.contains("does not accept value 'x-concurrent'"), "{unknown}");
}

#[test]
fn requests_run_at_once_and_replies_come_as_they_are_ready() {
    let mut monitor = enabled("'x-concurrent'");
    hold(&mut monitor, 0..3);
    assert_eq!(monitor.held.len(), 3);
    monitor.held.rotate_left(1);

    (0..3).for_each(|_| monitor.release());

    let replies = [1, 2, 0].map(|id| format!("{{\"return\": {{}}, \"id\": {id}}}\r\n"));
    assert_eq!(monitor.read(), replies.concat());
}

#[test]
fn without_it_a_client_waits_for_itself_though_it_is_offered() {
    for enable in ["", "'oob'"] {
        let mut monitor = enabled(enable);
        hold(&mut monitor, 0..2);
        assert_eq!(monitor.held.len(), 1, "with {enable}");
    }
}

#[test]
fn a_request_without_id_is_refused() {
    let mut monitor = enabled("'x-concurrent'");
    hold(&mut monitor, 0..1);
    monitor.write("{'execute': 'x-hold'}{'execute': 'x-hold', 'id': null}");
    let why = "QMP input lacks member 'id', which 'x-concurrent' requires";
    let error = format!("{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"{why}\"}}}}\r\n");
    assert_eq!(monitor.read(), error);
    assert_eq!(monitor.held.len(), 2, "null is an id");
}

#[test]
fn so_many_run_and_so_many_more_are_read() {
    let mut monitor = enabled("'x-concurrent'");
    hold(&mut monitor, 0..200);
    assert_eq!(monitor.held.len(), 64);
    assert!(!monitor.session.wants_input(), "the rest is the client's to keep");

    for _ in 0..200 {
        monitor.release();
        assert!(monitor.held.len() <= 64);
    }
    assert_eq!(monitor.read().lines().count(), 200);
}

#[test]
fn requests_out_of_band_are_still_told_apart() {
    let mut monitor = enabled("'oob', 'x-concurrent'");
    hold(&mut monitor, 0..2);
    monitor.write("{'exec-oob': 'x-hold', 'id': 'oob'}");
    assert_eq!(monitor.held.len(), 3);
    assert!(monitor.held.iter().filter(|ticket| ticket.is_oob()).count() == 1);
}

/// A server that offers it, and a client that has it.
fn serve() -> (TestServer, std::sync::mpsc::Receiver<&'static str>, Client<UnixStream>) {
    let (tell, tells) = std::sync::mpsc::channel();
    let options = SessionOptions { offers_concurrent: true, ..options() };
    let server = TestServer::start_with(options, move |registry, events| {
        add_quick_commands(registry, events);
        add_wait(registry, tell);
    });
    let mut client = server.connect();
    client.receive();
    assert_eq!(client.ask(ENABLE), json!({ "return": {} }));
    (server, tells, client)
}

#[test]
fn a_server_answers_beside_a_command_of_the_same_client_that_waits() {
    let (_server, tells, mut client) = serve();
    for id in 0..3 {
        client.send(format!("{{'execute': 'x-wait', 'id': {id}}}"));
        assert_eq!(tells.recv_timeout(LONG), Ok("begun"));
    }
    let reply = client.ask("{'execute': 'x-echo', 'arguments': {'text': 'hello'}, 'id': 'e'}");
    assert_eq!(reply, json!({ "return": "hello", "id": "e" }));
}

#[test]
fn all_commands_of_a_client_that_hangs_up_are_cancelled() {
    let (_server, tells, mut client) = serve();
    for id in 0..3 {
        client.send(format!("{{'execute': 'x-wait', 'id': {id}}}"));
        assert_eq!(tells.recv_timeout(LONG), Ok("begun"));
    }
    drop(client);
    for _ in 0..3 {
        assert_eq!(tells.recv_timeout(LONG), Ok("dropped"));
    }
}

#[test]
fn a_shutdown_answers_all_commands_of_a_client() {
    let (server, tells, mut client) = serve();
    for id in 0..3 {
        client.send(format!("{{'execute': 'x-wait', 'id': {id}}}"));
        assert_eq!(tells.recv_timeout(LONG), Ok("begun"));
    }
    server.shut_down();
    let ids: Vec<Value> = (0..3).map(|_| client.receive()["id"].clone()).collect();
    assert_eq!(ids, [json!(0), json!(1), json!(2)]);
    assert_eq!(client.receive_rest(), "");
}

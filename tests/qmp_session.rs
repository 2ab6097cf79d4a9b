//! A monitor's rules beyond single lines: order, queue, events, and clients that do not read.

#[path = "common/qmp.rs"]
mod server;

use std::time::SystemTime;

use executor::qmp::{Event, Session, SessionOptions};
use serde_json::json;
use server::{GREETING, Monitor, recorded_version};

/// Requests `count` times, numbered from `first`.
fn requests(name: &str, first: usize, count: usize) -> String {
    (first..first + count).map(|id| format!("{{'execute': '{name}', 'id': {id}}}")).collect()
}

/// The replies of commands that return nothing.
fn replies(first: usize, count: usize) -> String {
    (first..first + count).map(reply).collect()
}

fn reply(id: usize) -> String {
    format!("{{\"return\": {{}}, \"id\": {id}}}\r\n")
}

fn event(name: &'static str) -> Event {
    Event::new(name, SystemTime::UNIX_EPOCH)
}

fn event_line(name: &str) -> String {
    format!("{{\"timestamp\": {{\"seconds\": 0, \"microseconds\": 0}}, \"event\": \"{name}\"}}\r\n")
}

fn options(output_limit: usize) -> SessionOptions {
    SessionOptions { output_limit, ..SessionOptions::new(recorded_version()) }
}

#[test]
fn the_greeting_comes_first_and_unasked() {
    assert_eq!(Monitor::raw().read(), GREETING);
}

#[test]
fn input_before_the_greeting_is_read_is_accepted() {
    let mut monitor = Monitor::raw();

    monitor.write("{'execute': 'qmp_capabilities'}\n");
    monitor.write("{'execute': 'query-name', 'id': 1}\n");

    assert_eq!(monitor.read(), format!("{GREETING}{{\"return\": {{}}}}\r\n{}", reply(1)));
}

#[test]
fn a_monitor_that_does_not_offer_oob_says_so_and_refuses_it() {
    let options = SessionOptions { offers_oob: false, ..SessionOptions::new(recorded_version()) };
    let mut monitor = Monitor::new(options);

    assert!(monitor.read().ends_with("\"capabilities\": []}}\r\n"));
    monitor.write("{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}");
    assert_eq!(
        monitor.read(),
        "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Capability oob not available\"}}\r\n"
    );
    monitor.write("{'execute': 'qmp_capabilities'}");
    assert_eq!(monitor.read(), "{\"return\": {}}\r\n");
}

#[test]
fn pretty_output_has_one_object_over_several_lines() {
    let options = SessionOptions { pretty: true, ..SessionOptions::new(recorded_version()) };
    let mut monitor = Monitor::new(options);
    assert!(monitor.read().starts_with("{\r\n    \"QMP\": {\r\n        \"version\": {\r\n"));

    monitor.write("{'execute': 'qmp_capabilities', 'id': {}}");

    assert_eq!(
        monitor.read(),
        "{\r\n    \"return\": {\r\n    },\r\n    \"id\": {\r\n    }\r\n}\r\n"
    );
}

#[test]
fn without_oob_nothing_is_read_while_a_request_runs() {
    let mut monitor = Monitor::ready();
    monitor.read_size = 1;

    let input = requests("x-hold", 1, 2);
    monitor.write(&input);

    assert_eq!(monitor.held.len(), 1);
    assert!(!monitor.session.wants_input());
    assert_eq!(monitor.unread(), input.len() / 2);

    monitor.release();
    monitor.release();
    assert_eq!(monitor.read(), replies(1, 2));
    assert!(monitor.session.wants_input());
}

#[test]
fn without_oob_a_mistake_waits_for_the_request_before_it() {
    let mut monitor = Monitor::ready();

    monitor.write("{'execute': 'x-hold', 'id': 1} nope {'execute': 'query-name', 'id': 2}");
    assert_eq!(monitor.read(), "");
    monitor.release();

    let mistake = "{\"error\": {\"class\": \"GenericError\", \
        \"desc\": \"JSON parse error, invalid keyword 'nope'\"}}\r\n";
    assert_eq!(monitor.read(), [reply(1), mistake.into(), reply(2)].concat());
}

#[test]
fn with_oob_eight_requests_queue_behind_the_running_one_and_then_reading_stops() {
    let mut monitor = Monitor::oob();
    monitor.read_size = 1;
    let one = requests("x-hold", 1, 1).len();

    monitor.write(requests("x-hold", 1, 8));
    assert!(monitor.session.wants_input());
    monitor.write(requests("x-hold", 9, 1));
    assert!(!monitor.session.wants_input());
    assert_eq!(monitor.unread(), 0);
    monitor.write(requests("x-hold", 1, 1));
    assert_eq!(monitor.unread(), one);

    // One request ends, another starts: there is room for the one in the socket, and then none.
    monitor.release();
    assert_eq!(monitor.unread(), 0);
    assert!(!monitor.session.wants_input());
    assert_eq!(monitor.held.len(), 1);
}

#[test]
fn an_oob_request_overtakes_running_and_queued_ones() {
    let mut monitor = Monitor::oob();

    monitor.write(requests("x-hold", 1, 3));
    monitor.write("{'exec-oob': 'query-yank', 'id': 'now'}");

    assert_eq!(monitor.read(), "{\"return\": [], \"id\": \"now\"}\r\n");
    for id in 1..=3 {
        monitor.release();
        assert_eq!(monitor.read(), reply(id));
    }
}

#[test]
fn an_oob_request_that_fails_overtakes_too() {
    let mut monitor = Monitor::oob();

    monitor.write("{'execute': 'x-hold', 'id': 1}{'exec-oob': 1}{'exec-oob': 'nope'}");

    let failures = monitor.read();
    assert!(failures.contains("QMP input member 'exec-oob' must be a string"));
    assert!(failures.contains("The command nope has not been found"));
    monitor.release();
    assert_eq!(monitor.read(), reply(1));
}

#[test]
fn with_oob_replies_keep_the_order_of_the_requests() {
    let mut monitor = Monitor::oob();

    monitor.write(requests("query-name", 1, 50));

    assert_eq!(monitor.read(), replies(1, 50));
}

#[test]
fn with_oob_a_full_queue_keeps_oob_requests_waiting_in_the_socket() {
    let mut monitor = Monitor::oob();

    monitor.write(requests("x-hold", 1, 9));
    monitor.write("{'exec-oob': 'query-yank', 'id': 'late'}");
    assert_eq!(monitor.read(), "");

    monitor.release();
    assert_eq!(monitor.read(), format!("{}{}", reply(1), "{\"return\": [], \"id\": \"late\"}\r\n"));
}

#[test]
fn events_are_sent_only_after_the_negotiation() {
    let mut monitor = Monitor::raw();
    monitor.session.emit(&event("RESUME"));
    assert_eq!(monitor.read(), GREETING);

    monitor.write("{'execute': 'qmp_capabilities'}");
    monitor.session.emit(&event("SHUTDOWN"));

    assert_eq!(monitor.read(), format!("{{\"return\": {{}}}}\r\n{}", event_line("SHUTDOWN")));
}

#[test]
fn an_event_comes_before_the_reply_of_the_command_that_caused_it() {
    let mut monitor = Monitor::ready();

    monitor.write(requests("stop", 1, 1));

    assert_eq!(monitor.read(), event_line("STOP") + &reply(1));
}

#[test]
fn an_event_is_sent_while_a_request_runs() {
    let mut monitor = Monitor::ready();
    monitor.write(requests("x-hold", 1, 1));

    monitor.session.emit(&event("STOP"));

    assert_eq!(monitor.read(), event_line("STOP"));
}

#[test]
fn a_client_that_never_reads_stops_being_read() {
    const LIMIT: usize = 1000;

    let mut monitor = Monitor::new(options(LIMIT));
    monitor.read_size = 100;
    monitor.write("{'execute': 'qmp_capabilities'}");
    monitor.write(requests("query-name", 0, 10_000));

    assert!(!monitor.session.wants_input());
    assert!(monitor.unread() > 300_000);
    assert!(monitor.session.unsent().len() < LIMIT + 100);

    let text = monitor.read();
    assert_eq!(monitor.unread(), 0);
    assert!(text.ends_with(&replies(0, 10_000)));
}

#[test]
fn a_slow_reader_gets_everything_in_order() {
    let mut monitor = Monitor::new(options(200));
    monitor.write("{'execute': 'qmp_capabilities'}");
    monitor.write(requests("query-name", 0, 100));

    let mut text = String::new();
    while !monitor.session.unsent().is_empty() {
        text.push_str(&monitor.read_some(7));
    }

    assert!(text.ends_with(&replies(0, 100)));
    assert_eq!(text.lines().count(), 102);
}

#[test]
fn events_for_a_client_that_never_reads_are_dropped_and_counted() {
    const LIMIT: usize = 1000;

    let mut monitor = Monitor::new(options(LIMIT));
    monitor.write("{'execute': 'qmp_capabilities'}");
    monitor.read();
    for _ in 0..100 {
        monitor.session.emit(&event("RTC_CHANGE"));
    }

    assert!(monitor.session.unsent().len() <= LIMIT);
    let kept = monitor.read().lines().count() as u64;
    assert_eq!(monitor.session.dropped_events(), 100 - kept);

    monitor.session.emit(&event("STOP"));
    assert_eq!(monitor.read(), event_line("STOP"));
}

#[test]
fn a_reply_larger_than_the_limit_is_sent_whole() {
    let mut monitor = Monitor::new(options(100));
    monitor.write("{'execute': 'qmp_capabilities'}");
    monitor.read();

    monitor.write("{'execute': 'x-fill', 'arguments': {'size': 5000}, 'id': 1}");
    monitor.session.emit(&event("STOP"));

    let expected = format!("{{\"return\": \"{}\", \"id\": 1}}\r\n", "x".repeat(5000));
    assert_eq!(monitor.read(), expected + &event_line("STOP"));
}

#[test]
fn garbage_is_answered_but_does_not_pile_up() {
    let mut monitor = Monitor::new(options(1000));
    monitor.read_size = 64;
    monitor.write("{'execute': 'qmp_capabilities'}");

    monitor.write([0xFF; 100_000]);

    assert!(monitor.session.unsent().len() < 1100);
    let errors = monitor.read().matches("stray").count();
    assert_eq!(errors, 100_000);
}

#[test]
fn half_a_request_is_kept_until_the_rest_comes() {
    let mut monitor = Monitor::ready();

    monitor.write("{'execute': 'query-na");
    assert_eq!(monitor.read(), "");
    assert!(monitor.session.wants_input());
    monitor.write("me', 'id': 1}");

    assert_eq!(monitor.read(), reply(1));
}

#[test]
fn a_result_keeps_the_order_of_its_members_and_an_id_has_them_sorted() {
    let mut monitor = Monitor::ready();

    monitor.write("{'execute': 'query-version', 'id': {'b': 1, 'a': {'d': 2, 'c': 3}}}");

    let text = monitor.read();
    assert!(text.contains("{\"micro\": 22, \"minor\": 2, \"major\": 7}"));
    assert!(text.ends_with("\"id\": {\"a\": {\"c\": 3, \"d\": 2}, \"b\": 1}}\r\n"));
}

#[test]
fn an_id_may_be_as_deep_as_the_parser_allows() {
    // The request's own brace is the first of 1024 levels.
    let id = format!("{}{}", "[".repeat(1023), "]".repeat(1023));
    let mut monitor = Monitor::ready();

    monitor.write(format!("{{'execute': 'query-name', 'id': {id}}}"));

    assert_eq!(monitor.read(), format!("{{\"return\": {{}}, \"id\": {id}}}\r\n"));
}

#[test]
fn arguments_may_be_as_deep_as_the_parser_allows() {
    let deep = format!("{}{}", "[".repeat(1022), "]".repeat(1022));
    let mut monitor = Monitor::ready();

    monitor.write(format!("{{'execute': 'x-echo', 'arguments': {{'any': {deep}}}}}"));

    assert_eq!(monitor.read(), format!("{{\"return\": {deep}}}\r\n"));
}

#[test]
fn event_data_comes_last() {
    let mut monitor = Monitor::ready();
    let event = event("SHUTDOWN").with_data(&json!({"guest": false})).expect("an object");

    monitor.session.emit(&event);

    assert!(
        monitor.read().ends_with(", \"event\": \"SHUTDOWN\", \"data\": {\"guest\": false}}\r\n")
    );
}

#[test]
fn a_session_may_be_on_another_thread_than_its_commands() {
    fn is_send<T: Send>() {}

    is_send::<Session>();
    is_send::<executor::qmp::Request>();
    is_send::<executor::qmp::OobTable>();
}

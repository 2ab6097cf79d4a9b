//! File descriptors that clients pass along with their bytes, and that no command has asked for: none stays.
//!
//! A pipe tells: its reader meets the end once nobody has the other end any more, neither the server nor a socket's
//! queue.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use commands::add_quick_commands;
use common::{Client, TestServer, open_fds, wait_until};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::pipe;
use serde_json::json;

/// The most that the kernel takes at a time (`SCM_MAX_FD`).
const MOST: usize = 253;

/// Starts a server that has had a client: what its thread makes when it first needs it is there.
fn start() -> TestServer {
    let server = TestServer::start(add_quick_commands);
    drop(server.client());
    wait_until("the server lets go", || server.clients() == 0);
    server
}

/// Sends bytes with `count` copies of the end of a pipe, and returns the other end.
fn send_with_fds(stream: &UnixStream, bytes: &[u8], count: usize) -> OwnedFd {
    let (reader, writer) = pipe().expect("there are fds");
    let fds = vec![writer.as_raw_fd(); count];
    let control = [ControlMessage::ScmRights(&fds)];
    let sent = sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    );
    assert_eq!(sent, Ok(bytes.len()));
    reader
}

/// Whether nobody has the other end.
fn is_closed(reader: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).expect("the pipe is open");
    polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}

/// Waits until nobody has the other end.
fn wait_closed(reader: &OwnedFd, when: &str) {
    wait_until(when, || is_closed(reader));
}

#[test]
fn fds_beside_commands_and_beside_garbage_are_closed_while_the_client_goes_on() {
    let server = start();
    let fds = open_fds();
    let mut client = server.client();
    let inputs =
        ["{'execute': 'x-ping'}", "{'execute': 'stop', 'id': 1}", "[", "]", " ", "\u{1}", "{'exec"];
    for input in inputs {
        for count in [1, 2, MOST] {
            let reader = send_with_fds(client.stream(), input.as_bytes(), count);
            // What comes next takes the place of what was passed before, at the latest.
            let next = send_with_fds(client.stream(), b"\xFF", 1);
            client.send("\u{1}{'execute': 'x-echo', 'arguments': {'text': 'done'}, 'id': 'done'}");
            while client.receive()["id"] != "done" {}
            wait_closed(&reader, input);
            drop(next);
        }
    }
    drop(client);
    wait_until("the server lets go", || server.clients() == 0);
    assert_eq!(open_fds(), fds);
}

#[test]
fn a_thousand_messages_with_fds_do_not_fill_the_servers_table() {
    let server = start();
    let mut client = server.client();
    let fds = open_fds();
    for _ in 0..1000 {
        let reader = send_with_fds(client.stream(), b"{'execute': 'x-ping'}", 8);
        assert_eq!(client.receive(), json!({"return": "pong"}));
        drop(reader);
        assert!(open_fds() <= fds + MOST, "{} fds", open_fds());
    }
    drop(client);
    wait_until("the server lets go", || server.clients() == 0);
    assert!(open_fds() < fds, "the client's two ends are gone, and nothing else is there");
}

#[test]
fn fds_before_the_negotiation_in_half_a_request_and_unread_go_with_the_connection() {
    let server = start();
    let fds = open_fds();
    let connect = || server.connect().stream().try_clone().expect("there are fds");

    let early = connect();
    let readers = [
        send_with_fds(&early, b"{'execute': 'x-echo', 'arg", 3),
        send_with_fds(&early, b"uments'", 3),
    ];
    drop(early);
    readers.iter().for_each(|reader| wait_closed(reader, "before the negotiation"));
    drop(readers);

    // A client that does not read: what it sends stays in the socket, with what came along.
    let deaf = connect();
    (&deaf).write_all(b"{'execute': 'qmp_capabilities'}").expect("it listens");
    (&deaf).write_all("{'execute': 'query-commands'}".repeat(5000).as_bytes()).expect("it listens");
    let reader = send_with_fds(&deaf, b"{'execute': 'x-ping'}", MOST);
    assert!(!is_closed(&reader), "nobody reads it");
    drop(deaf);
    wait_closed(&reader, "unread");
    drop(reader);

    wait_until("the server lets go", || server.clients() == 0);
    assert_eq!(open_fds(), fds);
}

#[test]
fn fds_of_clients_that_are_there_at_the_end_go_with_the_server() {
    let server = start();
    let mut client = server.client();
    let fds = open_fds();
    let reader = send_with_fds(client.stream(), b"{'execute': 'x-ping'}{'exec", 5);
    assert_eq!(client.receive(), json!({"return": "pong"}));

    server.shut_down();

    wait_closed(&reader, "after the end");
    let mut rest = Vec::new();
    let mut stream = client.stream();
    stream.read_to_end(&mut rest).expect("the server has closed it");
    drop((client, reader));
    assert!(open_fds() < fds);
}

#[test]
fn a_client_that_is_turned_away_or_never_accepted_keeps_no_fd() {
    let server = start();
    // Connected, and gone, before anybody may have looked.
    for _ in 0..50 {
        let stream = UnixStream::connect(&server.path).expect("it listens");
        let reader = send_with_fds(&stream, b"{'execute': 'qmp_capabilities'}", 2);
        drop(stream);
        wait_closed(&reader, "gone at once");
    }
    let mut well = Client::new(UnixStream::connect(&server.path).expect("it listens"));
    assert!(well.receive()["QMP"].is_object());
}

//! The QMP server when a side goes away, does not read, or never behaved: what is cancelled, freed, bounded.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/process.rs"]
mod process;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;

use commands::{add_block, add_quick_commands, add_wait, block};
use common::{
    Client, LONG, TestServer, begin_shutdown, cancel_commands, command_tasks, connect, on_main,
    open_fds, options, socket_path, wait_until,
};
use executor::qmp::{Address, Blocking, Command, Coroutine, Error};
use executor::{MainCx, NoCoroutine};
use serde_json::json;

fn start() -> TestServer {
    TestServer::start(add_quick_commands)
}

fn start_with_wait() -> (TestServer, mpsc::Receiver<&'static str>) {
    let (told, tells) = mpsc::channel();
    let server = TestServer::start(move |registry, events| {
        add_quick_commands(registry, events);
        add_wait(registry, told);
    });
    (server, tells)
}

#[test]
fn a_client_that_goes_away_takes_its_command_fd_and_tasks_along() {
    let (server, tells) = start_with_wait();
    let _first = server.client();
    let before = open_fds();
    let mut client = server.client();
    client.send("{'execute': 'x-wait'}");
    assert_eq!(tells.recv_timeout(LONG), Ok("begun"));
    assert_eq!(command_tasks(), 1);

    drop(client);

    assert_eq!(tells.recv_timeout(LONG), Ok("dropped"));
    wait_until("the task is gone", || command_tasks() == 0);
    wait_until("the client is gone", || server.clients() == 1);
    assert_eq!(open_fds(), before);
}

#[test]
fn a_client_that_goes_away_with_requests_unread_is_noticed() {
    let (server, tells) = start_with_wait();
    let mut client = server.client();
    client.send("{'execute': 'x-wait'}");
    assert_eq!(tells.recv_timeout(LONG), Ok("begun"));
    client.send(vec![b' '; 100_000]);

    drop(client);

    assert_eq!(tells.recv_timeout(LONG), Ok("dropped"));
    wait_until("the client is gone", || server.clients() == 0);
}

#[test]
fn a_command_whose_client_left_before_it_began_does_not_begin() {
    let (main, parts) = block();
    let (told, tells) = mpsc::channel();
    let server = TestServer::start(move |registry, _| {
        add_block(registry, parts);
        add_wait(registry, told);
    });
    let mut client = server.client();
    client.send("{'execute': 'x-block'}");
    main.begun.recv_timeout(LONG).expect("the main loop is held up");
    let before = open_fds();
    let mut hasty = server.oob_client();
    hasty.send("{'execute': 'x-wait'}{'exec-oob': 'x-unknown'}");
    assert!(hasty.receive()["error"].is_object(), "both were read");

    drop(hasty);
    wait_until("the server lets go of the socket", || open_fds() == before);
    main.release.send(()).expect("the handler waits");

    assert_eq!(client.receive(), json!({"return": {}}));
    server.shut_down();
    assert!(tells.try_recv().is_err(), "the command has not begun");
}

#[test]
fn a_client_that_does_not_read_is_not_read_and_delays_nobody() {
    let mut small = options();
    small.output_limit = 10_000;
    let server = TestServer::start_with(small, add_quick_commands);
    let deaf = server.client();
    let mut well = server.client();

    deaf.stream().set_nonblocking(true).expect("the socket is open");
    let request =
        format!("{{'execute': 'x-echo', 'arguments': {{'text': '{}'}}}}", "a".repeat(900));
    let mut stream = deaf.stream();
    let mut sent = 0;
    loop {
        match stream.write(request.as_bytes()) {
            Ok(count) => sent += count,
            // While its buffer is full the server may be about to read more; an answer to another
            // client says that it has had its turn.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert_eq!(well.ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
                if let Err(error) = stream.write(request.as_bytes()) {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break;
                }
            }
            Err(error) => panic!("the server closed the connection: {error}"),
        }
        assert!(sent < 10_000_000, "the server reads on and on");
    }
}

#[test]
fn events_for_a_client_that_does_not_read_take_bounded_memory() {
    const EVENTS: u64 = 20_000;
    let mut small = options();
    small.output_limit = 10_000;
    let server = TestServer::start_with(small, add_quick_commands);
    let deaf = server.client();

    let events = server.events();
    for number in 0..EVENTS {
        events.emit("X_COUNT", json!({"n": number, "text": "a".repeat(100)}));
    }
    server.shut_down();

    let mut text = String::new();
    deaf.stream().read_to_string(&mut text).expect("the server closes the connection");
    let received = u64::try_from(text.lines().count()).expect("it is small");
    assert!((1..EVENTS / 2).contains(&received), "{received} events were kept");
    assert!(text.ends_with("\r\n"), "the last event is complete");
}

#[test]
fn a_hundred_clients_that_come_and_go_at_any_point_leave_nothing() {
    let (server, tells) = start_with_wait();
    let mut steady = server.client();
    let before = open_fds();

    let rude = |number: usize| {
        let mut client = connect(&server.path);
        let text = "{'execute': 'qmp_capabilities'}{'execute': 'stop'}{'execute': 'x-wait'}";
        client.send(&text[..number % text.len()]);
        if number % 3 == 0 {
            client.receive();
        }
        if number % 5 == 0 {
            client.send(text);
            client.stream().shutdown(Shutdown::Write).expect("the socket is open");
        }
    };
    thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || (0..25).for_each(|number| rude(4 * number + part)));
        }
    });

    let mut reply = steady.ask("{'execute': 'x-ping'}");
    while reply["event"] == "STOP" {
        reply = steady.receive();
    }
    assert_eq!(reply, json!({"return": "pong"}));
    wait_until("the clients are gone", || server.clients() == 1);
    wait_until("their commands are gone", || command_tasks() == 0);
    assert_eq!(open_fds(), before);
    let (begun, dropped): (Vec<_>, _) = tells.try_iter().partition(|told| *told == "begun");
    assert_eq!(begun.len(), dropped.len());
}

#[test]
fn writing_to_a_client_that_has_gone_raises_no_signal() {
    // SAFETY: the default action runs no code of ours. (Rust programs ignore the signal otherwise.)
    unsafe {
        nix::sys::signal::signal(
            nix::sys::signal::Signal::SIGPIPE,
            nix::sys::signal::SigHandler::SigDfl,
        )
    }
    .expect("the signal exists");
    let server = start();
    server.listen(Address::Tcp("127.0.0.1:0".into())).expect("the kernel has a port");
    let addresses = server.with(|server| server.local_addresses());
    let Some(Address::Tcp(place)) = addresses.last() else { panic!("{addresses:?}") };

    let mut client = Client::new(TcpStream::connect(place).expect("the server listens"));
    client.send("{'execute': 'qmp_capabilities'}");
    client.receive();
    client.receive();
    drop(client);
    // The first one is answered with a reset, the second one meets a closed connection.
    wait_until("the client is gone", || {
        server.events().emit("STOP", ());
        server.clients() == 0
    });
}

/// The reply to a command that the end of the server cancels.
const CANCELLED: &str =
    "{\"error\": {\"class\": \"GenericError\", \"desc\": \"The command was cancelled\"}}\r\n";

#[test]
fn a_shutdown_sends_what_is_due_and_cancels_the_rest() {
    let (server, tells) = start_with_wait();
    let path = server.path.clone();
    let mut waiting = server.client();
    waiting.send("{'execute': 'x-wait'}");
    assert_eq!(tells.recv_timeout(LONG), Ok("begun"));
    let mut idle = server.client();
    server.events().emit("SHUTDOWN", json!({"guest": false}));

    server.shut_down();

    assert_eq!(tells.try_recv(), Ok("dropped"));
    assert!(!path.exists(), "the socket file is gone");
    assert_eq!(waiting.receive()["event"], "SHUTDOWN");
    assert_eq!(waiting.receive_rest(), CANCELLED);
    assert_eq!(idle.receive()["event"], "SHUTDOWN");
    assert_eq!(idle.receive_rest(), "");
    assert_eq!(command_tasks(), 0);
}

/// Shuts the server down from a bottom half.
struct Quit;

impl Command for Quit {
    const NAME: &'static str = "quit";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

/// Shuts the server down from a task.
struct QuitInTask;

impl Command for QuitInTask {
    const NAME: &'static str = "x-quit-in-task";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

async fn quit_in_task(cx: &MainCx, (): ()) -> Result<(), Error> {
    begin_shutdown(&cx.main());
    Ok(())
}

#[test]
fn a_command_that_ends_the_server_is_answered() {
    for command in ["quit", "x-quit-in-task"] {
        let server = TestServer::start(|registry, events| {
            let events = events.clone();
            registry.command::<QuitInTask, _>(quit_in_task);
            registry.command::<Quit, _>(move |nc: &mut NoCoroutine, ()| {
                begin_shutdown(&nc.main());
                events.emit("SHUTDOWN", json!({"guest": false}));
                Ok(())
            });
        });
        let mut client = server.client();

        client.send(format!("{{'execute': '{command}'}}"));

        let text = client.receive_rest();
        assert!(text.ends_with("{\"return\": {}}\r\n"), "{text:?}");
        assert_eq!(text.contains("SHUTDOWN"), command == "quit");
    }
}

#[test]
fn a_command_that_an_operator_cancels_is_answered_with_an_error() {
    let (server, tells) = start_with_wait();
    let mut client = server.client();
    client.send("{'execute': 'x-wait'}");
    assert_eq!(tells.recv_timeout(LONG), Ok("begun"));

    cancel_commands();

    assert_eq!(client.receive()["error"]["desc"], "The command was cancelled");
    assert_eq!(tells.recv_timeout(LONG), Ok("dropped"));
    assert_eq!(client.ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
}

#[test]
fn a_shutdown_leaves_no_fd_and_no_thread() {
    // Alone, so that nobody else opens or closes anything.
    process::in_own_process("a_shutdown_leaves_no_fd_and_no_thread", count_around_a_server);
}

fn count_around_a_server() {
    let count = || {
        let threads = fs::read_dir("/proc/self/task").expect("the kernel lists the threads");
        let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm"));
        let names = threads.flatten().filter_map(|thread| name(thread).ok());
        (open_fds(), names.filter(|name| name.contains("qmp_iothread")).count())
    };
    let first = start();
    first.shut_down();
    // A thread that was joined may be listed for a moment more.
    wait_until("the first server's thread is gone", || count().1 == 0);
    // What the main loop makes once is there from now on.
    let before = count();
    drop(first);

    // Several, since the context of an iothread goes with its last waker, a moment after the thread: a few
    // fds of the first server may be in `before`, but not as many as five servers would leave behind.
    for _ in 0..5 {
        let server = start();
        let clients = [server.client(), server.oob_client(), server.connect()];
        server.shut_down();
        drop(clients);
    }

    let is_clean = |(fds, threads)| fds <= before.0 && threads == 0;
    wait_until("nothing is left of the servers", || is_clean(count()));
}

#[test]
fn a_server_that_is_dropped_ends_at_once() {
    let (server, tells) = start_with_wait();
    let path = server.path.clone();
    let mut client = server.client();
    client.send("{'execute': 'x-wait'}");
    assert_eq!(tells.recv_timeout(LONG), Ok("begun"));

    server.drop_server();

    // The client may still be told, but that is not waited for.
    let rest = client.receive_rest();
    assert!(["", CANCELLED].contains(&rest.as_str()), "{rest}");
    assert!(!path.exists(), "the socket file is gone");
    assert_eq!(tells.recv_timeout(LONG), Ok("dropped"));
}

#[test]
fn a_socket_file_that_nobody_listens_on_is_replaced() {
    let server = start();
    let path = socket_path();
    drop(UnixListener::bind(&path).expect("the path is free"));
    assert!(path.exists(), "a crashed program leaves its file");

    server.listen(Address::Unix(path.clone())).expect("the file is stale");

    assert!(connect(&path).receive()["QMP"].is_object());
}

#[test]
fn a_socket_that_is_in_use_or_a_file_that_is_no_socket_stays() {
    let server = start();
    let (taken, file, link) = (socket_path(), socket_path(), socket_path());
    let _other = UnixListener::bind(&taken).expect("the path is free");
    fs::write(&file, "precious").expect("the path is free");
    symlink(&taken, &link).expect("the path is free");

    for path in [&taken, &file, &link] {
        let error = server.listen(Address::Unix(path.clone())).expect_err("the path is in use");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(text.contains(path.to_str().expect("the path is ASCII")), "{text}");
    }

    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "precious");
    for path in [taken, file, link] {
        fs::remove_file(path).expect("it is still there");
    }
}

#[test]
fn a_socket_file_that_is_now_somebody_elses_is_not_removed() {
    let server = start();
    let path = server.path.clone();
    fs::remove_file(&path).expect("the server made it");
    let _other = UnixListener::bind(&path).expect("the path is free");

    server.shut_down();

    fs::remove_file(&path).expect("the other one's is still there");
}

#[test]
fn an_address_that_cannot_be_had_is_named_in_the_error() {
    let server = start();
    let other = TcpListener::bind("127.0.0.1:0").expect("the kernel has a port");
    let place = other.local_addr().expect("it is bound").to_string();

    let error = server.listen(Address::Tcp(place.clone())).expect_err("the port is in use");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("tcp:{place}: ")), "{error}");

    let error = server.listen(Address::Unix("/nonexistent/socket".into()));
    assert_eq!(error.expect_err("there is no folder").kind(), ErrorKind::NotFound);
    assert_eq!(on_main(|_| 1), 1, "the main loop is well");
}

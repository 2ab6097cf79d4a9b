//! Who can reach the QMP server, what it does to files that are not its own, and what no input gets past.
//!
//! `qmp_server_ends.rs` has the socket that is in use, the file that is no socket and the stale one. The umask and
//! the memory are the process's, so those cases have a process each.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/process.rs"]
mod process;
#[path = "common/usage.rs"]
mod usage;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use commands::add_quick_commands;
use common::{TestServer, connect, socket_path};
use executor::qmp::Address;
use nix::sys::stat::{Mode, umask};
use process::in_own_process;
use serde_json::json;
use usage::{DoneOnDrop, resident_kib};

fn start() -> TestServer {
    TestServer::start(add_quick_commands)
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::symlink_metadata(path).ok()?.permissions().mode() & 0o7777)
}

#[test]
fn a_socket_is_its_owners_alone_from_its_creation_on_whatever_the_umask() {
    let name = "a_socket_is_its_owners_alone_from_its_creation_on_whatever_the_umask";
    in_own_process(name, || {
        umask(Mode::empty());
        let server = start();
        let (path, done) = (socket_path(), AtomicBool::new(false));
        thread::scope(|scope| {
            let watch = || {
                let mut seen = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    seen.extend(mode(&path).filter(|mode| *mode != 0o600));
                }
                seen
            };
            let watcher = scope.spawn(watch);
            let ending = DoneOnDrop(&done);
            for _ in 0..200 {
                server.listen(Address::Unix(path.clone())).expect("the path is free");
                assert_eq!(mode(&path), Some(0o600));
                fs::remove_file(&path).expect("the server made it");
            }
            drop(ending);
            assert_eq!(watcher.join().expect("it only looks"), [0; 0]);
        });
    });
}

#[test]
fn a_socket_that_replaces_a_stale_one_is_its_owners_alone() {
    let server = start();
    let path = socket_path();
    drop(UnixListener::bind(&path).expect("the path is free"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("the file is ours");

    server.listen(Address::Unix(path.clone())).expect("the file is stale");

    assert_eq!(mode(&path), Some(0o600));
}

/// Connects as a user who is not root. False if this process may not become another user.
fn is_refused_as_another_user(path: &Path) -> bool {
    const NOBODY: u32 = 65534;
    let path = path.to_owned();
    let connect = move || {
        // SAFETY: no memory is involved; the identity is that of this thread, which ends below.
        unsafe { libc::setfsuid(NOBODY) };
        UnixStream::connect(path).err().map(|error| error.kind())
    };
    let answer = thread::spawn(connect).join().expect("it only connects");
    answer == Some(ErrorKind::PermissionDenied)
}

#[test]
fn another_user_cannot_connect_and_the_owner_can() {
    let server = start();
    assert!(server.connect().receive()["QMP"].is_object());

    // SAFETY: it only asks.
    if unsafe { libc::geteuid() } == 0 {
        assert!(is_refused_as_another_user(&server.path));
        // The same user gets in where the owner allows it, so it was the mode that kept it out.
        fs::set_permissions(&server.path, fs::Permissions::from_mode(0o666)).expect("it is ours");
        assert!(!is_refused_as_another_user(&server.path));
    }
}

#[test]
fn a_link_at_the_path_is_not_followed_wherever_it_leads() {
    let server = start();
    let (stale, file, nothing) = (socket_path(), socket_path(), socket_path());
    drop(UnixListener::bind(&stale).expect("the path is free"));
    fs::write(&file, "precious").expect("the path is free");

    for target in [&stale, &file, &nothing] {
        let link = socket_path();
        symlink(target, &link).expect("the path is free");

        let error = server.listen(Address::Unix(link.clone())).expect_err("the path is taken");

        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(&fs::read_link(&link).expect("the link is still there"), target);
        fs::remove_file(link).expect("it is still there");
    }
    assert!(fs::symlink_metadata(&stale).expect("it is still there").file_type().is_socket());
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), "precious");
    assert!(fs::symlink_metadata(&nothing).is_err(), "nothing was made behind the link");
    fs::remove_file(stale).expect("it is still there");
    fs::remove_file(file).expect("it is still there");
}

#[test]
fn a_link_that_has_taken_the_sockets_place_is_not_removed_nor_followed() {
    let server = start();
    let (path, moved) = (server.path.clone(), socket_path());
    fs::rename(&path, &moved).expect("the server made it");
    symlink(&moved, &path).expect("the path is free");

    server.shut_down();

    for path in [path, moved] {
        fs::remove_file(path).expect("it is still there");
    }
}

#[test]
fn a_stale_socket_is_not_replaced_while_somebody_listens_even_if_nobody_is_accepted() {
    let server = start();
    let path = socket_path();
    let listener = UnixListener::bind(&path).expect("the path is free");
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).expect("0 is possible"))
        .expect("it listens already");
    let _waits = UnixStream::connect(&path).expect("the queue has room for one");

    // Now the queue is full, which is another answer than that of an empty one.
    let error = server.listen(Address::Unix(path.clone())).expect_err("the path is in use");

    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    fs::remove_file(path).expect("it is still there");
}

/// The inodes of this process's sockets that are TCP's.
fn tcp_sockets() -> Vec<String> {
    let fds = fs::read_dir("/proc/self/fd").expect("the kernel lists the fds");
    let links = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
    let inode = |link: &str| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    let ours: Vec<_> = links.filter_map(|link| inode(link.to_str()?)).collect();
    let mut tables = fs::read_to_string("/proc/self/net/tcp").expect("the kernel lists them");
    tables += &fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default();
    let listed = |inode: &&str| ours.iter().any(|ours| ours == inode);
    tables.split_whitespace().filter(listed).map(str::to_owned).collect()
}

#[test]
fn the_network_reaches_the_server_only_where_it_was_told_to_listen() {
    let server = start();
    assert_eq!(tcp_sockets(), [""; 0], "a UNIX socket is no door to the network");
    for place in [":4444", "", "4444", ":0"] {
        let address = Address::Tcp(place.into());
        assert!(server.listen(address).is_err(), "`{place}` names no host");
    }
    assert_eq!(tcp_sockets(), [""; 0]);

    server.listen(Address::Tcp("127.0.0.1:0".into())).expect("the kernel has a port");

    assert_eq!(tcp_sockets().len(), 1);
    let addresses = server.with(|server| server.local_addresses());
    assert!(matches!(&addresses[1], Address::Tcp(at) if at.starts_with("127.0.0.1:")));
}

#[test]
fn input_that_nests_too_deep_is_one_error_and_the_client_goes_on() {
    let server = start();
    let mut client = server.client();

    for open in ["[", "{'a': ", "{'execute': 'x-echo', 'arguments': {'text': ["] {
        client.send(open.repeat(1025));
        let mut reply = client.ask("\u{1} {'execute': 'x-ping', 'id': 'after'}");
        assert_eq!(reply["error"]["desc"], "JSON nesting depth limit exceeded", "{open}");
        while reply["id"] != "after" {
            assert_eq!(reply["error"]["class"], "GenericError");
            reply = client.receive();
        }
        assert_eq!(reply["return"], "pong");
    }
    assert!(server.connect().receive()["QMP"].is_object());
}

#[test]
fn a_value_at_the_limit_of_nesting_is_taken_and_dropped_without_running_out_of_stack() {
    let server = start();
    let mut client = server.client();
    // Two levels are the request's.
    let deep = "[".repeat(1020) + &"]".repeat(1020);

    let reply = client.ask(&format!("{{'execute': 'x-ping', 'arguments': {{'a': {deep}}}}}"));

    assert_eq!(reply["error"]["class"], "GenericError");
    assert_eq!(client.ask("{'execute': 'x-ping'}"), json!({"return": "pong"}));
    let id = format!("{{'execute': 'x-ping', 'id': {deep}}}");
    client.send(id);
    assert!(client.receive_line().contains("pong"));
}

#[test]
fn a_token_of_more_than_64_mebibytes_is_refused_and_its_memory_given_back() {
    let name = "a_token_of_more_than_64_mebibytes_is_refused_and_its_memory_given_back";
    in_own_process(name, || {
        let server = start();
        let mut client = server.client();
        let before = resident_kib();
        client.send("{'execute': '");
        let mebibyte = vec![b'a'; 1 << 20];
        for _ in 0..64 {
            client.send(&mebibyte);
        }
        client.send("aa");

        let error = client.receive();

        assert_eq!(error["error"]["desc"], "JSON token size limit exceeded");
        let mut reply = client.ask("'} \u{1} {'execute': 'x-ping', 'id': 'after'}");
        while reply["id"] != "after" {
            reply = client.receive();
        }
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 8 << 10, "{grown} KiB are kept");
    });
}

#[test]
fn a_value_of_more_than_two_million_tokens_is_refused() {
    let server = start();
    let mut client = server.client();
    client.send("[");
    let numbers = "1,".repeat(1 << 10);
    for _ in 0..1 << 10 {
        client.send(&numbers);
    }

    let error = client.receive();

    assert_eq!(error["error"]["desc"], "JSON token count limit exceeded");
    assert!(connect(&server.path).receive()["QMP"].is_object(), "others are served");
}

//! Sockets' files that several programs want at the same time.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::{Lock, SocketFile, bind_private, bind_unix};

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("listener-{}-{name}.sock", std::process::id()))
}

/// As a server does it.
fn listen(path: &Path) -> std::io::Result<(UnixListener, SocketFile)> {
    let _lock = Lock::take(path)?;
    let socket = bind_unix(path)?;
    Ok((socket, SocketFile::of(path)?))
}

#[test]
fn a_socket_that_does_not_listen_yet_is_not_taken_for_stale() {
    let path = path("early");
    // Another server, between its two system calls.
    let lock = Lock::take(&path).expect("nobody has it");
    let flags = nix::sys::socket::SockFlag::SOCK_CLOEXEC;
    let early = super::socket(super::AddressFamily::Unix, super::SockType::Stream, flags, None)
        .expect("there are fds");
    let address = super::UnixAddr::new(&path).expect("it is short");
    super::bind(std::os::fd::AsRawFd::as_raw_fd(&early), &address).expect("the path is free");

    let error = listen(&path).map(drop).expect_err("somebody is there");

    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    super::listen(&early, super::Backlog::MAXALLOWABLE).expect("it is bound");
    drop(lock);
    UnixStream::connect(&path).expect("its file is still there");
    let error = listen(&path).map(drop).expect_err("somebody listens");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    fs::remove_file(path).expect("it is still there");
}

#[test]
fn a_server_that_ends_leaves_the_file_to_whoever_is_replacing_it() {
    let path = path("late");
    let (socket, file) = listen(&path).expect("the path is free");
    drop(socket);
    // The next server has seen that it is stale.
    let lock = Lock::take(&path).expect("nobody has it");
    fs::remove_file(&path).expect("it is still there");
    let next = bind_private(&path).expect("the path is free");

    drop(file);

    assert!(path.exists(), "it is the next one's");
    drop((next, lock));
    fs::remove_file(path).expect("it is still there");
}

#[test]
fn of_many_servers_at_one_stale_path_one_has_it_and_is_reached_there() {
    let path = path("many");
    for _ in 0..50 {
        drop(UnixListener::bind(&path).expect("the path is free"));
        let sockets: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| listen(&path))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        let mut ours: Vec<_> = sockets.into_iter().filter_map(Result::ok).collect();
        assert_eq!(ours.len(), 1, "one has it");
        let (socket, file) = ours.pop().expect("there is one");
        let _client = UnixStream::connect(&path).expect("it listens");
        socket.set_nonblocking(true).expect("it is open");
        socket.accept().expect("the client is its");
        drop(file);
        assert!(!path.exists());
    }
}

//! Tests of `AsyncFd` on real sockets.

use std::future::Future;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_util::future::join;

use super::AsyncFd;
use super::test_loop::TestLoop;

fn pair() -> (UnixStream, UnixStream) {
    let (local, peer) = UnixStream::pair().unwrap();
    local.set_nonblocking(true).unwrap();
    (local, peer)
}

fn poll_once<F: Future>(lp: &TestLoop, future: Pin<&mut F>) -> Poll<F::Output> {
    lp.enter(|| future.poll(&mut Context::from_waker(Waker::noop())))
}

#[test]
fn reading_waits_for_data_and_nothing_is_read_before() {
    let lp = TestLoop::new();
    let (local, mut peer) = pair();
    let fd = lp.enter(|| AsyncFd::new(local)).unwrap();
    let mut attempts = 0;
    let mut buffer = [0; 8];
    let mut read = Box::pin(fd.read_with(|mut socket| {
        attempts += 1;
        socket.read(&mut buffer)
    }));

    lp.turn();
    assert!(poll_once(&lp, read.as_mut()).is_pending());
    peer.write_all(b"data").unwrap();
    assert!(poll_once(&lp, read.as_mut()).is_pending(), "the event is not dispatched");
    lp.turn();
    assert_eq!(lp.block_on(read).unwrap(), 4);

    assert_eq!(attempts, 1);
    assert_eq!(&buffer[..4], b"data");
}

#[test]
fn an_operation_that_would_block_waits_for_the_next_event() {
    let lp = TestLoop::new();
    let (local, mut peer) = pair();
    let fd = lp.enter(|| AsyncFd::new(local)).unwrap();
    peer.write_all(b"a").unwrap();
    let read_byte = |mut socket: &UnixStream| {
        let mut buffer = [0; 1];
        socket.read_exact(&mut buffer)?;
        Ok(buffer[0])
    };
    assert_eq!(lp.block_on(fd.read_with(read_byte)).unwrap(), b'a');

    let mut read = pin!(fd.read_with(read_byte));
    assert!(poll_once(&lp, read.as_mut()).is_pending(), "it tried, and forgot the readiness");
    peer.write_all(b"b").unwrap();

    assert_eq!(lp.block_on(read).unwrap(), b'b');
}

#[test]
fn an_interrupted_operation_is_repeated() {
    let lp = TestLoop::new();
    let (local, _peer) = pair();
    let fd = lp.enter(|| AsyncFd::new(local)).unwrap();
    let mut results = [Err(io::ErrorKind::Interrupted.into()), Ok(3)].into_iter();

    let result = lp.block_on(fd.write_with(|_| results.next().unwrap()));

    assert_eq!(result.unwrap(), 3);
}

#[test]
fn several_tasks_wait_for_one_fd_and_all_are_woken() {
    let lp = TestLoop::new();
    let (local, mut peer) = pair();
    let fd = lp.enter(|| AsyncFd::new(local)).unwrap();
    let waiting = join(fd.readable(), join(fd.readable(), fd.readable()));
    let mut waiting = pin!(waiting);
    assert!(poll_once(&lp, waiting.as_mut()).is_pending());

    peer.write_all(b"x").unwrap();

    let (first, (second, third)) = lp.block_on(waiting);
    assert!([first, second, third].iter().all(Result::is_ok));
}

#[test]
fn a_dropped_waiter_leaves_the_list() {
    let lp = TestLoop::new();
    let (local, _peer) = pair();
    let fd = lp.enter(|| AsyncFd::new(local)).unwrap();
    let alive = std::sync::Arc::new(super::test_loop::Woken::default());
    let waker = Waker::from(std::sync::Arc::clone(&alive));
    let mut waiting = Box::pin(fd.readable());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    assert_eq!(std::sync::Arc::strong_count(&alive), 2);

    drop(waiting);

    assert_eq!(std::sync::Arc::strong_count(&alive), 1);
}

#[test]
fn the_end_of_the_stream_stays_readable() {
    let lp = TestLoop::new();
    let (local, mut peer) = pair();
    let fd = lp.enter(|| AsyncFd::new(local)).unwrap();
    peer.write_all(b"x").unwrap();
    drop(peer);

    let ready = lp.block_on(fd.readable()).unwrap();
    assert!(ready.is_unusual());
    fd.drained(ready);
    let mut buffer = [0; 8];
    let mut read = |mut socket: &UnixStream| socket.read(&mut buffer);
    assert_eq!(lp.block_on(fd.read_with(&mut read)).unwrap(), 1);
    assert_eq!(lp.block_on(fd.read_with(&mut read)).unwrap(), 0);
    assert_eq!(lp.block_on(fd.read_with(&mut read)).unwrap(), 0);
}

#[test]
fn a_full_socket_becomes_writable_when_the_peer_reads() {
    let lp = TestLoop::new();
    let (local, mut peer) = pair();
    let fd = lp.enter(|| AsyncFd::write_only(local)).unwrap();
    let block = [0; 65536];
    let fill = fd.write_with(|mut socket| -> io::Result<()> {
        while socket.write(&block)? > 0 {}
        Ok(())
    });
    lp.turn();
    assert!(poll_once(&lp, pin!(fill)).is_pending(), "the socket is full");
    lp.turn();
    let mut blocked = pin!(fd.writable());
    assert!(poll_once(&lp, blocked.as_mut()).is_pending());
    lp.turn();
    assert!(poll_once(&lp, blocked.as_mut()).is_pending());

    peer.set_nonblocking(true).unwrap();
    let mut sink = vec![0; 1 << 20];
    while peer.read(&mut sink).is_ok() {}

    lp.block_on(blocked).unwrap();
}

#[test]
fn a_regular_file_is_given_back_with_an_error_that_says_what_to_use() {
    let lp = TestLoop::new();
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let number = file.as_raw_fd();

    let (file, error) = lp.enter(|| AsyncFd::new(file)).unwrap_err().into_parts();

    assert_eq!(file.as_raw_fd(), number);
    assert!(error.to_string().contains("blocking"), "{error}");
    assert!(lp.reactor.is_idle());
}

#[test]
fn registering_an_fd_twice_is_an_error() {
    let lp = TestLoop::new();
    let (local, _peer) = pair();
    let _fd = lp.enter(|| AsyncFd::new(&local)).unwrap();

    let error = lp.enter(|| AsyncFd::new(&local)).unwrap_err();

    assert_eq!(error.error().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(lp.reactor.len(), 1);
}

#[test]
fn an_fd_comes_back_open_and_can_be_registered_again() {
    let lp = TestLoop::new();
    let (local, mut peer) = pair();
    let fd = lp.enter(|| AsyncFd::new(OwnedFd::from(local))).unwrap();

    let inner = fd.into_inner();
    assert!(lp.reactor.is_idle());
    let fd = lp.enter(|| AsyncFd::new(inner)).unwrap();
    peer.write_all(b"x").unwrap();
    lp.block_on(fd.readable()).unwrap();

    drop(fd);
    assert!(lp.reactor.is_idle());
    assert_eq!(peer.read(&mut [0]).unwrap_or(0), 0, "dropping closed the fd");
}

#[test]
fn a_closed_reactor_wakes_the_waiting_and_fails_what_comes_later() {
    let lp = TestLoop::new();
    let (local, _peer) = pair();
    let fd = lp.enter(|| AsyncFd::new(local)).unwrap();
    let mut waiting = pin!(fd.readable());
    assert!(poll_once(&lp, waiting.as_mut()).is_pending());

    lp.reactor.close();

    let error = lp.block_on(waiting).unwrap_err();
    assert!(error.to_string().contains("is gone"), "{error}");
    assert!(lp.block_on(fd.write_with(|_| Ok(()))).is_err());
    let (other, _peer) = pair();
    assert!(lp.enter(|| AsyncFd::new(other)).is_err());
}

#[test]
fn another_thread_can_wait_for_an_fd_of_this_loop() {
    let lp = TestLoop::new();
    let (local, mut peer) = pair();
    let fd = lp.enter(|| AsyncFd::new(local)).unwrap();

    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let elsewhere = TestLoop::new();
            elsewhere.block_on(fd.read_with(|mut socket| socket.read(&mut [0; 4]))).unwrap()
        });
        peer.write_all(b"abc").unwrap();
        while !other.is_finished() {
            lp.turn();
            std::thread::yield_now();
        }
        assert_eq!(other.join().unwrap(), 3);
    });
}

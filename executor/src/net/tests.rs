//! Tests of streams, listeners, pipes and counters on the real kernel.

use std::future::Future;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use futures_util::future::join;
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::{EventFd, TcpListener, TcpStream, UnixListener, UnixStream, pipe};
use crate::async_fd::test_loop::TestLoop;

fn poll_once<F: Future>(lp: &TestLoop, future: Pin<&mut F>) -> Poll<F::Output> {
    lp.enter(|| future.poll(&mut Context::from_waker(Waker::noop())))
}

/// A stream of this loop and its blocking peer.
fn pair(lp: &TestLoop) -> (UnixStream, net::UnixStream) {
    let (local, peer) = net::UnixStream::pair().unwrap();
    (lp.enter(|| UnixStream::from_std(local)).unwrap(), peer)
}

#[test]
fn both_directions_of_a_stream_work_at_once() {
    let lp = TestLoop::new();
    let (one, other) = lp.enter(UnixStream::pair).unwrap();
    let sent: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let mut echoed = vec![0; sent.len()];

    let echo = async {
        let mut buffer = [0; 10_000];
        loop {
            let count = (&other).read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            (&other).write_all(&buffer[..count]).await.unwrap();
        }
    };
    let send = async {
        (&one).write_all(&sent).await.unwrap();
        (&one).close().await.unwrap();
    };
    let receive = async { (&one).read_exact(&mut echoed).await.unwrap() };
    lp.block_on(join(echo, join(send, receive)));

    assert!(sent == echoed, "the echo differs");
}

#[test]
fn a_short_read_is_followed_by_no_further_system_call() {
    let lp = TestLoop::new();
    let (stream, mut peer) = pair(&lp);
    peer.write_all(b"abc").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(lp.block_on((&stream).read(&mut buffer)).unwrap(), 3);

    // The bytes arrive, but the event has not been dispatched: a read that asked would find them.
    peer.write_all(b"defg").unwrap();
    let mut reader = &stream;
    let mut read = pin!(reader.read(&mut buffer));
    assert!(poll_once(&lp, read.as_mut()).is_pending());

    assert_eq!(lp.block_on(read).unwrap(), 4);
}

#[test]
fn data_behind_attached_fds_is_not_forgotten() {
    let lp = TestLoop::new();
    let (stream, mut peer) = pair(&lp);
    let fds = [peer.as_raw_fd()];
    let attached = [ControlMessage::ScmRights(&fds)];
    let data = [IoSlice::new(b"with fd")];
    sendmsg::<()>(peer.as_raw_fd(), &data, &attached, MsgFlags::empty(), None).unwrap();
    peer.write_all(b" and more").unwrap();

    // The kernel ends the first read after the fd. No further event will come.
    let mut buffer = [0; 64];
    assert_eq!(lp.block_on((&stream).read(&mut buffer)).unwrap(), 7);
    let mut reader = &stream;
    let mut read = pin!(reader.read(&mut buffer));
    assert!(matches!(poll_once(&lp, read.as_mut()), Poll::Ready(Ok(9))));
}

#[test]
fn vectored_transfers_fill_all_buffers() {
    let lp = TestLoop::new();
    let (stream, mut peer) = pair(&lp);
    let parts = [IoSlice::new(b"one "), IoSlice::new(b"two "), IoSlice::new(b"three")];
    assert_eq!(lp.block_on((&stream).write_vectored(&parts)).unwrap(), 13);
    let mut echoed = [0; 13];
    peer.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"one two three");

    peer.write_all(b"12345678").unwrap();
    let (mut left, mut right) = ([0; 4], [0; 8]);
    let mut parts = [IoSliceMut::new(&mut left), IoSliceMut::new(&mut right)];
    assert_eq!(lp.block_on((&stream).read_vectored(&mut parts)).unwrap(), 8);
    assert_eq!((&left, &right), (b"1234", b"5678\0\0\0\0"));
}

#[test]
fn more_buffers_than_the_kernel_takes_are_no_error() {
    let lp = TestLoop::new();
    let (stream, _peer) = pair(&lp);
    let parts = vec![IoSlice::new(b"x"); 3000];

    assert_eq!(lp.block_on((&stream).write_vectored(&parts)).unwrap(), 1024);
}

#[test]
fn writing_to_a_peer_that_is_gone_is_an_error() {
    let lp = TestLoop::new();
    let (stream, peer) = pair(&lp);
    drop(peer);

    let error = lp.block_on((&stream).write_all(b"x")).unwrap_err();

    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    assert_eq!(lp.block_on((&stream).read(&mut [0; 4])).unwrap(), 0);
    stream.shutdown(Shutdown::Both).unwrap();
}

#[test]
fn unix_connections_are_accepted_and_refused() {
    let path = std::env::temp_dir().join(format!("executor-net-{}.sock", std::process::id()));
    let lp = TestLoop::new();
    let listener = lp.enter(|| UnixListener::bind(&path)).unwrap();

    let (client, accepted) = lp.block_on(join(UnixStream::connect(&path), listener.accept()));
    let (server, _) = accepted.unwrap();
    let client = client.unwrap();
    lp.block_on((&client).write_all(b"hi")).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(lp.block_on((&server).read(&mut buffer)).unwrap(), 2);

    drop(listener);
    let error = lp.block_on(UnixStream::connect(&path)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_full_queue_of_a_unix_listener_is_waited_out() {
    let path = std::env::temp_dir().join(format!("executor-full-{}.sock", std::process::id()));
    let lp = TestLoop::new();
    let listener = net::UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _first = net::UnixStream::connect(&path).unwrap();

    let mut second = pin!(UnixStream::connect(&path));
    assert!(poll_once(&lp, second.as_mut()).is_pending());
    assert_eq!(lp.timers.len(), 1, "it waits by the clock");
    listener.accept().unwrap();

    lp.block_on(second).unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn tcp_connects_over_both_families_and_passes_data() {
    let lp = TestLoop::new();
    let loopbacks = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), (Ipv6Addr::LOCALHOST, 0).into()];
    let listen = |address| lp.enter(|| TcpListener::bind(address));
    // A host may have no IPv6; it has IPv4.
    let listeners: Vec<_> =
        loopbacks.into_iter().filter_map(|address| listen(address).ok()).collect();
    assert!(!listeners.is_empty());

    for listener in listeners {
        let address = listener.get_ref().local_addr().unwrap();
        let (client, accepted) = lp.block_on(join(TcpStream::connect(address), listener.accept()));
        let ((server, from), mut client) = (accepted.unwrap(), client.unwrap());
        assert_eq!(from, client.get_ref().local_addr().unwrap());
        lp.block_on((&server).write_all(b"hello")).unwrap();
        drop(server);
        let mut received = String::new();
        lp.block_on(client.read_to_string(&mut received)).unwrap();
        assert_eq!(received, "hello");
    }
}

#[test]
fn a_refused_tcp_connection_is_an_error() {
    let lp = TestLoop::new();
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);

    let error = lp.block_on(TcpStream::connect(address)).unwrap_err();

    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(lp.reactor.is_idle());
}

#[test]
fn urgent_data_does_not_hide_what_follows_it() {
    let lp = TestLoop::new();
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_nodelay(true).unwrap();
    let local = listener.accept().unwrap().0;
    let stream = lp.enter(|| TcpStream::from_std(local)).unwrap();
    peer.write_all(b"before").unwrap();
    nix::sys::socket::send(peer.as_raw_fd(), b"!", MsgFlags::MSG_OOB).unwrap();
    peer.write_all(b"behind").unwrap();
    // All of it is there before the first read.
    let mut everything = [0; 32];
    while stream.get_ref().peek(&mut everything).unwrap_or(0) < 6 {
        std::thread::yield_now();
    }

    let mut received = Vec::new();
    while received.len() < 12 {
        let mut buffer = [0; 32];
        let count = lp.block_on((&stream).read(&mut buffer)).unwrap();
        received.extend_from_slice(&buffer[..count]);
    }

    assert_eq!(received, b"beforebehind");
}

#[test]
fn a_pipe_carries_bytes_until_its_writer_closes() {
    let lp = TestLoop::new();
    let (mut reader, mut writer) = lp.enter(pipe).unwrap();
    let sent = vec![7; 1 << 18];

    let write = async {
        writer.write_all(&sent).await.unwrap();
        writer.close().await.unwrap();
        writer.write_all(b"more").await.unwrap_err().kind()
    };
    let mut received = Vec::new();
    let (error, _) = lp.block_on(join(write, reader.read_to_end(&mut received)));

    assert!(sent == received, "the data differs");
    assert_eq!(error, std::io::ErrorKind::BrokenPipe);
}

#[test]
fn a_counter_adds_up_and_starts_again() {
    let lp = TestLoop::new();
    let counter = lp.enter(EventFd::new).unwrap();
    for _ in 0..3 {
        counter.notify().unwrap();
    }

    assert_eq!(lp.block_on(counter.wait()).unwrap(), 3);

    let mut wait = pin!(counter.wait());
    assert!(poll_once(&lp, wait.as_mut()).is_pending());
    std::thread::scope(|scope| {
        scope.spawn(|| counter.notify().unwrap());
    });
    assert_eq!(lp.block_on(wait).unwrap(), 1);
}

#[test]
fn an_abstract_listener_can_be_taken_over() {
    let lp = TestLoop::new();
    let name = format!("executor-net-{}", std::process::id());
    let address = net::SocketAddr::from_abstract_name(name).unwrap();
    let listener = net::UnixListener::bind_addr(&address).unwrap();
    let listener = lp.enter(|| UnixListener::from_std(listener)).unwrap();
    let mut peer = net::UnixStream::connect_addr(&address).unwrap();

    let (stream, _) = lp.block_on(listener.accept()).unwrap();
    lp.block_on((&stream).write_all(b"x")).unwrap();
    peer.read_exact(&mut [0]).unwrap();

    assert_eq!(lp.reactor.len(), 2);
    drop(stream.into_std());
    assert_eq!(lp.reactor.len(), 1);
}

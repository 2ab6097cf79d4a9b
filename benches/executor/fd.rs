//! File descriptors: two tasks that send each other eight bytes, or a count.
//!
//! `fd_pp_sock` goes over a socket pair, `fd_pp_evfd` over two eventfds; the `idle` rows are the socket pair with that
//! many eventfds beside it, each awaited by a task and never ready.
//!
//! Against: tokio. async-executor and `LocalPool` have no fds. The floor is one thread that writes, waits with an
//! edge-triggered epoll and reads.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::peers::Reactor;
use crate::suite::{ReactorWorkload, Suite};

pub(crate) fn add(suite: &mut Suite) {
    for (name, idle) in [("fd_pp_sock", 0), ("fd_pp_idle100", 100), ("fd_pp_idle5k", 5_000)] {
        suite
            .row(name, 1)
            .reactors(Sockets { idle })
            .floor(move |n| bare_sockets(idle, n))
            .measure();
    }
    suite.row("fd_pp_evfd", 1).reactors(Counters).floor(bare_counters).measure();
}

/// Ping-pong over a socket pair, with idle fds beside it.
#[derive(Clone, Copy)]
struct Sockets {
    idle: usize,
}

async fn receive<R: Reactor>(stream: &mut R::Stream) -> u64 {
    let mut buffer = [0; 64];
    let count = R::read(stream, &mut buffer).await;
    let message = buffer[..count].try_into().expect("a message is eight bytes");
    u64::from_ne_bytes(message)
}

async fn answer<R: Reactor>(mut stream: R::Stream, n: u64) {
    for _ in 0..n {
        let number = receive::<R>(&mut stream).await;
        R::write(&mut stream, &(number + 1).to_ne_bytes()).await;
    }
}

async fn ask<R: Reactor>(mut stream: R::Stream, n: u64) -> Duration {
    let start = Instant::now();
    for number in 0..n {
        R::write(&mut stream, &number.to_ne_bytes()).await;
        assert_eq!(receive::<R>(&mut stream).await, number + 1, "the answer to this question");
    }
    start.elapsed()
}

impl ReactorWorkload for Sockets {
    async fn run<R: Reactor>(self, peer: R, n: u64) -> Duration {
        let counters: Vec<_> = (0..self.idle).map(|_| Rc::new(R::counter())).collect();
        let idle = |counter| {
            let counter = Rc::clone(counter);
            peer.spawn(async move { R::wait(&counter).await })
        };
        let idle: Vec<_> = counters.iter().map(idle).collect();
        let (one, other) = UnixStream::pair().expect("there are fds left");
        let answering = peer.spawn(answer::<R>(R::stream(other), n));
        let elapsed = peer.spawn(ask::<R>(R::stream(one), n)).await;
        answering.await;
        counters.iter().for_each(|counter| R::notify(counter));
        for idle in idle {
            assert_eq!(idle.await, 1, "an idle task waited until now");
        }
        elapsed
    }
}

/// Ping-pong over two eventfds.
#[derive(Clone, Copy)]
struct Counters;

async fn exchange<R: Reactor>(to: Rc<R::Counter>, from: Rc<R::Counter>, asks: bool, n: u64) {
    for _ in 0..n {
        if asks {
            R::notify(&to);
        }
        assert_eq!(R::wait(&from).await, 1, "each notification is seen alone");
        if !asks {
            R::notify(&to);
        }
    }
}

impl ReactorWorkload for Counters {
    async fn run<R: Reactor>(self, peer: R, n: u64) -> Duration {
        let (there, back) = (Rc::new(R::counter()), Rc::new(R::counter()));
        let answering = peer.spawn(exchange::<R>(Rc::clone(&back), Rc::clone(&there), false, n));
        let start = Instant::now();
        peer.spawn(exchange::<R>(there, back, true, n)).await;
        let elapsed = start.elapsed();
        answering.await;
        elapsed
    }
}

/// An edge-triggered epoll, as bare as it can be.
struct Bare {
    epoll: Epoll,
}

impl Bare {
    fn new() -> Bare {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("there are fds left");
        Bare { epoll }
    }

    fn watch(&self, fd: impl AsFd) {
        let readable = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
        self.epoll.add(fd, readable).expect("the fd can be watched");
    }

    fn wait(&self) {
        let mut events = [EpollEvent::empty(); 8];
        let count = self.epoll.wait(&mut events, EpollTimeout::NONE).expect("the epoll is there");
        assert_eq!(count, 1, "one fd became readable");
    }
}

fn eventfd() -> EventFd {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    EventFd::from_flags(flags).expect("there are fds left")
}

fn bare_sockets(idle: usize, n: u64) -> Duration {
    let bare = Bare::new();
    let idle: Vec<_> = (0..idle).map(|_| eventfd()).collect();
    idle.iter().for_each(|fd| bare.watch(fd));
    let (mut one, mut other) = UnixStream::pair().expect("there are fds left");
    bare.watch(&one);
    bare.watch(&other);
    let mut buffer = [0; 64];
    let mut pass = |from: &mut UnixStream, to: &mut UnixStream, number: u64| {
        from.write_all(&number.to_ne_bytes()).expect("there is room");
        bare.wait();
        let count = to.read(&mut buffer).expect("the epoll said so");
        assert_eq!(&buffer[..count], &number.to_ne_bytes(), "what was sent");
    };
    let start = Instant::now();
    for number in 0..n {
        pass(&mut one, &mut other, number);
        pass(&mut other, &mut one, number + 1);
    }
    start.elapsed()
}

fn bare_counters(n: u64) -> Duration {
    let bare = Bare::new();
    let counters = [eventfd(), eventfd()];
    counters.iter().for_each(|fd| bare.watch(fd));
    let start = Instant::now();
    for _ in 0..n {
        for counter in &counters {
            counter.write(1).expect("the counter is not full");
            bare.wait();
            assert_eq!(counter.read(), Ok(1), "what was written");
        }
    }
    start.elapsed()
}

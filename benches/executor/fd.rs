//! File descriptors: two tasks that send each other eight bytes, or a count.
//!
//! `fd_pp_sock` goes over a socket pair, `fd_pp_pipe` over two pipes, `fd_pp_evfd` over two eventfds; the `idle` rows
//! are the socket pair with that many eventfds beside it, each awaited by a task and never ready.
//!
//! Against: tokio, local-runtime, and, over sockets, monoio. async-executor, `LocalPool` and embassy have no fds. The
//! floor is one thread that writes, waits with an edge-triggered epoll and reads.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd;

use crate::peers::{Reactor, Sockets};
use crate::suite::Suite;
use crate::workloads::{ReactorWorkload, SocketWorkload};

pub(crate) fn add(suite: &mut Suite) {
    suite.row("fd_pp_sock", 1).sockets(OverSockets).floor(|n| bare_sockets(0, n)).measure();
    suite.row("fd_pp_pipe", 1).reactors(OverPipes).floor(bare_pipes).measure();
    suite.row("fd_pp_evfd", 1).reactors(OverCounters).floor(bare_counters).measure();
    for (name, idle) in [("fd_pp_idle100", 100), ("fd_pp_idle5k", 5_000)] {
        suite
            .row(name, 1)
            .reactors(WithIdle { idle })
            .floor(move |n| bare_sockets(idle, n))
            .measure();
    }
}

/// The number in what was read.
fn number(buffer: &[u8]) -> u64 {
    u64::from_ne_bytes(buffer.try_into().expect("a message is eight bytes"))
}

/// Sends numbers and expects their successors, `n` times.
async fn ask(n: u64, mut exchange: impl AsyncFnMut(u64) -> u64) -> Duration {
    let start = Instant::now();
    for number in 0..n {
        assert_eq!(exchange(number).await, number + 1, "the answer to this question");
    }
    start.elapsed()
}

async fn receive<P: Sockets>(stream: &mut P::Stream) -> u64 {
    let mut buffer = [0; 64];
    let count = P::read(stream, &mut buffer).await;
    number(&buffer[..count])
}

async fn over_sockets<P: Sockets>(peer: P, n: u64) -> Duration {
    let (one, other) = UnixStream::pair().expect("there are fds left");
    let (mut one, mut other) = (P::stream(one), P::stream(other));
    let answering = peer.spawn(async move {
        for _ in 0..n {
            let number = receive::<P>(&mut other).await;
            P::write(&mut other, &(number + 1).to_ne_bytes()).await;
        }
    });
    let asking = peer.spawn(async move {
        ask(n, async |number| {
            P::write(&mut one, &number.to_ne_bytes()).await;
            receive::<P>(&mut one).await
        })
        .await
    });
    let elapsed = asking.await;
    answering.await;
    elapsed
}

#[derive(Clone, Copy)]
struct OverSockets;

impl SocketWorkload for OverSockets {
    async fn run<P: Sockets>(self, peer: P, n: u64) -> Duration {
        over_sockets(peer, n).await
    }
}

/// A socket pair, with idle fds beside it.
#[derive(Clone, Copy)]
pub(crate) struct WithIdle {
    pub(crate) idle: usize,
}

impl ReactorWorkload for WithIdle {
    async fn run<P: Reactor>(self, peer: P, n: u64) -> Duration {
        let counters: Vec<_> = (0..self.idle).map(|_| Rc::new(P::counter())).collect();
        let idle = |counter| {
            let counter = Rc::clone(counter);
            peer.spawn(async move { P::wait(&counter).await })
        };
        let idle: Vec<_> = counters.iter().map(idle).collect();
        let elapsed = over_sockets(peer, n).await;
        counters.iter().for_each(|counter| P::notify(counter));
        for idle in idle {
            assert_eq!(idle.await, 1, "an idle task waited until now");
        }
        elapsed
    }
}

async fn receive_from_pipe<P: Reactor>(reader: &mut P::Reader) -> u64 {
    let mut buffer = [0; 64];
    let count = P::read_pipe(reader, &mut buffer).await;
    number(&buffer[..count])
}

#[derive(Clone, Copy)]
struct OverPipes;

impl ReactorWorkload for OverPipes {
    async fn run<P: Reactor>(self, peer: P, n: u64) -> Duration {
        let (mut asked, mut to) = P::pipe();
        let (mut from, mut answers) = P::pipe();
        let answering = peer.spawn(async move {
            for _ in 0..n {
                let number = receive_from_pipe::<P>(&mut asked).await;
                P::write_pipe(&mut answers, &(number + 1).to_ne_bytes()).await;
            }
        });
        let asking = peer.spawn(async move {
            ask(n, async |number| {
                P::write_pipe(&mut to, &number.to_ne_bytes()).await;
                receive_from_pipe::<P>(&mut from).await
            })
            .await
        });
        let elapsed = asking.await;
        answering.await;
        elapsed
    }
}

#[derive(Clone, Copy)]
struct OverCounters;

impl ReactorWorkload for OverCounters {
    async fn run<P: Reactor>(self, peer: P, n: u64) -> Duration {
        let (there, back) = (Rc::new(P::counter()), Rc::new(P::counter()));
        let (asked, to) = (Rc::clone(&there), Rc::clone(&back));
        let answering = peer.spawn(async move {
            for _ in 0..n {
                assert_eq!(P::wait(&asked).await, 1, "each notification is seen alone");
                P::notify(&to);
            }
        });
        let asking = peer.spawn(async move {
            ask(n, async |number| {
                P::notify(&there);
                number + P::wait(&back).await
            })
            .await
        });
        let elapsed = asking.await;
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

fn bare_pipes(n: u64) -> Duration {
    let bare = Bare::new();
    let pipe = || unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).expect("there are fds left");
    let (there, back) = (pipe(), pipe());
    bare.watch(&there.0);
    bare.watch(&back.0);
    let mut buffer = [0; 64];
    let mut pass = |(reader, writer): &(OwnedFd, OwnedFd), sent: u64| {
        assert_eq!(unistd::write(writer, &sent.to_ne_bytes()), Ok(8), "there is room");
        bare.wait();
        let count = unistd::read(reader, &mut buffer).expect("the epoll said so");
        assert_eq!(number(&buffer[..count]), sent, "what was sent");
    };
    let start = Instant::now();
    for number in 0..n {
        pass(&there, number);
        pass(&back, number + 1);
    }
    start.elapsed()
}

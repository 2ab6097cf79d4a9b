//! Tests of the reactor's table and of what it does with the kernel's events.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use nix::sys::epoll::EpollFlags;

use super::{BATCH, Events, Reactor, SourceKey};
use crate::async_fd::source::{AfterClear, Direction, Interest};

/// Counts its wake-ups.
#[derive(Default)]
struct Count(AtomicUsize);

impl Count {
    fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn get(&self) -> usize {
        // Relaxed: one thread.
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        // Relaxed: one thread.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_key_survives_the_kernel() {
    for (slot, generation) in [(0, 0), (1, 2), (u32::MAX, 7), (7, u32::MAX)] {
        let key = SourceKey { slot, generation };
        assert_eq!(SourceKey::from_data(key.to_data()), key);
    }
}

#[test]
fn an_event_of_an_earlier_registration_touches_nobody() {
    let reactor = Reactor::new().unwrap();
    let (local, mut peer) = UnixStream::pair().unwrap();
    let (old, _) = reactor.register(local.as_fd(), Interest::Read).unwrap();
    peer.write_all(b"x").unwrap();
    let mut buffers = Events::default().take();
    assert_eq!(reactor.poll_events(&mut buffers.events), 1, "the event is on its way");

    reactor.deregister(local.as_fd(), old);
    let (other, _peer) = UnixStream::pair().unwrap();
    let (new, source) = reactor.register(other.as_fd(), Interest::Read).unwrap();
    let (count, waker) = Count::new();
    assert!(source.park_poll(Direction::Read, &waker).is_none());
    reactor.mark_ready(&buffers.events[..1], &mut buffers.woken);

    assert_eq!(old.slot, new.slot, "the slot was used again");
    assert!(buffers.woken.is_empty());
    assert!(source.ready(Direction::Read).is_none());
    assert_eq!(count.get(), 0);
}

#[test]
fn an_fd_that_outlives_its_registration_in_a_duplicate_touches_nobody() {
    let reactor = Reactor::new().unwrap();
    let (local, mut peer) = UnixStream::pair().unwrap();
    let duplicate = local.try_clone().unwrap();
    let (key, _) = reactor.register(local.as_fd(), Interest::Read).unwrap();
    drop(local);
    // Someone closed the fd behind our back: deleting it fails, and its events go on.
    reactor.deregister(duplicate.as_fd(), key);
    assert!(reactor.is_idle());

    let (other, _peer) = UnixStream::pair().unwrap();
    let (_, source) = reactor.register(other.as_fd(), Interest::Read).unwrap();
    peer.write_all(b"x").unwrap();

    assert_eq!(reactor.dispatch(&Events::default()), 1, "the kernel still reports the duplicate");
    assert!(source.ready(Direction::Read).is_none());
}

#[test]
fn more_events_than_a_batch_are_all_dispatched() {
    let reactor = Reactor::new().unwrap();
    let pairs: Vec<_> = (0..BATCH + 20).map(|_| UnixStream::pair().unwrap()).collect();
    let (count, waker) = Count::new();
    for (local, peer) in &pairs {
        let (_, source) = reactor.register(local.as_fd(), Interest::Read).unwrap();
        assert!(source.park_poll(Direction::Read, &waker).is_none());
        let mut peer = peer;
        peer.write_all(b"x").unwrap();
    }
    assert_eq!(reactor.len(), pairs.len());

    assert_eq!(reactor.dispatch(&Events::default()), pairs.len());
    assert_eq!(count.get(), pairs.len());
    assert_eq!(reactor.dispatch(&Events::default()), 0, "an edge is announced once");
}

#[test]
fn a_source_that_begins_with_reading_is_told_about_room_only_after_a_write_blocked() {
    let reactor = Reactor::new().unwrap();
    let (local, _peer) = UnixStream::pair().unwrap();
    let (key, source) = reactor.register(local.as_fd(), Interest::ReadThenWrite).unwrap();
    assert_eq!(reactor.dispatch(&Events::default()), 0);

    let ready = source.ready(Direction::Write).expect("it counts as writable");
    assert_eq!(source.clear(ready), AfterClear::WatchWrite);
    assert!(source.ready(Direction::Write).is_none());
    reactor.watch_write(local.as_fd(), key).unwrap();

    assert_eq!(reactor.dispatch(&Events::default()), 1);
    let ready = source.ready(Direction::Write).expect("there is room");
    assert_eq!(source.clear(ready), AfterClear::Nothing);
}

#[test]
fn clearing_keeps_what_has_happened_since_the_observation() {
    let reactor = Reactor::new().unwrap();
    let (local, _peer) = UnixStream::pair().unwrap();
    let (_, source) = reactor.register(local.as_fd(), Interest::Read).unwrap();
    let mut woken = Vec::new();
    source.mark_ready(EpollFlags::EPOLLIN, &mut woken);
    let seen = source.ready(Direction::Read).unwrap();

    source.mark_ready(EpollFlags::EPOLLIN, &mut woken);
    let _ = source.clear(seen);
    let seen = source.ready(Direction::Read).expect("the second event came later");
    let _ = source.clear(seen);

    assert!(source.ready(Direction::Read).is_none());
}

#[test]
fn poll_wakers_are_kept_once_each_and_never_without_bound() {
    let reactor = Reactor::new().unwrap();
    let (local, _peer) = UnixStream::pair().unwrap();
    let (_, source) = reactor.register(local.as_fd(), Interest::Read).unwrap();
    let (again, waker) = Count::new();
    for _ in 0..100 {
        assert!(source.park_poll(Direction::Read, &waker).is_none());
    }
    assert_eq!(again.get(), 0, "one waker needs one place");

    let many: Vec<_> = (0..100).map(|_| Count::new()).collect();
    for (_, waker) in &many {
        assert!(source.park_poll(Direction::Read, waker).is_none());
    }
    let evicted = many.iter().filter(|(count, _)| count.get() == 1).count();
    assert!((80..100).contains(&evicted), "{evicted} were woken to make room");

    let mut woken = Vec::new();
    source.mark_ready(EpollFlags::EPOLLIN, &mut woken);
    woken.into_iter().for_each(Waker::wake);
    assert!(many.iter().all(|(count, _)| count.get() == 1), "nobody is forgotten");
    assert_eq!(again.get(), 1);
}

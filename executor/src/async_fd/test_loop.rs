//! The smallest loop that can run one future, for unit tests.

#![forbid(unsafe_code)]

use std::future::Future;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::reactor::{Events, Reactor};
use crate::clock::Clock;
use crate::current;
use crate::time::queue::TimerQueue;

/// A reactor and a deadline queue, and the time to serve them.
pub(crate) struct TestLoop {
    pub(crate) timers: Arc<TimerQueue>,
    pub(crate) reactor: Arc<Reactor>,
}

/// Set by a wake, from any thread. The loop looks at least every few milliseconds.
#[derive(Default)]
pub(crate) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // Release: pairs with the Acquire of the swap in `block_on`.
        self.0.store(true, Ordering::Release);
    }
}

impl TestLoop {
    pub(crate) fn new() -> Self {
        let reactor = Reactor::new().expect("there are fds left");
        Self { timers: Arc::new(TimerQueue::new()), reactor: Arc::new(reactor) }
    }

    /// Runs `f` as if it were polled by this loop's executor.
    pub(crate) fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        current::with_parts(&self.timers, &self.reactor, f)
    }

    /// Polls `future` whenever it is woken, until it completes.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            // Acquire: pairs with the Release in `wake`.
            if woken.0.swap(false, Ordering::Acquire) {
                let poll = || future.as_mut().poll(&mut Context::from_waker(&waker));
                if let Poll::Ready(output) = self.enter(poll) {
                    return output;
                }
            } else {
                let mut fds = [PollFd::new(self.reactor.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(1_u8)).expect("the fd is open");
            }
            self.turn();
        }
    }

    /// Serves what is due.
    pub(crate) fn turn(&self) {
        self.reactor.dispatch(&Events::default());
        for clock in Clock::ALL {
            self.timers.fire(clock, clock.now());
        }
    }
}

//! Who the clients are, and how events reach them.
//!
//! Owns the list of mailboxes, one per client that is connected, and the throttle that all of them share.
//! An event is written out once and put into every mailbox before [`Hub::emit`] returns: whatever the
//! caller does next, such as replying to a command, reaches every client after the event.
//!
//! Events that the throttle holds back are sent by a task of the monitor's thread, whose timer runs only
//! while there are any.
//!
//! Threads: any. Lock order: the hub, then a mailbox. Tasks are woken under neither.

#![forbid(unsafe_code)]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use super::super::events::{Event, Throttle};
use super::mailbox::{Mail, Mailbox};
use crate::clock::Clock;
use crate::time::{Sleep, sleep_until};

/// See the module's documentation.
pub(super) struct Hub {
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    clients: Slab<Arc<Mailbox>>,
    throttle: Throttle,
    /// The task that sends what the throttle has held back.
    pacer: Option<Waker>,
    /// Who waits until there are no clients.
    emptied: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No server has taken it yet.
    Unused,
    Open,
    Closed,
}

/// How often an event may be sent.
pub(super) struct Pace {
    pub(super) interval: Duration,
    /// Events with different keys do not count as the same one.
    pub(super) key: String,
}

/// A client's place in the hub, which it gives up when it is dropped.
pub(super) struct Membership {
    hub: Arc<Hub>,
    key: usize,
    mailbox: Arc<Mailbox>,
}

impl Hub {
    pub(super) fn new() -> Self {
        let state = State {
            phase: Phase::Unused,
            clients: Slab::new(),
            throttle: Throttle::new(),
            pacer: None,
            emptied: None,
        };
        Self { state: Mutex::new(state) }
    }

    /// Begins to take clients and events; returns whether nobody has done so before.
    pub(super) fn open(&self) -> bool {
        let mut state = self.lock();
        let unused = state.phase == Phase::Unused;
        if unused {
            state.phase = Phase::Open;
        }
        unused
    }

    /// Returns how many clients there are.
    pub(super) fn len(&self) -> usize {
        self.lock().clients.len()
    }

    /// Adds a client with room for events of `limit` bytes, unless it is too late.
    pub(super) fn join(self: &Arc<Self>, limit: usize) -> Option<Membership> {
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return None;
        }
        let mailbox = Arc::new(Mailbox::new(limit));
        let key = state.clients.insert(Arc::clone(&mailbox));
        drop(state);
        Some(Membership { hub: Arc::clone(self), key, mailbox })
    }

    /// Sends an event to every client, now or as soon as `pace` allows.
    pub(super) fn emit(&self, event: Event, pace: Option<Pace>) {
        let mut woken = Vec::new();
        let mut state = self.lock();
        if state.phase == Phase::Open {
            let due = match pace {
                None => Some(event),
                Some(pace) => state.offer(&pace, event, &mut woken),
            };
            state.deliver(due, &mut woken);
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Sends what was held back, refuses clients and events from now on, and tells the clients to go.
    pub(super) fn close(&self) {
        /// Longer than any interval.
        const FAR: Duration = Duration::from_secs(24 * 60 * 60);

        let mut woken = Vec::new();
        let mut state = self.lock();
        let held = state.throttle.expire(now() + FAR);
        state.deliver(held, &mut woken);
        state.phase = Phase::Closed;
        woken.extend(state.clients.iter().filter_map(|(_, mailbox)| mailbox.close()));
        woken.extend(state.pacer.take());
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Waits until there are no clients.
    pub(super) async fn wait_until_empty(&self) {
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            let mut state = self.lock();
            if state.clients.is_empty() {
                return Poll::Ready(());
            }
            let replaced = state.emptied.replace(waker);
            drop(state);
            drop(replaced);
            Poll::Pending
        })
        .await;
    }

    /// Sends events when their time has come, until the hub is closed.
    pub(super) async fn pace(self: Arc<Self>) {
        let mut alarm = None;
        poll_fn(|cx| self.poll_pace(&mut alarm, cx)).await;
    }

    fn poll_pace(&self, alarm: &mut Option<Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut woken = Vec::new();
            let waker = cx.waker().clone();
            let mut state = self.lock();
            if state.phase == Phase::Closed {
                return Poll::Ready(());
            }
            let due = state.throttle.expire(now());
            state.deliver(due, &mut woken);
            let replaced = state.pacer.replace(waker);
            let deadline = state.throttle.next_deadline();
            drop(state);
            drop(replaced);
            woken.into_iter().for_each(Waker::wake);
            *alarm = deadline.map(|deadline| sleep_until(Clock::Realtime, to_clock(deadline)));
            let Some(alarm) = alarm else { return Poll::Pending };
            if Pin::new(alarm).poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// No foreign code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns `event` if it may be sent now; else the pacer gets to know.
    fn offer(&mut self, pace: &Pace, event: Event, woken: &mut Vec<Waker>) -> Option<Event> {
        let before = self.throttle.next_deadline();
        let due = self.throttle.offer(now(), pace.interval, &pace.key, event);
        if self.throttle.next_deadline() != before {
            woken.extend(self.pacer.take());
        }
        due
    }

    fn deliver(&self, events: impl IntoIterator<Item = Event>, woken: &mut Vec<Waker>) {
        if self.clients.is_empty() {
            return;
        }
        for event in events {
            let line = Arc::new(event.to_json());
            woken.extend(self.clients.iter().filter_map(|(_, mailbox)| mailbox.push(&line)));
        }
    }
}

impl Membership {
    /// Takes the client's mail; `waker` is told when there is more.
    pub(super) fn take_mail(&self, waker: &Waker) -> Mail {
        self.mailbox.take(waker)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        let mailbox = state.clients.remove(self.key);
        let emptied = if state.clients.is_empty() { state.emptied.take() } else { None };
        drop(state);
        drop(mailbox);
        emptied.into_iter().for_each(Waker::wake);
    }
}

/// The real-time clock, which never goes backwards and starts at zero.
fn now() -> Duration {
    Duration::from_nanos(u64::try_from(Clock::Realtime.now()).unwrap_or(0))
}

fn to_clock(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

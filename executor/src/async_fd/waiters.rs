//! The wakers that wait for one direction of one fd.
//!
//! Two kinds share the list. Futures have a [`Ticket`], which says where their waker is, so that they
//! can replace or remove it in constant time. Poll functions have none, since nobody tells them when
//! their caller loses interest; their wakers are kept once each, up to a small number, beyond which
//! those that were there are woken: they come back if they still care.
//!
//! Taking all wakers starts a new epoch, which invalidates all tickets without touching them. This
//! type never runs foreign code: what it removes it returns, for the caller to wake or drop after
//! the lock.

#![forbid(unsafe_code)]

use std::task::Waker;

use slab::Slab;

/// How many different wakers of poll functions are kept.
const MOST_POLLS: usize = 16;

/// Where a future's waker is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    epoch: u64,
    index: usize,
}

#[derive(Debug, Default)]
pub(super) struct Waiters {
    epoch: u64,
    futures: Slab<Waker>,
    polls: Vec<Waker>,
}

impl Waiters {
    /// Moves all wakers to `woken`.
    pub(super) fn take_all(&mut self, woken: &mut Vec<Waker>) {
        woken.append(&mut self.polls);
        if !self.futures.is_empty() {
            woken.extend(self.futures.drain());
            self.epoch += 1;
        }
    }

    /// Returns whether a poll function has left this waker.
    pub(super) fn knows(&self, waker: &Waker) -> bool {
        self.polls.iter().any(|known| known.will_wake(waker))
    }

    /// Adds the waker of a poll function; returns those that are to be woken to make room.
    pub(super) fn add_poll(&mut self, waker: Waker) -> Vec<Waker> {
        let evicted = if self.polls.len() < MOST_POLLS {
            Vec::new()
        } else {
            std::mem::take(&mut self.polls)
        };
        self.polls.push(waker);
        evicted
    }

    /// Returns whether `ticket` stands for this waker.
    pub(super) fn has(&self, ticket: Option<Ticket>, waker: &Waker) -> bool {
        ticket.and_then(|ticket| self.get(ticket)).is_some_and(|known| known.will_wake(waker))
    }

    /// Puts `waker` under `ticket`, or under a new one; returns the waker it replaces.
    pub(super) fn put(&mut self, ticket: &mut Option<Ticket>, waker: Waker) -> Option<Waker> {
        let current = ticket.filter(|ticket| ticket.epoch == self.epoch);
        if let Some(known) = current.and_then(|ticket| self.futures.get_mut(ticket.index)) {
            return Some(std::mem::replace(known, waker));
        }
        *ticket = Some(Ticket { epoch: self.epoch, index: self.futures.insert(waker) });
        None
    }

    /// Removes the waker under `ticket`, if it is still there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waker> {
        self.get(ticket)?;
        self.futures.try_remove(ticket.index)
    }

    fn get(&self, ticket: Ticket) -> Option<&Waker> {
        if ticket.epoch == self.epoch { self.futures.get(ticket.index) } else { None }
    }
}

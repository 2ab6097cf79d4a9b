//! What stands where a simulation would have its say, in builds without the features `simulation` and `testing`: nothing.
//!
//! Each function answers "no simulation", is inlined, and leaves no instruction behind.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::RawFd;
use std::sync::Mutex;

use super::clock::GuestTime;

/// A thread's place in a simulation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket;

#[inline(always)]
pub(super) fn is_on() -> bool {
    false
}

#[inline(always)]
pub(super) fn is_seeded() -> bool {
    false
}

#[inline(always)]
pub(super) fn guest() -> Option<&'static Mutex<GuestTime>> {
    None
}

#[inline(always)]
pub(super) fn now_ns() -> Option<i64> {
    None
}

#[inline(always)]
pub(super) fn wall_clock_ns() -> Option<i64> {
    None
}

#[inline(always)]
pub(super) fn preempt() {}

#[inline(always)]
pub(super) fn give_way() {}

#[inline(always)]
pub(super) fn wait_for_fd(_fd: RawFd, _timeout_ns: i64) -> io::Result<Option<usize>> {
    Ok(None)
}

#[inline(always)]
pub(super) fn refuse() -> io::Result<()> {
    Ok(())
}

#[inline(always)]
pub(super) fn busy_polls() -> Option<bool> {
    None
}

#[inline(always)]
pub(super) fn is_spurious() -> bool {
    false
}

#[inline(always)]
pub(super) fn choose(_count: usize) -> usize {
    0
}

#[inline(always)]
pub(super) fn wait_for_bql() {}

#[inline(always)]
pub(super) fn note_bql(_held: bool) {}

#[inline(always)]
pub(super) fn invite(_name: &str) -> Ticket {
    Ticket
}

#[inline(always)]
pub(super) fn enter(_ticket: Ticket) {}

#[inline(always)]
pub(super) fn leave() {}

#[inline(always)]
pub(super) fn let_end(_ticket: Ticket) {}

//! The reactor's events in a simulation: a part of what is ready, in any order, and some that are no more.

#![forbid(unsafe_code)]

use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};

use super::{BATCH, Reactor, SourceKey};
use crate::aio::simulation;

impl Reactor {
    /// Takes what epoll has, as a simulation sees it. `None` outside a simulation.
    pub(super) fn simulated_events(&self, events: &mut [EpollEvent; BATCH]) -> Option<usize> {
        if !simulation::is_on() {
            return None;
        }
        if simulation::is_interrupted() {
            return Some(0);
        }
        let most = if simulation::is_short() { 1 } else { BATCH };
        let count = self.epoll.wait(&mut events[..most], EpollTimeout::ZERO).ok()?;
        let count = self.add_spurious(events, count);
        for left in (1..=count).rev() {
            events.swap(left - 1, simulation::choose(left));
        }
        Some(count)
    }

    /// Adds events of descriptors that are not readable any more.
    fn add_spurious(&self, events: &mut [EpollEvent; BATCH], mut count: usize) -> usize {
        let table = self.lock();
        for (slot, source) in &table.sources {
            if count < BATCH && simulation::is_spurious() {
                let slot = u32::try_from(slot).expect("a process has fewer than 2^32 fds");
                let key = SourceKey { slot, generation: source.generation() };
                events[count] = EpollEvent::new(EpollFlags::EPOLLIN, key.to_data());
                count += 1;
            }
        }
        drop(table);
        count
    }
}

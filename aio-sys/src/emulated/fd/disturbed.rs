//! What a simulation makes of the descriptors that a wait has found ready.

#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{Ready, Table};
use crate::emulated::simulation;

impl Ready {
    /// Lets a simulation decide what else is found, and who comes first.
    pub(super) fn disturb(&mut self, table: &Table) {
        self.add_spurious(table);
        self.shuffle();
    }

    /// Adds handlers of descriptors that are not ready, as happens when somebody else was faster.
    fn add_spurious(&mut self, table: &Table) {
        for handler in table.by_fd.iter().flatten() {
            let is_new = !self.handlers().any(|found| Arc::ptr_eq(found, handler));
            if is_new && handler.callbacks.interest() != 0 && simulation::is_spurious() {
                self.add(handler, handler.callbacks.interest());
            }
        }
    }

    fn shuffle(&mut self) {
        let Some(first) = self.first.take() else { return };
        self.more.push(first);
        for left in (1..=self.more.len()).rev() {
            self.more.swap(left - 1, simulation::choose(left));
        }
        self.first = self.more.pop();
    }
}

//! An ordered record of what happened, to be compared with what should have.

use std::cell::RefCell;
use std::rc::Rc;

/// A shared list of lines. One thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    lines: Rc<RefCell<Vec<String>>>,
}

impl Trace {
    pub(crate) fn new() -> Trace {
        Trace::default()
    }

    pub(crate) fn add(&self, line: impl Into<String>) {
        self.lines.borrow_mut().push(line.into());
    }

    /// What was added since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        self.lines.take()
    }
}

//! What a program draws on its terminal, as a person would see it.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::super::pty::{LONG, Pty};

/// The program's terminal, drawn.
pub(crate) struct Screen {
    pty: Pty,
    drawn: vt100::Parser,
}

impl Screen {
    pub(crate) fn new(pty: Pty) -> Self {
        let (rows, columns) = Pty::SIZE;
        Self { pty, drawn: vt100::Parser::new(rows, columns, 0) }
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        self.pty.type_in(text);
    }

    /// Waits until `text` is on the screen, in one line, and types `key` again and again meanwhile: a program may draw
    /// only then.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str, key: &str) {
        let start = Instant::now();
        while !self.drawn.screen().contents().contains(text) {
            let contents = self.drawn.screen().contents();
            assert!(start.elapsed() < LONG, "{text:?} is not on the screen: {contents}");
            self.pty.type_in(key);
            let drawn = self.pty.read_bytes(Duration::from_millis(100));
            self.drawn.process(&drawn);
        }
    }

    /// Types `keys` until the program ends.
    #[track_caller]
    pub(crate) fn end(self, keys: &str) -> ExitStatus {
        self.pty.end(keys).0
    }
}

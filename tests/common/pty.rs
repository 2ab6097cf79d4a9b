//! Programs at a terminal: they believe that somebody types.
//!
//! A program that does not print what its test waits for within half a minute fails it.

#![allow(dead_code, reason = "every test program uses another part")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Longer than anything takes.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A program at a terminal. Killed at the end, if it runs then.
pub(crate) struct Pty {
    terminal: File,
    child: Child,
    /// What it has printed since the last match.
    printed: String,
}

impl Pty {
    /// The terminal's rows and columns.
    pub(crate) const SIZE: (u16, u16) = (30, 100);

    pub(crate) fn start(command: &mut Command) -> Self {
        let (ws_row, ws_col) = Self::SIZE;
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).expect("the kernel has terminals");
        let end = || Stdio::from(pty.slave.try_clone().expect("there are fds"));
        command.stdin(end()).stdout(end()).stderr(end()).process_group(0);
        let child = command.spawn();
        let child = child.expect("the program starts");
        // The command has copies of the slave's end, and is told to let go of them.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { terminal: pty.master.into(), child, printed: String::new() }
    }

    /// Types.
    pub(crate) fn type_in(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).expect("the terminal is there");
    }

    /// Waits until `text` is printed, and returns what was printed before.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.printed.find(text) {
                let rest = self.printed.split_off(at + text.len());
                let before = std::mem::replace(&mut self.printed, rest);
                return before[..at].to_owned();
            }
            let left = LONG.saturating_sub(start.elapsed());
            let printed = self.read(left);
            assert!(printed, "{text:?} is not printed, but {:?}", self.printed);
        }
    }

    /// Types `keys` until the program ends: what is typed while it changes the terminal's mode is lost. Returns what it
    /// has printed since the last match.
    #[track_caller]
    pub(crate) fn end(mut self, keys: &str) -> (ExitStatus, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return (status, std::mem::take(&mut self.printed));
            }
            assert!(start.elapsed() < LONG, "it does not end, but prints {:?}", self.printed);
            // It may have let go of the terminal.
            let _gone = self.terminal.write_all(keys.as_bytes());
            self.read(Duration::from_millis(100));
        }
    }

    /// Reads some; returns whether there was something.
    fn read(&mut self, within: Duration) -> bool {
        let bytes = self.read_bytes(within);
        self.printed.push_str(&String::from_utf8_lossy(&bytes));
        !bytes.is_empty()
    }

    /// Reads some of what is printed, without looking for anything in it. Nothing: not within that time.
    pub(crate) fn read_bytes(&mut self, within: Duration) -> Vec<u8> {
        let timeout = PollTimeout::try_from(within).expect("half a minute is not too long");
        let mut fds = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout).expect("the terminal can be waited for") == 0 {
            return Vec::new();
        }
        let mut bytes = vec![0; 4096];
        // An error: the program has closed its end.
        let count = self.terminal.read(&mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        // It may have ended, with what it has started.
        let group = i32::try_from(self.child.id()).expect("the kernel's numbers are positive");
        let _ended = killpg(Pid::from_raw(group), Signal::SIGKILL);
        let _status = self.child.wait();
    }
}

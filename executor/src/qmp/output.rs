//! What a monitor still has to send, and how much of that there may be.
//!
//! Two things fill the output and each has a bound, because a client may stop reading for good.
//! Replies are bounded by asking: the session takes up no request while
//! [`is_full`](Output::is_full). Events come unasked, so they are dropped once the unsent ones take
//! too much room, and counted.
//!
//! Any thread; no input or output of its own.

#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::writer::{Json, indent};

/// The unsent bytes of one monitor.
#[derive(Debug)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// How many of `bytes` are sent already.
    sent: usize,
    /// Bytes sent since the beginning.
    total_sent: u64,
    /// Where each unsent event ends, counted from the beginning, and how long it is.
    events: VecDeque<(u64, usize)>,
    event_bytes: usize,
    dropped_events: u64,
    limit: usize,
    pretty: bool,
}

impl Output {
    /// Returns an empty output that is full at `limit` bytes.
    pub(super) fn new(limit: usize, pretty: bool) -> Self {
        Self {
            bytes: Vec::new(),
            sent: 0,
            total_sent: 0,
            events: VecDeque::new(),
            event_bytes: 0,
            dropped_events: 0,
            limit,
            pretty,
        }
    }

    /// Appends a line.
    pub(super) fn push(&mut self, line: &Json) {
        if self.pretty {
            self.bytes.extend_from_slice(indent(line.as_str()).as_bytes());
        } else {
            self.bytes.extend_from_slice(line.as_str().as_bytes());
        }
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Appends an event, unless the unsent events are too many.
    pub(super) fn push_event(&mut self, line: &Json) {
        if self.event_bytes + line.as_str().len() > self.limit {
            self.dropped_events += 1;
            return;
        }
        let before = self.bytes.len();
        self.push(line);
        let length = self.bytes.len() - before;
        self.events.push_back((self.total_sent + self.unsent().len() as u64, length));
        self.event_bytes += length;
    }

    /// Returns what is to be sent.
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Notes that the first `count` unsent bytes are on their way.
    pub(super) fn advance(&mut self, count: usize) {
        assert!(count <= self.unsent().len(), "more bytes sent than there were to send");
        self.sent += count;
        self.total_sent += count as u64;
        while let Some(&(end, length)) = self.events.front() {
            if end > self.total_sent {
                break;
            }
            self.event_bytes -= length;
            self.events.pop_front();
        }
        self.give_back();
    }

    /// Tells whether so much is unsent that no more should be caused.
    pub(super) fn is_full(&self) -> bool {
        self.unsent().len() >= self.limit
    }

    /// Returns how many events were dropped so far.
    pub(super) fn dropped_events(&self) -> u64 {
        self.dropped_events
    }

    /// Frees sent bytes: all at once when nothing is left, else when they are the greater part.
    fn give_back(&mut self) {
        /// Room that an idle monitor keeps.
        const KEPT: usize = 4096;

        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
            self.sent = 0;
        } else if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, Output};

    fn line(text: &str) -> Json {
        Json::infallible(text)
    }

    #[test]
    fn lines_end_with_carriage_return_and_line_feed() {
        let mut output = Output::new(100, false);

        output.push(&line("a"));
        output.push(&line("b"));

        assert_eq!(output.unsent(), b"\"a\"\r\n\"b\"\r\n");
    }

    #[test]
    fn sent_bytes_are_gone_however_they_were_sent() {
        let mut output = Output::new(100, false);
        output.push(&line("abcdef"));
        let expected = output.unsent().to_vec();

        let mut seen = Vec::new();
        for count in [1, 2, 4, 3] {
            seen.extend_from_slice(&output.unsent()[..count]);
            output.advance(count);
        }

        assert_eq!(seen, expected);
        assert!(output.unsent().is_empty());
    }

    #[test]
    fn it_is_full_at_its_limit_and_not_before() {
        let mut output = Output::new(10, false);

        output.push(&line("abcde"));
        assert!(!output.is_full());
        output.advance(8);
        output.push(&line("abcdef"));
        assert!(output.is_full());
    }

    #[test]
    fn events_beyond_the_limit_are_dropped_until_others_are_sent() {
        let mut output = Output::new(10, false);

        output.push_event(&line("abc"));
        output.push_event(&line("def"));
        assert_eq!(output.unsent(), b"\"abc\"\r\n");
        assert_eq!(output.dropped_events(), 1);

        output.advance(7);
        output.push_event(&line("ghi"));
        assert_eq!(output.unsent(), b"\"ghi\"\r\n");
        assert_eq!(output.dropped_events(), 1);
    }

    #[test]
    fn a_large_reply_does_not_crowd_out_events() {
        let mut output = Output::new(10, false);

        output.push(&line("a reply longer than the limit"));
        output.push_event(&line("abc"));

        assert_eq!(output.dropped_events(), 0);
        output.advance(output.unsent().len());
        assert_eq!(output.event_bytes, 0);
    }
}

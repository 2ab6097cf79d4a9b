//! Reading a disk from one place to another, some blocks ahead.
//!
//! Owns the reads that are under way and the buffers. A read of the block layer goes on by itself, so
//! reading ahead takes no task: it is a queue of futures, which are awaited in the order of the disk.
//!
//! Threads: the main loop's.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::ops::Range;

use executor::MainCx;
use executor::clock::Clock;
use executor::host::block::{Buffer, Read};
use executor::qmp::Error;
use executor::time::sleep_until;

use super::Disk;

/// Long enough for the disk, short enough to hash in about a millisecond.
const BLOCK: u64 = 1 << 20;
/// A multiple of every disk's block.
const SMALLEST_BLOCK: u64 = 1 << 16;
/// Reads under way at a time.
const DEPTH: usize = 4;

/// Parts of a disk, one after the other.
pub(super) struct Blocks<'d> {
    disk: &'d Disk,
    /// What no read was started for yet.
    unread: Range<u64>,
    reads: VecDeque<(u64, Read)>,
    spare: Vec<Buffer>,
    pace: Option<Pace>,
}

impl<'d> Blocks<'d> {
    /// Reads at most `speed` bytes per second, if that is not 0.
    pub(super) fn new(disk: &'d Disk, range: Range<u64>, speed: Option<u64>) -> Self {
        let pace = speed.and_then(NonZeroU64::new).map(Pace::new);
        Self { disk, unread: range, reads: VecDeque::new(), spare: Vec::new(), pace }
    }

    /// Returns the next block, or nothing at the end.
    pub(super) async fn next(&mut self, cx: &MainCx) -> Option<Result<Buffer, Error>> {
        let depth = if self.pace.is_some() { 1 } else { DEPTH };
        while self.reads.len() < depth && !self.unread.is_empty() {
            self.read_ahead(cx).await;
        }
        let (offset, read) = self.reads.pop_front()?;
        match read.await {
            Ok(block) => Some(Ok(block)),
            Err(error) => Some(Err(self.disk.refused(cx, offset, &error).await)),
        }
    }

    /// Takes a buffer back, to read into it again.
    pub(super) fn recycle(&mut self, buffer: Buffer) {
        self.spare.push(buffer);
    }

    /// Waits for what is under way and of no use any more.
    pub(super) async fn settle(self) {
        for (_, read) in self.reads {
            // Somebody is told of the first error already.
            let _ = read.await;
        }
    }

    /// Starts the next read, when it is time.
    async fn read_ahead(&mut self, cx: &MainCx) {
        let longest = self.pace.as_ref().map_or(BLOCK, Pace::block);
        let length = longest.min(self.unread.end - self.unread.start);
        if let Some(pace) = &mut self.pace {
            pace.wait_for(length).await;
        }
        let mut buffer = self.spare.pop().unwrap_or_else(|| Buffer::new(0));
        buffer.resize(usize::try_from(length).expect("a block is no longer than `BLOCK`"));
        let offset = self.unread.start;
        self.unread.start += length;
        self.reads.push_back((offset, self.disk.read(cx, offset, buffer)));
    }
}

/// A limit in bytes per second.
struct Pace {
    speed: NonZeroU64,
    /// When the next read may start, in nanoseconds of the realtime clock.
    next: i64,
}

impl Pace {
    fn new(speed: NonZeroU64) -> Self {
        Self { speed, next: Clock::Realtime.now() }
    }

    /// How much to read at a time: several blocks per second, so that slow is also steady.
    fn block(&self) -> u64 {
        let part = self.speed.get() / 8;
        (part - part % SMALLEST_BLOCK).clamp(SMALLEST_BLOCK, BLOCK)
    }

    /// Waits until `length` bytes may be read. Of what was too slow, one read is made up for.
    async fn wait_for(&mut self, length: u64) {
        sleep_until(Clock::Realtime, self.next).await;
        let takes = u128::from(length) * 1_000_000_000 / u128::from(self.speed.get());
        let takes = i64::try_from(takes).unwrap_or(i64::MAX);
        let earliest = Clock::Realtime.now().saturating_sub(takes);
        self.next = self.next.max(earliest).saturating_add(takes);
    }
}

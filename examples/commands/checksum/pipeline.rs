//! Reading ahead while hashing.
//!
//! Owns the file, the buffers and the half-done checksum. A few reads are always under way, in the
//! pool; blocks are hashed in the order of the file; a buffer that was hashed is read into again. So the
//! memory is bounded and allocated once, and the disk and the processor are both busy.
//!
//! Threads: whichever polls it. The future is `Send`, so that it can be moved to an iothread.

use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;

use executor::blocking::{File, blocking};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use super::digest::Hasher;
use super::progress::Progress;

/// Long enough for the disk, short enough to hash in about a millisecond.
const BLOCK: usize = 1 << 20;
/// Reads under way at a time.
const DEPTH: usize = 4;

/// Who hashes.
#[derive(Clone, Copy)]
pub(super) enum Workplace {
    /// The thread that polls: an iothread, which has nothing better to do.
    Here,
    /// The pool: for callers on the main loop, which has.
    Pool,
}

/// A checksum of a part of a file.
pub(super) struct Pipeline {
    blocks: Blocks,
    hasher: Hasher,
    progress: Progress,
}

impl Pipeline {
    pub(super) fn new(file: File, range: Range<u64>, hasher: Hasher, progress: Progress) -> Self {
        let blocks = Blocks { file, unread: range, reads: FuturesOrdered::new() };
        Self { blocks, hasher, progress }
    }

    /// Reads and hashes, and returns the checksum in hexadecimal.
    pub(super) async fn run(mut self, workplace: Workplace) -> io::Result<String> {
        for _ in 0..DEPTH {
            self.blocks.read_ahead(Vec::new());
        }
        while let Some(block) = self.blocks.next().await {
            let block = hash(workplace, &mut self.hasher, block?).await?;
            self.progress.advance(block.len());
            self.blocks.read_ahead(block);
            yield_now().await;
        }
        Ok(self.hasher.finish())
    }
}

/// Hashes a block and gives it back.
async fn hash(workplace: Workplace, hasher: &mut Hasher, block: Vec<u8>) -> io::Result<Vec<u8>> {
    match workplace {
        Workplace::Here => {
            hasher.update(&block);
            Ok(block)
        }
        Workplace::Pool => {
            // The work owns what it works on, since it may outlive this future.
            let mut lent = mem::replace(hasher, Hasher::Crc32c(0));
            let work = blocking(move || {
                lent.update(&block);
                (lent, block)
            });
            let (returned, block) = work.await?;
            *hasher = returned;
            Ok(block)
        }
    }
}

type Read = Pin<Box<dyn Future<Output = (Vec<u8>, io::Result<usize>)> + Send>>;

/// The blocks of a file, in order.
struct Blocks {
    file: File,
    /// What no read was started for yet.
    unread: Range<u64>,
    reads: FuturesOrdered<Read>,
}

impl Blocks {
    /// Starts the next read, into `buffer`, unless everything is read.
    fn read_ahead(&mut self, mut buffer: Vec<u8>) {
        let left = self.unread.end - self.unread.start;
        let length = usize::try_from(left).map_or(BLOCK, |left| left.min(BLOCK));
        if length == 0 {
            return;
        }
        buffer.resize(length, 0);
        let (file, offset) = (self.file.clone(), self.unread.start);
        self.unread.start += length as u64;
        self.reads.push_back(Box::pin(async move { file.read_at(buffer, offset).await }));
    }

    /// Returns the next block, or nothing at the end.
    async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        let (block, read) = self.reads.next().await?;
        Some(match read {
            Ok(count) if count == block.len() => Ok(block),
            Ok(_) => {
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, "The file has become shorter"))
            }
            Err(error) => Err(error),
        })
    }
}

/// Lets others on this thread have a turn, and us be cancelled: if the disk is fast, nothing else in the
/// loop ever waits.
async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

//! A command that computes the checksum of a disk: `x-blockdev-checksum`.
//!
//! ```text
//!   main loop                          iothread, or a thread of the pool
//!  ┌──────────────────────────┐ block ┌───────────────┐
//!  │ the command's task       ├──────►│ hash          │
//!  │   several reads ahead    │◄──────┤               │
//!  └───▲────┬─────────────────┘ buffer└───────────────┘
//!      │    │ blk_aio_preadv
//!  ┌───┴────▼────────┐
//!  │ QEMU's block    │
//!  │ layer           │
//!  └─────────────────┘
//! ```
//!
//! Every 100 ms the clients of our own server get an `X_BLOCKDEV_CHECKSUM_PROGRESS`.
//!
//! Threads: as drawn.

use std::time::Instant;

use executor::blocking::blocking;
use executor::host::block::Buffer;
use executor::qmp::{Command, Coroutine, Error, EventSink, Jobs, Registry, boxed};
use executor::{IoThread, MainCx, reschedule_to};
use serde::{Deserialize, Serialize};

use super::reader::Blocks;
use super::{Disk, Name, Told, joined};
use crate::commands::checksum::digest::{Algorithm, Hasher};
use crate::commands::checksum::progress::{Progress, ProgressInfo};
use crate::commands::checksum::{bytes_per_second, find_iothread};

/// The event that tells how far it has come.
const PROGRESS: &str = "X_BLOCKDEV_CHECKSUM_PROGRESS";

pub(super) fn register(registry: &mut Registry, events: &EventSink, jobs: &Jobs) {
    registry.event::<ProgressInfo>(PROGRESS);
    let told = Told { events: events.clone(), jobs: jobs.clone() };
    registry.command::<BlockdevChecksum, _>(boxed(move |cx, args| {
        let told = told.clone();
        Box::pin(blockdev_checksum(cx, args, told))
    }));
}

struct BlockdevChecksum;

impl Command for BlockdevChecksum {
    const NAME: &'static str = "x-blockdev-checksum";
    type Mode = Coroutine;
    type Args = ChecksumArgs;
    type Ret = Checksum;
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ChecksumArgs {
    /// Either this, the name of a `-drive`, ...
    device: Option<String>,
    /// ... or this, the name of a node.
    node_name: Option<String>,
    /// SHA-256 unless said otherwise.
    algorithm: Option<Algorithm>,
    /// Where to begin; 0 unless said otherwise.
    offset: Option<u64>,
    /// How many bytes; up to the end unless said otherwise.
    length: Option<u64>,
    /// Where to hash; in the pool unless said otherwise.
    iothread: Option<String>,
    /// How fast at most, in bytes per second; 0, as unless said otherwise, for no limit.
    speed: Option<u64>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Checksum {
    /// In hexadecimal.
    pub(super) digest: String,
    pub(super) algorithm: Algorithm,
    /// How many were hashed.
    pub(super) bytes: u64,
    /// In bytes per second.
    pub(super) throughput: u64,
}

async fn blockdev_checksum(cx: &MainCx, args: ChecksumArgs, told: Told) -> Result<Checksum, Error> {
    let workplace = args.iothread.as_deref().map(|id| find_iothread(cx, id)).transpose()?;
    let name = Name::of(args.device.clone(), args.node_name.clone())?;
    let disk = Disk::open(cx, name).await?;
    let checksum = compute(cx, &disk, &args, workplace, told).await;
    disk.close(cx).await?;
    checksum
}

async fn compute(
    cx: &MainCx,
    disk: &Disk,
    args: &ChecksumArgs,
    workplace: Option<IoThread>,
    told: Told,
) -> Result<Checksum, Error> {
    let range = disk.range(args.offset, args.length)?;
    let (bytes, algorithm) = (range.end - range.start, args.algorithm.unwrap_or_default());
    let job = told.jobs.begin(cx, BlockdevChecksum::NAME, disk.name.as_str().to_owned(), bytes);
    let progress = Progress::new(told.events, PROGRESS, &job);

    let started = Instant::now();
    let mut blocks = Blocks::new(disk, range, args.speed);
    let work = Work { hasher: Hasher::new(algorithm), workplace, progress };
    let digest = work.run(cx, &mut blocks).await;
    blocks.settle().await;
    let digest = digest?;
    job.conclude();
    let throughput = bytes_per_second(bytes, started);
    Ok(Checksum { digest, algorithm, bytes, throughput })
}

/// A checksum that is being computed.
struct Work {
    hasher: Hasher,
    /// The pool, if there is none. The reference keeps the thread alive until we are done.
    workplace: Option<IoThread>,
    progress: Progress,
}

impl Work {
    /// Returns the checksum in hexadecimal.
    async fn run(mut self, cx: &MainCx, blocks: &mut Blocks<'_>) -> Result<String, Error> {
        while let Some(block) = blocks.next(cx).await {
            let (hasher, block) = hash(self.workplace.as_ref(), self.hasher, block?).await?;
            self.hasher = hasher;
            self.progress.advance(block.len());
            blocks.recycle(block);
        }
        Ok(self.hasher.finish())
    }
}

/// Hashes a block where there is nothing better to do. What is worked on goes there and comes back, since
/// the work may outlive this future.
async fn hash(
    workplace: Option<&IoThread>,
    mut hasher: Hasher,
    block: Buffer,
) -> Result<(Hasher, Buffer), Error> {
    let work = move || {
        hasher.update(&block);
        (hasher, block)
    };
    match workplace {
        Some(thread) => joined(reschedule_to(&thread.io(), async { work() })).await,
        None => blocking(work).await.map_err(|error| Error::generic(error.to_string())),
    }
}

//! The same checksum, written as one must not: `x-blocking-blockdev-checksum`, with `naive=on`.
//!
//! It reads and hashes where it was called, and holds the Big QEMU Lock all the while: what
//! `examples/responsiveness` compares `x-blockdev-checksum` with. Waiting for a read is a nested event loop,
//! which serves QEMU's disks, but no monitor, and no guest, whose processors need the lock.
//!
//! Threads: the main loop's.

use std::time::Instant;

use executor::host::block::{BlockBackend, BlockError, Buffer};
use executor::qmp::{Blocking, Command, Error, Registry};
use executor::{MainCx, NoCoroutine, block_on};
use serde::Deserialize;

use super::checksum::Checksum;
use super::{Disk, Name};
use crate::commands::checksum::bytes_per_second;
use crate::commands::checksum::digest::{Algorithm, Hasher};

/// As in `x-blockdev-checksum`.
const BLOCK: u64 = 1 << 20;

pub(in super::super) fn register(registry: &mut Registry) {
    registry.command::<BlockingChecksum, _>(checksum);
}

struct BlockingChecksum;

impl Command for BlockingChecksum {
    const NAME: &'static str = "x-blocking-blockdev-checksum";
    const HELP: &'static str = "compute the SHA-256 of a disk, and hold everybody up";
    type Mode = Blocking;
    type Args = ChecksumArgs;
    type Ret = Checksum;
}

#[derive(Deserialize)]
struct ChecksumArgs {
    /// The name of a `-drive`.
    device: String,
    /// How many bytes; up to the end unless said otherwise.
    length: Option<u64>,
}

fn checksum(nc: &mut NoCoroutine, args: ChecksumArgs) -> Result<Checksum, Error> {
    let disk = open(nc, args.device).map_err(|error| Error::generic(error.to_string()))?;
    let checksum = compute(nc, &disk, args.length);
    disk.backend.close(nc);
    checksum
}

fn open(nc: &mut NoCoroutine, device: String) -> Result<Disk, BlockError> {
    let name = Name::Device(device);
    let backend = BlockBackend::open(nc, name.as_block_name())?;
    let length = backend.length(nc)?;
    Ok(Disk { backend, name, length })
}

fn compute(nc: &mut NoCoroutine, disk: &Disk, length: Option<u64>) -> Result<Checksum, Error> {
    let range = disk.range(None, length)?;
    let (bytes, algorithm) = (range.end - range.start, Algorithm::Sha256);
    let (started, mut hasher) = (Instant::now(), Hasher::new(algorithm));
    let mut buffer = Buffer::new(0);
    for offset in range.clone().step_by(BLOCK as usize) {
        let length = BLOCK.min(range.end - offset);
        buffer.resize(usize::try_from(length).expect("a block is no longer than `BLOCK`"));
        buffer = read(nc, disk, offset, buffer)?;
        hasher.update(&buffer);
    }
    let throughput = bytes_per_second(bytes, started);
    Ok(Checksum { digest: hasher.finish(), algorithm, bytes, throughput })
}

/// Waits for it on the spot.
fn read(nc: &mut NoCoroutine, disk: &Disk, offset: u64, buffer: Buffer) -> Result<Buffer, Error> {
    block_on(nc, async move |cx: &MainCx| match disk.read(cx, offset, buffer).await {
        Ok(buffer) => Ok(buffer),
        Err(error) => Err(Error::generic(format!("Could not read: {error}"))),
    })
}

//! Commands that read the disks of the QEMU around us, while its guest uses them.
//!
//! | file | commands | shows |
//! |---|---|---|
//! | `block/checksum.rs` | `x-blockdev-checksum` | reads of the block layer as futures, and an iothread that hashes |
//! | `block/compare.rs` | `x-blockdev-compare` | two disks at once |
//! | `block/naive.rs` | `x-blocking-blockdev-checksum` | what happens when a command blocks; only with `naive=on` |
//!
//! This file is what they share: opening a [`Disk`] and letting it go. How it is read is in
//! `block/reader.rs`.
//!
//! A disk that the guest writes to changes while it is read, so the result is of no one moment. Stop the guest,
//! or read a snapshot, if that matters.
//!
//! Nothing here handles cancellation: whoever drops a command's future drops its disks with it, which QEMU
//! gets back in a bottom half, after the reads that were under way.
//!
//! Threads: the main loop's.

use std::ops::Range;

use executor::host::block::{BlockBackend, BlockError, BlockName, Buffer, Read};
use executor::qmp::{Error, EventSink, Jobs, Registry};
use executor::{JoinError, MainCx};

use super::commands::checksum::not_finished;

mod checksum;
mod compare;
pub(super) mod naive;
mod reader;

pub(super) fn register(registry: &mut Registry, events: &EventSink, jobs: &Jobs) {
    checksum::register(registry, events, jobs);
    compare::register(registry, events, jobs);
}

/// Who is told how far a command has come.
#[derive(Clone)]
struct Told {
    events: EventSink,
    jobs: Jobs,
}

/// What a client calls a disk.
#[derive(Clone)]
enum Name {
    Device(String),
    Node(String),
    Either(String),
}

impl Name {
    /// Of the arguments `device` and `node-name`, which exclude each other.
    fn of(device: Option<String>, node_name: Option<String>) -> Result<Self, Error> {
        match (device, node_name) {
            (Some(device), None) => Ok(Self::Device(device)),
            (None, Some(node)) => Ok(Self::Node(node)),
            _ => Err(Error::generic("Need exactly one of 'device' and 'node-name'")),
        }
    }

    fn as_block_name(&self) -> BlockName<'_> {
        match self {
            Self::Device(name) => BlockName::Device(name),
            Self::Node(name) => BlockName::Node(name),
            Self::Either(name) => BlockName::DeviceOrNode(name),
        }
    }

    fn as_str(&self) -> &str {
        let (Self::Device(name) | Self::Node(name) | Self::Either(name)) = self;
        name
    }
}

/// A disk that is being read.
struct Disk {
    backend: BlockBackend,
    name: Name,
    /// How long it was when it was opened.
    length: u64,
}

impl Disk {
    async fn open(cx: &MainCx, name: Name) -> Result<Self, Error> {
        let wanted = name.clone();
        // Both run nested event loops, which a task cannot. `run_in_bh` would do that in nested loops, too,
        // with `nested=on`; but QEMU changes its graph in the outermost one only.
        let opened = cx.main().call(move |nc| {
            let backend = BlockBackend::open(nc, wanted.as_block_name())?;
            let length = backend.length(nc)?;
            Ok((backend, length))
        });
        let opened: Result<_, BlockError> = opened.await.map_err(not_finished)?;
        let (backend, length) = opened.map_err(|error| Error::generic(error.to_string()))?;
        Ok(Self { backend, name, length })
    }

    /// Lets it go, so that it is free when the client hears of the result.
    async fn close(self, cx: &MainCx) -> Result<(), Error> {
        cx.main().call(move |nc| self.backend.close(nc)).await.map_err(not_finished)
    }

    fn read(&self, cx: &MainCx, offset: u64, buffer: Buffer) -> Read {
        self.backend.read(cx, offset, buffer)
    }

    /// Which part is meant. In the words that QEMU has for a raw disk's.
    fn range(&self, offset: Option<u64>, length: Option<u64>) -> Result<Range<u64>, Error> {
        let (offset, size) = (offset.unwrap_or(0), self.length);
        let Some(rest) = size.checked_sub(offset) else {
            let why = "cannot be greater than size of the containing node";
            return Err(Error::generic(format!("Offset ({offset}) {why} ({size})")));
        };
        let length = length.unwrap_or(rest);
        if length > rest {
            let why = "has to be smaller or equal to the actual size of the containing node";
            let what = format!("The sum of offset ({offset}) and length ({length})");
            return Err(Error::generic(format!("{what} {why} ({size})")));
        }
        Ok(offset..offset + length)
    }

    /// The error of a read that failed. QEMU has the same number for a broken disk and for one that was
    /// resized to less.
    async fn refused(&self, cx: &MainCx, offset: u64, error: &BlockError) -> Error {
        let name = self.name.as_str();
        let what = format!("Could not read '{name}' at offset {offset}");
        let backend = self.backend.clone();
        let length = cx.main().call(move |nc| backend.length(nc)).await;
        match length {
            Ok(Ok(length)) if length < self.length => {
                let was = self.length;
                Error::generic(format!("{what}: it has shrunk from {was} to {length} bytes"))
            }
            _ => Error::generic(format!("{what}: {error}")),
        }
    }
}

/// Waits for work elsewhere that has an outcome of its own.
async fn joined<T>(work: impl Future<Output = Result<T, JoinError>>) -> Result<T, Error> {
    work.await.map_err(not_finished)
}

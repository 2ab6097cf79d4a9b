//! A command that works for a while: `x-file-checksum`.
//!
//! ```text
//!   main loop           pool of threads              iothread
//!  ┌──────────┐ open   ┌────────────────┐
//!  │ the task ├───────►│ open, fstat    │
//!  │ of the   │        └────────────────┘
//!  │ command  │        ┌────────────────┐  blocks   ┌────────────────────────┐
//!  │ waits    ├──┐     │ several reads  │──────────►│ hash, block after      │
//!  └────▲─────┘  │     │ at a time      │◄──────────│ block; events          │
//!       │        │     └────────────────┘  buffers  └────────▲───────┬───────┘
//!       │        └────────────── reschedule_to ──────────────┘       │
//!       └────────────────────────── Remote ◄─────────────────────────┘
//! ```
//!
//! The main loop only waits, so it serves everybody else meanwhile. Without an iothread the pool hashes,
//! too. How far it has come is told by its job (`x-query-tasks`, `query-jobs`), and every 100 ms the clients get an
//! `X_FILE_CHECKSUM_PROGRESS`.
//!
//! Nothing here handles cancellation, and all of it can be cancelled: when the client goes, or somebody
//! says `x-task-cancel`, the command's future is dropped, with it the `Remote`, with that the future in the
//! iothread, and with that the reads that wait, the buffers and the file.
//!
//! Threads: as drawn.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

use executor::blocking::{File, blocking};
use executor::qmp::{Command, Coroutine, Error, EventSink, Jobs, Registry, boxed, take_fd};
use executor::{IoThread, JoinError, MainCx, reschedule_to};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::executors::{self, Home};
use super::files::Files;

pub(crate) mod digest;
mod pipeline;
pub(crate) mod progress;

use digest::{Algorithm, Hasher};
use pipeline::{Pipeline, Workplace};
use progress::{Progress, ProgressInfo};

/// The event that tells how far a checksum has come.
const PROGRESS: &str = "X_FILE_CHECKSUM_PROGRESS";

pub(super) fn register(registry: &mut Registry, events: &EventSink, files: Files, jobs: &Jobs) {
    registry.event::<ProgressInfo>(PROGRESS);
    let (events, jobs) = (events.clone(), jobs.clone());
    registry.command::<FileChecksum, _>(boxed(move |cx, args| {
        let (events, files, jobs) = (events.clone(), files.clone(), jobs.clone());
        Box::pin(file_checksum(cx, args, events, files, jobs))
    }));
}

struct FileChecksum;

impl Command for FileChecksum {
    const NAME: &'static str = "x-file-checksum";
    const HELP: &'static str = "compute the checksum of a file";
    type Mode = Coroutine;
    type Args = ChecksumArgs;
    type Ret = Checksum;
}

#[derive(Deserialize)]
struct ChecksumArgs {
    /// Either this, ...
    filename: Option<String>,
    /// SHA-256 unless said otherwise.
    algorithm: Option<Algorithm>,
    /// Where to begin; 0 unless said otherwise.
    offset: Option<u64>,
    /// How many bytes; up to the end unless said otherwise.
    length: Option<u64>,
    /// Where to hash; in the pool unless said otherwise.
    iothread: Option<String>,
    /// ... or this, what the client has called an open file with `getfd`.
    fdname: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct Checksum {
    /// In hexadecimal.
    digest: String,
    algorithm: Algorithm,
    /// How many were hashed.
    bytes: u64,
    /// In bytes per second.
    throughput: u64,
}

async fn file_checksum(
    cx: &MainCx,
    args: ChecksumArgs,
    events: EventSink,
    files: Files,
    jobs: Jobs,
) -> Result<Checksum, Error> {
    let iothread = args.iothread.as_deref().map(|id| find_iothread(cx, id)).transpose()?;
    let source = args.source()?;
    let (file, size) = source.open(files).await?;
    let range = args.range(size)?;
    let (bytes, algorithm) = (range.end - range.start, args.algorithm.unwrap_or_default());
    let job = jobs.begin(cx, FileChecksum::NAME, source.to_string(), bytes);
    let progress = Progress::new(events, PROGRESS, &job);
    let pipeline = Pipeline::new(file, range, Hasher::new(algorithm), progress);

    let started = Instant::now();
    let digest = match &iothread {
        None => pipeline.run(Workplace::Pool).await,
        Some(thread) => {
            let hashing = reschedule_to(&thread.io(), pipeline.run(Workplace::Here));
            hashing.await.map_err(not_finished)?
        }
    };
    let digest = digest.map_err(|error| source.refused("read", &error))?;
    job.conclude();
    let throughput = bytes_per_second(bytes, started);
    Ok(Checksum { digest, algorithm, bytes, throughput })
}

/// Finds an iothread, whether it is ours or QEMU's. The reference keeps it alive until we are done.
pub(crate) fn find_iothread(cx: &MainCx, id: &str) -> Result<IoThread, Error> {
    let thread = cx.bql(|bql| IoThread::by_id(bql, id));
    let thread = thread.ok_or_else(|| Error::generic(format!("Cannot find iothread {id}")))?;
    executors::add(id, Home::IoThread(thread.io()));
    Ok(thread)
}

/// What is to be read.
enum Source {
    File(String),
    /// What the client calls it.
    Fd(String),
}

impl Source {
    /// Opens it, if it is not open yet, and finds out how long it is. Regular files only.
    async fn open(&self, files: Files) -> Result<(File, u64), Error> {
        let open: Box<dyn FnOnce() -> io::Result<fs::File> + Send> = match self {
            Self::File(name) => {
                let name = name.clone();
                Box::new(move || files.open(Path::new(&name)))
            }
            Self::Fd(name) => {
                let fd = take_fd(name)?;
                Box::new(move || Ok(fd.into()))
            }
        };
        let opened = blocking(move || regular(open()?));
        let opened = opened.await.map_err(io::Error::from).and_then(|result| result);
        opened.map_err(|error| self.refused("open", &error))
    }

    /// In QEMU's words, which have C's words for the reason.
    fn refused(&self, what: &str, error: &io::Error) -> Error {
        let reason = error.to_string();
        let reason = reason.split(" (os error ").next().unwrap_or_default();
        Error::generic(format!("Could not {what} {self}: {reason}"))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "'{name}'"),
            Self::Fd(name) => write!(f, "file descriptor '{name}'"),
        }
    }
}

/// Returns how long the file is, too, unless it is something else.
fn regular(file: fs::File) -> io::Result<(File, u64)> {
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR.into());
    }
    if !metadata.is_file() {
        let why = "A regular file was expected, but something else was given";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok((File::from(file), metadata.len()))
}

impl ChecksumArgs {
    fn source(&self) -> Result<Source, Error> {
        match (&self.filename, &self.fdname) {
            (Some(name), None) => Ok(Source::File(name.clone())),
            (None, Some(name)) => Ok(Source::Fd(name.clone())),
            _ => Err(Error::generic("Need exactly one of 'filename' and 'fdname'")),
        }
    }

    /// Returns which part of a file of `size` bytes is meant.
    fn range(&self, size: u64) -> Result<Range<u64>, Error> {
        let offset = self.offset.unwrap_or(0);
        let Some(rest) = size.checked_sub(offset) else {
            let why = "cannot be greater than size of the containing file";
            return Err(Error::generic(format!("Offset ({offset}) {why} ({size})")));
        };
        let length = self.length.unwrap_or(rest);
        if length > rest {
            let why = "has to be smaller or equal to the actual size of the containing file";
            let what = format!("The sum of offset ({offset}) and length ({length})");
            return Err(Error::generic(format!("{what} {why} ({size})")));
        }
        Ok(offset..offset + length)
    }
}

/// The iothread's half of the command was cancelled by itself, or has a bug.
pub(crate) fn not_finished(error: JoinError) -> Error {
    match error.is_cancelled() {
        true => Error::generic("The command was cancelled"),
        false => Error::generic(error.to_string()),
    }
}

pub(crate) fn bytes_per_second(bytes: u64, started: Instant) -> u64 {
    let per_second = u128::from(bytes) * 1_000_000_000 / started.elapsed().as_nanos().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

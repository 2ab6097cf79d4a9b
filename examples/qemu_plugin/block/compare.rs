//! A command that compares two disks: `x-blockdev-compare`.
//!
//! Reads both side by side and stops at the first byte that differs. A disk that is longer than the other
//! differs from it where the other ends.
//!
//! Threads: the main loop's. Comparing a block takes some ten microseconds, less than a trip elsewhere.

use executor::MainCx;
use executor::qmp::{Command, Coroutine, Error, EventSink, Jobs, Registry, boxed};
use serde::{Deserialize, Serialize};

use super::reader::Blocks;
use super::{Disk, Name, Told};
use crate::commands::checksum::progress::{Progress, ProgressInfo};

/// The event that tells how far it has come.
const PROGRESS: &str = "X_BLOCKDEV_COMPARE_PROGRESS";

pub(super) fn register(registry: &mut Registry, events: &EventSink, jobs: &Jobs) {
    registry.event::<ProgressInfo>(PROGRESS);
    let told = Told { events: events.clone(), jobs: jobs.clone() };
    registry.command::<BlockdevCompare, _>(boxed(move |cx, args| {
        let told = told.clone();
        Box::pin(blockdev_compare(cx, args, told))
    }));
}

struct BlockdevCompare;

impl Command for BlockdevCompare {
    const NAME: &'static str = "x-blockdev-compare";
    type Mode = Coroutine;
    type Args = CompareArgs;
    type Ret = Comparison;
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CompareArgs {
    /// Either this, the name of a `-drive`, ...
    device: Option<String>,
    /// ... or this, the name of a node.
    node_name: Option<String>,
    /// The other one, by either name.
    target: String,
    /// How fast to read each of them at most, in bytes per second; 0, as unless said otherwise, for no limit.
    speed: Option<u64>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Comparison {
    equal: bool,
    /// Where the first difference is.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    /// In bytes.
    length: u64,
    /// In bytes.
    target_length: u64,
}

async fn blockdev_compare(cx: &MainCx, args: CompareArgs, told: Told) -> Result<Comparison, Error> {
    let name = Name::of(args.device, args.node_name)?;
    let disk = Disk::open(cx, name).await?;
    let comparison = compare_with(cx, &disk, args.target, args.speed, told).await;
    disk.close(cx).await?;
    comparison
}

async fn compare_with(
    cx: &MainCx,
    disk: &Disk,
    target: String,
    speed: Option<u64>,
    told: Told,
) -> Result<Comparison, Error> {
    let target = Disk::open(cx, Name::Either(target)).await?;
    let (length, target_length) = (disk.length, target.length);
    let both = length.min(target_length);
    let job = told.jobs.begin(cx, BlockdevCompare::NAME, disk.name.as_str().to_owned(), both);
    let progress = Progress::new(told.events, PROGRESS, &job);

    let mut blocks = [disk, &target].map(|disk| Blocks::new(disk, 0..both, speed));
    let difference = compare(cx, &mut blocks, progress).await;
    for blocks in blocks {
        blocks.settle().await;
    }
    target.close(cx).await?;
    let difference = difference?;
    job.conclude();
    let offset = difference.or((length != target_length).then_some(both));
    Ok(Comparison { equal: offset.is_none(), offset, length, target_length })
}

/// Returns where the first difference is.
async fn compare(
    cx: &MainCx,
    [one, other]: &mut [Blocks<'_>; 2],
    mut progress: Progress,
) -> Result<Option<u64>, Error> {
    let mut compared = 0;
    while let (Some(left), Some(right)) = (one.next(cx).await, other.next(cx).await) {
        let (left, right) = (left?, right?);
        if let Some(place) = first_difference(&left, &right) {
            return Ok(Some(compared + place as u64));
        }
        compared += left.len() as u64;
        progress.advance(left.len());
        one.recycle(left);
        other.recycle(right);
    }
    Ok(None)
}

/// Of two slices of the same length. Equal parts are skipped with C's `memcmp`.
fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    const PART: usize = 4096;
    let mut parts = left.chunks(PART).zip(right.chunks(PART)).enumerate();
    let (number, (left, right)) = parts.find(|(_, (left, right))| left != right)?;
    let place = left.iter().zip(right).position(|(left, right)| left != right)?;
    Some(number * PART + place)
}

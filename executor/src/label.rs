//! What tasks wait for, in words.
//!
//! Owns the words of all waits that have one. They are entered when a wait begins to last and struck when it
//! ends, behind locks that are held for some instructions; any thread may read them.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::current;

const SHARDS: usize = 16;

/// By the task's id and the number of the wait.
type Waits = BTreeMap<(u64, u64), Cow<'static, str>>;

static WAITS: [Mutex<Waits>; SHARDS] = [const { Mutex::new(BTreeMap::new()) }; SHARDS];

/// Awaits `future`, and tells listings of tasks what the task waits for meanwhile: see
/// [`TaskInfo::waits_for`](crate::TaskInfo::waits_for).
///
/// Costs nothing if the future is ready at once, and two short locks otherwise. Labels may be nested; outside of
/// tasks they do nothing.
///
/// ```
/// use executor::{label, LocalExecutor};
///
/// let executor = LocalExecutor::new().expect("there are file descriptors left");
/// let task = executor.spawn(label("the end of time", std::future::pending::<()>()));
/// executor.run(async { executor.spawn(async {}).await.expect("it does not panic") });
/// assert_eq!(executor.probe().tasks()[0].waits_for, ["the end of time"]);
/// # drop(task);
/// ```
pub async fn label<F: Future>(text: impl Into<Cow<'static, str>>, future: F) -> F::Output {
    let mut future = pin!(future);
    let (mut text, mut wait) = (Some(text.into()), None);
    let output = poll_fn(|cx| {
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            wait = wait.take().or_else(|| text.take().and_then(Wait::begin));
        }
        polled
    });
    output.await
}

/// The words of a wait that lasts; struck when it is dropped.
#[derive(Debug)]
struct Wait {
    key: (u64, u64),
}

impl Wait {
    /// `None` outside of tasks.
    fn begin(text: Cow<'static, str>) -> Option<Wait> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let task = current::task_id()?;
        // Relaxed: only uniqueness matters.
        let key = (task, NEXT.fetch_add(1, Ordering::Relaxed));
        shard(task).insert(key, text);
        Some(Wait { key })
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let text = shard(self.key.0).remove(&self.key);
        drop(text);
    }
}

fn shard(task: u64) -> MutexGuard<'static, Waits> {
    let shard = &WAITS[(task % SHARDS as u64) as usize];
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a task waits for, the innermost first. Any thread.
pub(crate) fn of(task: u64) -> Vec<Cow<'static, str>> {
    shard(task).range((task, 0)..=(task, u64::MAX)).map(|(_, text)| text.clone()).collect()
}

//! A command about an end: work for an iothread that is gone.
//!
//! Threads: the main loop's.

use std::time::Duration;

use executor::clock::Clock;
use executor::qmp::{Command, Coroutine, Error, Registry};
use executor::time::sleep_on;
use executor::{IoContext, IoCx, IoThread, MainCx};
use serde::Deserialize;

pub(super) fn register(registry: &mut Registry) {
    registry.command::<IothreadGone, _>(iothread_gone);
}

/// How often it is looked whether the iothread is gone.
const SHORT: Duration = Duration::from_millis(1);

struct IothreadGone;

impl Command for IothreadGone {
    const NAME: &'static str = "x-selftest-iothread-gone";
    type Mode = Coroutine;
    type Args = IothreadGoneArgs;
    type Ret = ();
}

#[derive(Deserialize)]
struct IothreadGoneArgs {
    iothread: String,
}

/// Keeps the way to an iothread that was never sent anything, waits until somebody has removed it, and sends
/// it its first job.
async fn iothread_gone(cx: &MainCx, args: IothreadGoneArgs) -> Result<(), Error> {
    let find = || cx.bql(|bql| IoThread::by_id(bql, &args.iothread));
    let io: Option<IoContext> = find().map(|thread| thread.io());
    let io = io.ok_or_else(|| Error::generic("there is no such iothread"))?;
    while find().is_some() {
        sleep_on(Clock::Realtime, SHORT).await;
    }
    let ran = io.run(async |_: &IoCx| ()).await;
    ran.map_err(|error| Error::generic(error.to_string()))
}

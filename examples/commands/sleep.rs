//! A command that waits: `x-sleep`.
//!
//! The whole command is one `.await`. While it waits there is no thread, and no other command, client or
//! device waits with it. On the guest's clock it stands still while the guest does.
//!
//! Threads: the main loop's.

use std::time::Duration;

use executor::MainCx;
use executor::clock::Clock;
use executor::qmp::{Command, Coroutine, Error, Registry};
use executor::time::sleep_on;
use serde::Deserialize;

pub(super) fn register(registry: &mut Registry) {
    registry.command::<Sleep, _>(x_sleep);
}

struct Sleep;

impl Command for Sleep {
    const NAME: &'static str = "x-sleep";
    const HELP: &'static str = "wait for a while";
    type Mode = Coroutine;
    type Args = SleepArgs;
    type Ret = ();
}

#[derive(Deserialize)]
struct SleepArgs {
    seconds: Option<f64>,
    ns: Option<u64>,
    clock: Option<SleepClock>,
}

/// The clocks that one can sleep on; real time unless said otherwise.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SleepClock {
    #[default]
    Realtime,
    Virtual,
}

async fn x_sleep(_: &MainCx, args: SleepArgs) -> Result<(), Error> {
    let clock = match args.clock.unwrap_or_default() {
        SleepClock::Realtime => Clock::Realtime,
        SleepClock::Virtual => Clock::Virtual,
    };
    sleep_on(clock, args.duration()?).await;
    Ok(())
}

impl SleepArgs {
    fn duration(&self) -> Result<Duration, Error> {
        match (self.seconds, self.ns) {
            (Some(seconds), None) => Duration::try_from_secs_f64(seconds).map_err(|_| {
                Error::generic(
                    "Parameter 'seconds' expects a number of seconds that is not negative",
                )
            }),
            (None, Some(ns)) => Ok(Duration::from_nanos(ns)),
            _ => Err(Error::generic("Need exactly one of 'seconds' and 'ns'")),
        }
    }
}

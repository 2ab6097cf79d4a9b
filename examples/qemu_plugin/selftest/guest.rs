//! A command that waits for the guest to run, or to stop.
//!
//! Threads: the main loop's.

use executor::MainCx;
use executor::host::{GuestWatch, guest_runs};
use executor::qmp::{Command, Coroutine, Error, Registry};
use serde::Deserialize;

pub(super) fn register(registry: &mut Registry) {
    registry.command::<AwaitGuest, _>(await_guest);
}

struct AwaitGuest;

impl Command for AwaitGuest {
    const NAME: &'static str = "x-selftest-await-guest";
    type Mode = Coroutine;
    type Args = AwaitGuestArgs;
    /// What QEMU says then.
    type Ret = bool;
}

#[derive(Deserialize)]
struct AwaitGuestArgs {
    runs: bool,
}

async fn await_guest(cx: &MainCx, args: AwaitGuestArgs) -> Result<bool, Error> {
    GuestWatch::new(cx).until(args.runs).await;
    Ok(cx.bql(guest_runs))
}

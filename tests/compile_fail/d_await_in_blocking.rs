//! A `Blocking` handler cannot yield: it is no async function.

use std::time::Duration;

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Error, Registry};
use executor::time::sleep;

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Blocking;
    type Args = u64;
    type Ret = u64;
}

fn resize(_: &mut NoCoroutine, size: u64) -> Result<u64, Error> {
    sleep(Duration::from_secs(1)).await;
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}

//! A `Coroutine` handler has no right to run a nested event loop.

use executor::NoCoroutine;
use executor::qmp::{Command, Coroutine, Error, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Coroutine;
    type Args = u64;
    type Ret = u64;
}

async fn resize(_: &mut NoCoroutine, size: u64) -> Result<u64, Error> {
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}

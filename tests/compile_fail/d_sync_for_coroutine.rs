//! A `Coroutine` handler is an async function; a plain one belongs to a `Blocking` command.

use executor::MainCx;
use executor::qmp::{Command, Coroutine, Error, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Coroutine;
    type Args = u64;
    type Ret = u64;
}

fn resize(_: &MainCx, size: u64) -> Result<u64, Error> {
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}

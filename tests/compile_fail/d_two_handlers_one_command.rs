//! The mode is the command's, not the caller's: the same command cannot be registered in another mode.

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Coroutine, Error, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Coroutine;
    type Args = u64;
    type Ret = u64;
}

fn resize(_: &mut NoCoroutine, size: u64) -> Result<u64, Error> {
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, Blocking>(resize);
}

fn main() {}

//! An out-of-band handler runs without the Big QEMU Lock and cannot run a nested event loop.

use executor::NoCoroutine;
use executor::qmp::{Command, Error, Oob, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Oob;
    type Args = u64;
    type Ret = u64;
}

fn resize(_: &mut NoCoroutine, size: u64) -> Result<u64, Error> {
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}

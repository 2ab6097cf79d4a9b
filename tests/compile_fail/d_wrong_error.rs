//! A handler fails with a QMP error, which says how clients see it.

use std::io;

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Blocking;
    type Args = u64;
    type Ret = u64;
}

fn resize(_: &mut NoCoroutine, size: u64) -> Result<u64, io::Error> {
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}

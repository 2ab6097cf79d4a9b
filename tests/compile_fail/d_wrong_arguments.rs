//! A handler takes the arguments that the schema says.

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Error, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Blocking;
    type Args = u64;
    type Ret = u64;
}

fn resize(_: &mut NoCoroutine, size: String) -> Result<u64, Error> {
    Ok(size.len() as u64)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}

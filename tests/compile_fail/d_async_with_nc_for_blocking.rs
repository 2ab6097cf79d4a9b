//! An `async fn` of `&mut NoCoroutine` is no `Blocking` handler either: it could yield with the right in hand.

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Error, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Blocking;
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

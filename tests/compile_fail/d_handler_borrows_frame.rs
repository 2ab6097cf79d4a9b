//! The registry keeps its handlers, so they cannot borrow from the function that registers them.

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Blocking;
    type Args = u64;
    type Ret = u64;
}

fn register(registry: &mut Registry) {
    let limit = 100;
    registry.command::<Resize, _>(|_: &mut NoCoroutine, size: u64| Ok(size.min(*&limit)));
}

fn main() {}

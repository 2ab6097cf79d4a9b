//! Two monitors may call an out-of-band handler at once: what it captures must be `Sync`.

use std::cell::Cell;

use executor::OobContext;
use executor::qmp::{Command, Oob, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Oob;
    type Args = u64;
    type Ret = u64;
}

fn register(registry: &mut Registry, last: Cell<u64>) {
    registry.command::<Resize, _>(move |_: &OobContext, size: u64| Ok(last.replace(size)));
}

fn main() {}

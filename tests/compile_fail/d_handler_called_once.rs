//! A command may be called any number of times, so its handler cannot give away what it captured.

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Blocking;
    type Args = u64;
    type Ret = String;
}

fn register(registry: &mut Registry, name: String) {
    registry.command::<Resize, _>(move |_: &mut NoCoroutine, _: u64| Ok(name));
}

fn main() {}

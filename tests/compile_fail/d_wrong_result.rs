//! A handler returns what the schema says.

use executor::MainCx;
use executor::qmp::{Command, Coroutine, Error, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Coroutine;
    type Args = u64;
    type Ret = u64;
}

async fn resize(_: &MainCx, _: u64) -> Result<String, Error> {
    Ok(String::new())
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}

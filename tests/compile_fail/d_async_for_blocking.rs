//! A `Blocking` handler cannot be async: nobody would poll it, and it cannot yield in secret.

use executor::MainCx;
use executor::qmp::{Blocking, Command, Error, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Blocking;
    type Args = u64;
    type Ret = u64;
}

async fn resize(_: &MainCx, size: u64) -> Result<u64, Error> {
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}

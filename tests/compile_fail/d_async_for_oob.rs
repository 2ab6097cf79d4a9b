//! An out-of-band handler answers at once, so it cannot be async.

use executor::OobContext;
use executor::qmp::{Command, Error, Oob, Registry};

struct Resize;

impl Command for Resize {
    const NAME: &'static str = "resize";
    type Mode = Oob;
    type Args = u64;
    type Ret = u64;
}

async fn resize(_: &OobContext, size: u64) -> Result<u64, Error> {
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.command::<Resize, _>(resize);
}

fn main() {}

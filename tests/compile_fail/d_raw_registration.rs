//! There is no registration by name and mode: the command's type has both.

use executor::MainCx;
use executor::qmp::{Error, Registry};

async fn resize(_: &MainCx, size: u64) -> Result<u64, Error> {
    Ok(size)
}

fn register(registry: &mut Registry) {
    registry.coroutine("resize", resize);
}

fn main() {}

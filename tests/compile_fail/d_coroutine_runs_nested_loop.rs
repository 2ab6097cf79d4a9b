//! A `Coroutine` handler cannot run a nested event loop.

use executor::qmp::Error;
use executor::{MainCx, block_on};

async fn resize(cx: &MainCx, size: u64) -> Result<u64, Error> {
    block_on(cx, async |_: &MainCx| ());
    Ok(size)
}

fn main() {}

//! A `Blocking` handler cannot be called from async code: it may run a nested event loop.

use executor::qmp::Error;
use executor::{MainCx, NoCoroutine};

fn resize(_: &mut NoCoroutine, size: u64) -> Result<u64, Error> {
    Ok(size)
}

async fn grow(cx: &MainCx, size: u64) -> Result<u64, Error> {
    resize(cx, size + 1)
}

fn main() {}

//! Blocking code calls a coroutine handler through `block_on`; async code awaits it.

use executor::qmp::Error;
use executor::{MainCx, NoCoroutine, block_on};

async fn resize(_: &MainCx, size: u64) -> Result<u64, Error> {
    Ok(size)
}

pub fn hmp_resize(nc: &mut NoCoroutine) -> Result<u64, Error> {
    block_on(nc, async |cx: &MainCx| resize(cx, 512).await)
}

pub async fn grow(cx: &MainCx) -> Result<u64, Error> {
    resize(cx, 513).await
}

fn main() {}

//! A coroutine handler that is called without `.await` or `block_on` gives no result.

use executor::MainCx;
use executor::qmp::Error;

async fn resize(_: &MainCx, size: u64) -> Result<u64, Error> {
    Ok(size)
}

async fn hmp_resize(cx: &MainCx) -> Result<u64, Error> {
    let size = resize(cx, 512)?;
    Ok(size)
}

fn main() {}

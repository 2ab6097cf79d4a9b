//! Other callers must call a coroutine handler in coroutine context too: blocking code has no `&MainCx`.

use executor::qmp::Error;
use executor::{MainCx, NoCoroutine};

async fn resize(_: &MainCx, size: u64) -> Result<u64, Error> {
    Ok(size)
}

fn hmp_resize(nc: &mut NoCoroutine) {
    let _ = resize(nc, 512);
}

fn main() {}

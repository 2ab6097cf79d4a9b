//! A handler cannot give its context to a task that outlives it.

use executor::MainCx;
use executor::qmp::Error;

async fn resize(cx: &MainCx, size: u64) -> Result<u64, Error> {
    cx.spawn_future(async move { cx.bql(|_| ()) }).detach();
    Ok(size)
}

fn main() {}

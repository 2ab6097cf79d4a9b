//! A coroutine handler calls a `no_coroutine_fn` in a bottom half, and awaits the answer.

use executor::qmp::Error;
use executor::{MainCx, NoCoroutine};

fn flush(_: &mut NoCoroutine, device: String) -> usize {
    device.len()
}

pub async fn resize(cx: &MainCx, device: String) -> Result<usize, Error> {
    let flushed = cx.run_in_bh(move |nc| flush(nc, device)).await;
    flushed.map_err(|error| Error::generic(error.to_string()))
}

fn main() {}

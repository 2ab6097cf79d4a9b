//! Must not compile: a task is lent its capability for an unknown time, not for ever.

use executor::{MainCx, NoCoroutine};

async fn work(_cx: &'static MainCx) {}

fn handler(nc: &NoCoroutine) {
    nc.spawn(work).detach();
}

fn main() {}

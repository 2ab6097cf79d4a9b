//! Must not compile: a function for an iothread does not run in the main loop.

use executor::{IoCx, NoCoroutine};

async fn work(_io: &IoCx) {}

fn handler(nc: &NoCoroutine) {
    nc.spawn(work).detach();
}

fn main() {}

//! Must not compile: a function for the main loop does not run in an iothread.

use executor::{IoContext, MainCx, Remote};

async fn work(_cx: &MainCx) {}

fn handler(io: &IoContext) -> Remote<()> {
    io.run(work)
}

fn main() {}

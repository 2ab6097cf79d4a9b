//! Must not compile: an iothread cannot run the main loop.

use executor::{IoContext, IoCx, MainCx, Remote, block_on};

fn handler(io: &IoContext) -> Remote<()> {
    io.run(async |io: &IoCx| block_on(io, async |_cx: &MainCx| ()))
}

fn main() {}

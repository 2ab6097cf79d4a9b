//! Must not compile: a closure that returns a block cannot lend its argument to the block.

use executor::{IoContext, IoCx, Remote};

fn handler(io: &IoContext) -> Remote<()> {
    io.run(|io: &IoCx| async move { io.lock_bql(|_bql| ()) })
}

fn main() {}

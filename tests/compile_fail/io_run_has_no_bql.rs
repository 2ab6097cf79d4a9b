//! Must not compile: an iothread does not hold the lock: it must take it, with `lock_bql`, or call the main loop.

use executor::{BqlRefCell, IoContext, IoCx, Remote};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(io: &IoContext) -> Remote<usize> {
    io.run(async |io: &IoCx| io.bql(|bql| CELL.borrow(bql).len()))
}

fn main() {}

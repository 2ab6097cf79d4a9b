//! Must not compile: a borrow ends before the iothread releases the lock.

use executor::{BqlRefCell, IoCx};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(io: &IoCx) {
    let guard = io.lock_bql(|bql| CELL.borrow(bql));
    drop(guard);
}

fn main() {}

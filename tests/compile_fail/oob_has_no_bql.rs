//! Must not compile: an out-of-band command runs without the lock and cannot wait for it.

use executor::{BqlRefCell, OobContext};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn command(oob: &OobContext) -> usize {
    oob.bql(|bql| CELL.borrow(bql).len())
}

fn main() {}

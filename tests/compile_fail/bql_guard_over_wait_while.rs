//! Must not compile: a nested loop runs others, so nothing may be borrowed.

use executor::{BqlRefCell, NoCoroutine};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(nc: &mut NoCoroutine) {
    let guard = CELL.borrow(nc);
    nc.wait_while(|_bql| false);
    drop(guard);
}

fn main() {}

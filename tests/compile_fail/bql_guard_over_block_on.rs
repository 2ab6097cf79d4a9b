//! Must not compile: a nested loop releases the lock, so nothing may be borrowed.

use executor::{BqlRefCell, MainCx, NoCoroutine, block_on};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(nc: &mut NoCoroutine) {
    let guard = CELL.borrow(nc);
    block_on(nc, async |_cx: &MainCx| ());
    drop(guard);
}

fn main() {}

//! Must not compile: the future of a `block_on` has a witness of its own, for shorter scopes.

use executor::{Bql, BqlRefCell, MainCx, NoCoroutine, block_on};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(nc: &mut NoCoroutine) {
    let bql: &Bql = nc;
    block_on(nc, async |_cx: &MainCx| CELL.borrow(bql).len());
}

fn main() {}

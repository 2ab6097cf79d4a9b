//! Must not compile: a borrow ends with the scope that lends the witness.

use executor::{BqlRefCell, MainCx};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(cx: &MainCx) {
    let guard = cx.bql(|bql| CELL.borrow(bql));
    drop(guard);
}

fn main() {}

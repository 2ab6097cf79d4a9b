//! Must not compile: a reference into a cell ends with the borrow.

use executor::{BqlRefCell, MainCx};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(cx: &MainCx) {
    let first = cx.bql(|bql| CELL.with_mut(bql, |list| list.first_mut()));
    drop(first);
}

fn main() {}

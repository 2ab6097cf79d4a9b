//! Must not compile: a borrow cannot be stored outside of the scope.

use executor::{BqlRefCell, MainCx};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(cx: &MainCx) {
    let mut stash = None;
    cx.bql(|bql| stash = Some(CELL.borrow(bql)));
    drop(stash);
}

fn main() {}

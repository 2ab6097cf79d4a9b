//! Must not compile: an async closure is no scope: its future would leave with the witness.

use executor::{Bql, BqlRefCell, MainCx};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

async fn handler(cx: &MainCx) {
    cx.bql(async |bql: &Bql| CELL.borrow(bql).len()).await;
}

fn main() {}

//! Must not compile: a future that uses the witness cannot leave the scope, where it would be awaited.

use executor::{BqlRefCell, MainCx};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

async fn handler(cx: &MainCx) {
    cx.bql(|bql| async move { CELL.borrow(bql).len() }).await;
}

fn main() {}

//! Must not compile: inside a task, the scope gives the witness.

use executor::{BqlRefCell, MainCx};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

async fn handler(cx: &MainCx) -> usize {
    CELL.borrow(cx).len()
}

fn main() {}

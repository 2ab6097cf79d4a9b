//! Must not compile: a cell opens for the witness alone.

use executor::BqlRefCell;

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler() -> usize {
    CELL.borrow().len()
}

fn main() {}

//! Must not compile: there is no lock in the unlocked section.

use executor::{Bql, BqlRefCell, NoCoroutine};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(nc: &mut NoCoroutine, bql: &'static Bql) {
    nc.unlocked(|| drop(CELL.borrow(bql)));
}

fn main() {}

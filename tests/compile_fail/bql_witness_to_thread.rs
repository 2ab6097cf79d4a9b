//! Must not compile: another thread does not hold the lock because this one does.

use executor::{Bql, BqlRefCell};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(bql: &Bql) {
    std::thread::scope(|scope| {
        scope.spawn(|| drop(CELL.borrow(bql)));
    });
}

fn main() {}

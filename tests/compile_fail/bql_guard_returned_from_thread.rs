//! Must not compile: a borrow ends before the thread releases the lock.

use executor::BqlRefCell;

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn vcpu() {
    let guard = executor::bql::with_bql(|bql| CELL.borrow_mut(bql));
    drop(guard);
}

fn main() {}

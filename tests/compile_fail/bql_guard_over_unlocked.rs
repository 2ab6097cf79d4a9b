//! Must not compile: the lock is released, so nothing may be borrowed.

use executor::{BqlRefCell, NoCoroutine};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(nc: &mut NoCoroutine) {
    let guard = CELL.borrow(nc);
    nc.unlocked(|| ());
    drop(guard);
}

fn main() {}

//! Must not compile: a borrow under the lock does not leave the thread that holds it.

use executor::{BqlRefCell, IoContext, Remote, reschedule_to};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(io: &IoContext) -> Remote<usize> {
    let guard = CELL.borrow_ambient();
    reschedule_to(io, async move { guard.len() })
}

fn main() {}

//! Must not compile: the proof of the lock does not leave the thread that holds it.

use executor::{Bql, BqlRefCell, IoContext, Remote, reschedule_to};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(bql: &'static Bql, io: &IoContext) -> Remote<()> {
    reschedule_to(io, async move { drop(CELL.borrow(bql)) })
}

fn main() {}

//! Must not compile: the condition's witness ends with the look.

use executor::{BqlRefCell, NoCoroutine};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn handler(nc: &mut NoCoroutine) {
    let mut stash = None;
    nc.wait_while(|bql| {
        stash = Some(CELL.borrow(bql));
        false
    });
    drop(stash);
}

fn main() {}

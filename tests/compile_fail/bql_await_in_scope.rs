//! Must not compile: the scope holds the lock: it cannot await.

use std::time::Duration;

use executor::time::sleep;
use executor::{BqlRefCell, MainCx};

static CELL: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

async fn handler(cx: &MainCx) {
    cx.bql(|bql| {
        let guard = CELL.borrow(bql);
        sleep(Duration::ZERO).await;
        drop(guard);
    });
}

fn main() {}

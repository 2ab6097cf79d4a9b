//! What `on_main` lends ends before the task goes back: no guard can be its result.

use executor::{BqlRefCell, MainCx, Migratable};

static DISKS: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn start(cx: &MainCx) {
    cx.spawn_migratable(async |m: &mut Migratable| {
        let disks = m.on_main(|bql| DISKS.borrow(bql)).await;
        println!("{}", disks.len());
    })
    .detach();
}

fn main() {}

//! The guard of a `BqlRefCell`, borrowed as QEMU's cells are, cannot be kept across a move.

use executor::{BqlRefCell, IoContext, MainCx, Migratable};

static DISKS: BqlRefCell<Vec<u32>> = BqlRefCell::new(Vec::new());

fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        let disks = DISKS.borrow_ambient();
        m.reschedule_to(&io).await;
        println!("{}", disks.len());
    })
    .detach();
}

fn main() {}

//! A look at BQL data from a task that is elsewhere: guards inside, `Send` results out.

use executor::{BqlRefCell, MainCx, Migratable};

static DISKS: BqlRefCell<Vec<String>> = BqlRefCell::new(Vec::new());

pub fn start(cx: &MainCx) {
    cx.spawn_migratable(async |m: &mut Migratable| {
        let names = m.on_main(|bql| DISKS.borrow(bql).clone()).await;
        m.on_main(move |bql| DISKS.borrow_mut(bql).extend(names)).await;
        {
            let on_main = m.to_main().await;
            on_main.bql(|bql| DISKS.borrow(bql).len());
        }
    })
    .detach();
}

fn main() {}

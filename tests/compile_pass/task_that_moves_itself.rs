//! A task that moves keeps `Send` values across its moves, and others between them.

use std::rc::Rc;
use std::sync::Arc;

use executor::{BqlCell, IoThread, MainCx, Migratable, block_on, run_main};

static COUNT: BqlCell<u32> = BqlCell::new(0);

fn main() {
    run_main(|nc| {
        let iothread = IoThread::create(nc, "io0").unwrap();
        let io = iothread.io();
        let shared = Arc::new(20);
        let moving = nc.spawn_migratable(async move |task: &mut Migratable| {
            let before = {
                let local = Rc::new(1);
                *local
            };
            task.reschedule_to(&io).await;
            let counted = task.on_main(|bql| COUNT.replace(bql, 300)).await;
            {
                let on_main = task.to_main().await;
                on_main.bql(|bql| COUNT.set(bql, COUNT.get(bql) + 1));
            }
            before + *shared + counted
        });
        let sum = block_on(nc, async |_cx: &MainCx| moving.await.unwrap());
        assert_eq!(sum, 21);
        assert_eq!(COUNT.get(nc), 301);
        iothread.destroy(nc).unwrap();
    });
}

//! A task that moves has no `&Bql` of its own: there is none on an iothread.

use executor::{BqlCell, IoContext, MainCx, Migratable};

static COUNTER: BqlCell<u32> = BqlCell::new(0);

fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        m.reschedule_to(&io).await;
        COUNTER.set(m, 1);
    })
    .detach();
}

fn main() {}

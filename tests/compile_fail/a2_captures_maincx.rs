//! A task that may leave the main loop cannot take along the proof that it is there.

use executor::{IoContext, MainCx, Migratable};

fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        m.reschedule_to(&io).await;
        cx.bql(|_| ());
    })
    .detach();
}

fn main() {}

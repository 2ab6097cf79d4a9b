//! A known false positive: `drop(on_main)` before the `.await` is not enough once it was borrowed. Use
//! `on_main(|bql| ..)`, or a block.

use executor::{IoContext, MainCx, Migratable};

fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(async move |m: &mut Migratable| {
        let on_main = m.to_main().await;
        on_main.bql(|_| ());
        drop(on_main);
        m.reschedule_to(&io).await;
    })
    .detach();
}

fn main() {}

//! A plain closure that returns an `async` block cannot lend to it; an async closure or an `async fn` can.

use executor::{IoContext, MainCx, Migratable};

fn start(cx: &MainCx, io: IoContext) {
    cx.spawn_migratable(move |m: &mut Migratable| async move { m.reschedule_to(&io).await })
        .detach();
}

fn main() {}

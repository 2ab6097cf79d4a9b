//! A task of the main loop has no right to move: its future need not be `Send`.

use executor::{IoContext, MainCx, Migratable};

async fn hash(m: &mut Migratable, io: &IoContext) {
    m.reschedule_to(io).await;
}

async fn command(cx: &MainCx, io: IoContext) {
    hash(cx, &io).await;
}

fn main() {}

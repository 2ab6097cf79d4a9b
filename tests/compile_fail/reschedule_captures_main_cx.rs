//! Must not compile: the main loop's capability does not go to an iothread.

use executor::{IoContext, MainCx, reschedule_to};

async fn handler(cx: &MainCx, io: IoContext) {
    reschedule_to(&io, async move { cx.bql(|_bql| ()) }).await.unwrap();
}

fn main() {}

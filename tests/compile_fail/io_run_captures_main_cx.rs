//! Must not compile: the main loop's capability does not go to an iothread.

use executor::{IoContext, IoCx, MainCx};

async fn handler(cx: &MainCx, io: IoContext) {
    io.run(async move |_io: &IoCx| cx.bql(|_bql| ())).await.unwrap();
}

fn main() {}

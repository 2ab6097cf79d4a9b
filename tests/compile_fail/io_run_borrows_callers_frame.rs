//! Must not compile: the task outlives the caller, which may be cancelled.

use executor::{IoContext, IoCx};

async fn handler(io: IoContext) -> usize {
    let data = vec![1, 2, 3];
    io.run(async |_io: &IoCx| data.len()).await.unwrap()
}

fn main() {}

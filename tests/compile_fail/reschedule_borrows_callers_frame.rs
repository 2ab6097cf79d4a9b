//! Must not compile: the future outlives the caller, which may be cancelled, so it cannot borrow from it.

use executor::{IoContext, reschedule_to};

async fn handler(io: IoContext) -> usize {
    let data = vec![1, 2, 3];
    reschedule_to(&io, async { data.len() }).await.unwrap()
}

fn main() {}

//! Must not compile: the handle of a local task hands out what was made here: it stays.

use executor::{IoContext, JoinHandle, Remote, reschedule_to};

fn handler(io: &IoContext, local: JoinHandle<u32>) -> Remote<u32> {
    reschedule_to(io, async move { local.await.unwrap() })
}

fn main() {}

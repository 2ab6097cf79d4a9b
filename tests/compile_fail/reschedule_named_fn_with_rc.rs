//! Must not compile: a named async function that takes an `Rc` makes a future that cannot move.

use std::rc::Rc;
use std::time::Duration;

use executor::time::sleep;
use executor::{IoContext, Remote, reschedule_to};

async fn work(shared: Rc<u32>) -> u32 {
    sleep(Duration::ZERO).await;
    *shared
}

fn handler(io: &IoContext, shared: Rc<u32>) -> Remote<u32> {
    reschedule_to(io, work(shared))
}

fn main() {}

//! Must not compile: a future that moves may not keep an `Rc` across an await.

use std::rc::Rc;
use std::time::Duration;

use executor::time::sleep;
use executor::{IoContext, Remote, reschedule_to};

fn handler(io: &IoContext) -> Remote<u32> {
    reschedule_to(io, async {
        let local = Rc::new(7);
        sleep(Duration::ZERO).await;
        *local
    })
}

fn main() {}

//! The smallest program: a task, a value under the Big QEMU Lock, and the way back.
//!
//! `run_main` makes a main loop and takes the lock; `block_on` runs the loop until the future is ready. A task
//! is lent a `MainCx`, and through it, for the length of a closure, the proof that the lock is held. Prints:
//!
//! ```text
//! a task says hello
//! 1 greeting so far
//! ```

use std::time::Duration;

use executor::time::sleep;
use executor::{BqlCell, MainCx, block_on, run_main};

static GREETINGS: BqlCell<u32> = BqlCell::new(0);

async fn greet(cx: &MainCx) -> u32 {
    sleep(Duration::from_millis(10)).await;
    println!("a task says hello");
    cx.bql(|bql| {
        GREETINGS.set(bql, GREETINGS.get(bql) + 1);
        GREETINGS.get(bql)
    })
}

fn main() {
    run_main(|nc| {
        let greetings = block_on(nc, async |cx: &MainCx| cx.spawn(greet).await);
        println!("{} greeting so far", greetings.expect("the task does not panic"));
    });
}

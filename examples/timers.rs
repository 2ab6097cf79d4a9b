//! Waiting on QEMU's clocks: a guest that is paused does not see time pass.
//!
//! An interval on the real-time clock ticks six times, 20 ms apart. Meanwhile a sleep of 50 ms waits on the
//! guest's clock; the guest is paused from the second tick to the fourth, so the sleep ends two ticks
//! late. At last a time-out gives up on a future that never ends. Prints:
//!
//! ```text
//! tick 1
//! tick 2: the guest is paused
//! tick 3
//! tick 4: the guest runs on
//! the guest has slept for 50 ms of its time
//! tick 5
//! tick 6
//! nothing happened within 10 ms
//! ```

use std::future::pending;
use std::time::Duration;

use executor::clock::{Clock, pause_virtual, resume_virtual};
use executor::time::{interval, sleep_on, timeout};
use executor::{MainCx, block_on, run_main};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

async fn guest(_: &MainCx) {
    let began = Clock::Virtual.now();
    sleep_on(Clock::Virtual, ms(50)).await;
    let slept = Clock::Virtual.now() - began;
    assert!(slept >= 50_000_000, "a sleep never ends early");
    println!("the guest has slept for 50 ms of its time");
}

async fn host(cx: &MainCx) {
    let guest = cx.spawn(guest);
    let mut ticks = interval(ms(20));
    for number in 1..=6 {
        ticks.tick().await;
        match number {
            2 => {
                cx.bql(pause_virtual);
                println!("tick {number}: the guest is paused");
            }
            4 => {
                cx.bql(resume_virtual);
                println!("tick {number}: the guest runs on");
            }
            _ => println!("tick {number}"),
        }
    }
    guest.await.expect("the guest does not panic");
    if timeout(ms(10), pending::<()>()).await.is_err() {
        println!("nothing happened within 10 ms");
    }
}

fn main() {
    run_main(|nc| block_on(nc, host));
}

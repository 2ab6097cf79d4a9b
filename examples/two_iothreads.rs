//! Moving work to iothreads and back: `reschedule_to` and `IoContext::run`.
//!
//! `reschedule_to` moves a future that is `Send`: it is made here and polled there. `run` moves a function, and
//! the future that it makes in the iothread need not be `Send`: this one keeps an `Rc` across an `.await`.
//! Awaiting the handle is the way back; the task that awaits stays where it is. Prints, with other numbers:
//!
//! ```text
//! main loop  thread 4711
//! io0        thread 4713  21 + 21 = 42
//! io1        thread 4714  the Rc never left: 42
//! main loop  thread 4711
//! ```

use std::rc::Rc;
use std::time::Duration;

use executor::time::sleep;
use executor::{Bql, IoCx, IoThread, MainCx, block_on, reschedule_to, run_main};
use nix::unistd::{Pid, gettid};

/// It is `Send`, because what it keeps across the `.await` is.
async fn add(left: u32, right: u32) -> (Pid, u32) {
    sleep(Duration::from_millis(5)).await;
    (gettid(), left + right)
}

/// It is not, and need not be.
async fn share(_: &IoCx) -> (Pid, u32) {
    let shared = Rc::new(42);
    let other = Rc::clone(&shared);
    sleep(Duration::from_millis(5)).await;
    (gettid(), *other)
}

async fn travel(cx: &MainCx) {
    let create = |bql: &Bql, id| IoThread::create(bql, id).expect("there is room for a thread");
    let [io0, io1] = cx.bql(|bql| ["io0", "io1"].map(|id| create(bql, id)));
    let home = gettid();
    println!("main loop  thread {home}");

    // Both are under way before either is awaited.
    let sum = reschedule_to(&io0.io(), add(21, 21));
    let shared = io1.io().run(share);
    let (there, sum) = sum.await.expect("adding does not panic");
    println!("io0        thread {there}  21 + 21 = {sum}");
    assert_ne!(there, home);
    let (there, shared) = shared.await.expect("sharing does not panic");
    println!("io1        thread {there}  the Rc never left: {shared}");
    assert_ne!(there, home);

    println!("main loop  thread {}", gettid());
    assert_eq!(gettid(), home);
    cx.bql(|bql| {
        for thread in [io0, io1] {
            thread.destroy(bql).expect("nobody else has destroyed it");
        }
    });
}

fn main() {
    run_main(|nc| block_on(nc, travel));
}

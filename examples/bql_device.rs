//! A device model under the Big QEMU Lock, used by vCPUs and by a task of the main loop.
//!
//! The device is a queue of requests. Two threads play vCPUs: each takes the lock, rings the device's
//! doorbell, and lets go. A task of the main loop takes the requests out, works on each for a while, without
//! the lock, and counts it as done. The cells open only for a `&Bql`, so none of them can forget the lock, and
//! no borrow can live across the `.await`, so none of them can keep it. Prints, with other numbers:
//!
//! ```text
//! 200 requests of 2 vCPUs, done in 9 batches
//! ```

use std::thread;
use std::time::Duration;

use executor::bql::with_bql;
use executor::net::EventFd;
use executor::time::sleep;
use executor::{Bql, BqlCell, BqlRefCell, MainCx, block_on, run_main};

const VCPUS: usize = 2;
const REQUESTS: usize = 100;

/// The state of the device.
struct Device {
    /// Changed in place.
    queue: BqlRefCell<Vec<usize>>,
    /// Replaced as a whole.
    done: BqlCell<usize>,
}

static DEVICE: Device = Device { queue: BqlRefCell::new(Vec::new()), done: BqlCell::new(0) };

impl Device {
    /// A write to the doorbell's register, by a vCPU.
    fn ring(&self, bql: &Bql, request: usize) {
        self.queue.borrow_mut(bql).push(request);
    }

    fn finish(&self, bql: &Bql, count: usize) {
        self.done.set(bql, self.done.get(bql) + count);
    }
}

/// The device's own activity.
async fn work(cx: &MainCx, doorbell: &EventFd) -> usize {
    let mut batches = 0;
    while cx.bql(|bql| DEVICE.done.get(bql)) < VCPUS * REQUESTS {
        doorbell.wait().await.expect("the executor lives as long as we do");
        // Taken out, so that the vCPUs find an empty queue and not a borrowed one.
        let batch = cx.bql(|bql| DEVICE.queue.take(bql));
        if batch.is_empty() {
            continue;
        }
        sleep(Duration::from_millis(1)).await;
        cx.bql(|bql| DEVICE.finish(bql, batch.len()));
        batches += 1;
    }
    batches
}

fn be_vcpu(doorbell: &EventFd) {
    for request in 0..REQUESTS {
        with_bql(|bql| DEVICE.ring(bql, request));
        doorbell.notify().expect("a doorbell can be rung");
    }
}

async fn machine(cx: &MainCx) {
    let doorbell = std::sync::Arc::new(EventFd::new().expect("there is an fd left"));
    let vcpus: Vec<_> = (0..VCPUS)
        .map(|_| {
            let doorbell = std::sync::Arc::clone(&doorbell);
            thread::spawn(move || be_vcpu(&doorbell))
        })
        .collect();
    let batches = work(cx, &doorbell).await;
    for vcpu in vcpus {
        // All requests are done, so the vCPUs have let go of the lock for the last time.
        vcpu.join().expect("a vCPU does not panic");
    }
    println!("{} requests of {VCPUS} vCPUs, done in {batches} batches", VCPUS * REQUESTS);
}

fn main() {
    run_main(|nc| block_on(nc, machine));
}

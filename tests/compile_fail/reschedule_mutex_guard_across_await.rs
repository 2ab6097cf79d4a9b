//! Must not compile: a locked mutex must be unlocked by the thread that locked it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use executor::time::sleep;
use executor::{IoContext, Remote, reschedule_to};

fn handler(io: &IoContext, shared: Arc<Mutex<u32>>) -> Remote<()> {
    reschedule_to(io, async move {
        let guard = shared.lock().unwrap();
        sleep(Duration::ZERO).await;
        drop(guard);
    })
}

fn main() {}

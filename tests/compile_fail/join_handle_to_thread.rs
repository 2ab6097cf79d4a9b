//! Must not compile: the handle of a local task hands out what was made here.

use executor::JoinHandle;

fn handler(handle: JoinHandle<u32>) {
    std::thread::spawn(move || handle.is_finished());
}

fn main() {}

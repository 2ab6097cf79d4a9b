//! Must not compile: the right to block does not leave the main loop's thread.

use executor::{IoContext, IoCx, NoCoroutine, Remote};

fn handler(nc: &mut NoCoroutine, io: &IoContext) -> Remote<()> {
    io.run(async move |_io: &IoCx| nc.unlocked(|| ()))
}

fn main() {}

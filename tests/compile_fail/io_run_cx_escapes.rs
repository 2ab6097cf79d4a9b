//! Must not compile: an iothread's capability is lent for the task alone.

use executor::{IoContext, IoCx};

fn handler(io: &IoContext) {
    io.run(async |io: &IoCx| io).detach();
}

fn main() {}

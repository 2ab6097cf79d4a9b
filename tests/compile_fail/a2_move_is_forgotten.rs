//! A move that is not awaited does nothing, and the compiler says so.

#![deny(unused_must_use)]

use executor::{IoContext, Migratable};

async fn hash(m: &mut Migratable, io: &IoContext) {
    m.reschedule_to(io);
}

fn main() {}

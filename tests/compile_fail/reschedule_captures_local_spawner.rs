//! Must not compile: a spawner of this thread spawns futures that are not `Send`: it stays.

use executor::{IoContext, LocalSpawner, Remote, reschedule_to};

fn handler(io: &IoContext, spawner: LocalSpawner) -> Remote<()> {
    reschedule_to(io, async move { spawner.spawn(async {}).detach() })
}

fn main() {}

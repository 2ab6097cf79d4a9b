//! Must not compile: a task outlives the loan, whoever spawns it.

use executor::{LocalSpawner, NoCoroutine};

fn handler(nc: &mut NoCoroutine, spawner: &LocalSpawner) {
    spawner.spawn(async move { nc.unlocked(|| ()) }).detach();
}

fn main() {}

//! Must not compile: a spawner of this thread is not shared.

use std::sync::OnceLock;

use executor::LocalSpawner;

static SPAWNER: OnceLock<LocalSpawner> = OnceLock::new();

fn main() {}

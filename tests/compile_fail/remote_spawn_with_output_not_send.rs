//! Must not compile: the output comes back.

use std::rc::Rc;

use executor::{Remote, RemoteSpawner};

fn handler(spawner: &RemoteSpawner) -> Remote<Rc<u32>> {
    spawner.spawn_with(|| async { Rc::new(7) })
}

fn main() {}

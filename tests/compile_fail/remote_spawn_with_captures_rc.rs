//! Must not compile: the function that makes the future goes over, with what it captures.

use std::rc::Rc;

use executor::{Remote, RemoteSpawner};

fn handler(spawner: &RemoteSpawner, shared: Rc<u32>) -> Remote<u32> {
    spawner.spawn_with(move || async move { *shared })
}

fn main() {}

//! Must not compile: a future that is made here and polled there must be `Send`.

use std::rc::Rc;

use executor::{Remote, RemoteSpawner};

fn handler(spawner: &RemoteSpawner, shared: Rc<u32>) -> Remote<u32> {
    spawner.spawn(async move { *shared })
}

fn main() {}

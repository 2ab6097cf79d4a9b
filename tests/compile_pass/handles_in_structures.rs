//! Handles, remotes and spawners are ordinary values: in structures, collections and trait objects.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use executor::{JoinHandle, LocalExecutor, LocalSpawner, Remote, RemoteSpawner};

struct Jobs {
    spawner: LocalSpawner,
    remote: RemoteSpawner,
    local: HashMap<u32, JoinHandle<Box<dyn Fn() -> u32>>>,
    others: Vec<Remote<u32>>,
}

impl Jobs {
    fn start(&mut self, number: u32) {
        let make = async move { Box::new(move || number) as Box<dyn Fn() -> u32> };
        self.local.insert(number, self.spawner.spawn(make));
        self.others.push(self.remote.spawn(async move { number }));
    }

    async fn finish(mut self) -> u32 {
        let mut sum = 0;
        for (_, handle) in self.local.drain() {
            sum += handle.await.unwrap()();
        }
        for remote in self.others {
            sum += remote.await.unwrap();
        }
        sum
    }
}

fn main() {
    let executor = LocalExecutor::new().unwrap();
    let mut jobs = Jobs {
        spawner: executor.spawner(),
        remote: executor.remote(),
        local: HashMap::new(),
        others: Vec::new(),
    };
    jobs.start(1);
    jobs.start(2);
    let boxed: Pin<Box<dyn Future<Output = u32>>> = Box::pin(jobs.finish());
    assert_eq!(executor.run(boxed), 6);
}

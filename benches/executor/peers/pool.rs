//! futures: a `LocalPool`.
//!
//! It has no fds and no timers, and nothing that spawns on it from another thread.

use std::future::Future;

use futures::executor::{LocalPool, LocalSpawner};
use futures::future::RemoteHandle;
use futures::task::LocalSpawnExt;

use super::jobs::Jobs;
use super::{Offload, Peer};
use crate::table::Column;

#[derive(Clone)]
pub(crate) struct Pool {
    spawner: LocalSpawner,
}

impl Peer for Pool {
    const COLUMN: Column = Column::Pool;

    type Join<T: 'static> = RemoteHandle<T>;

    fn run<T, F>(main: impl FnOnce(Self) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let mut pool = LocalPool::new();
        let peer = Pool { spawner: pool.spawner() };
        let task = peer.clone().spawn(async { main(peer).await });
        pool.run_until(task)
    }

    fn spawn<F>(&self, future: F) -> RemoteHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.spawner.spawn_local_with_handle(future).expect("the pool is there")
    }

    fn spawn_detached(&self, future: impl Future<Output = ()> + 'static) {
        self.spawner.spawn_local(future).expect("the pool is there");
    }
}

impl Offload for Pool {
    type Far = Jobs;

    fn far() -> Jobs {
        Jobs::start::<Pool>()
    }

    fn call(far: &Jobs, x: u64) -> impl Future<Output = u64> + 'static {
        far.call(x)
    }
}

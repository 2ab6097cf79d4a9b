//! futures: a `LocalPool`.
//!
//! It has no fds and no timers, and nothing that spawns on it from another thread: there it gets a channel of jobs,
//! each with a channel for the answer.

use std::future::Future;

use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use futures::executor::{LocalPool, LocalSpawner};
use futures::future::RemoteHandle;
use futures::task::LocalSpawnExt;

use super::{Helper, Offload, Peer, Unfailing};
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
}

type Job = (u64, oneshot::Sender<u64>);

/// A pool on another thread that serves jobs.
pub(crate) struct Far {
    /// Dropped first, which ends the pool.
    jobs: mpsc::UnboundedSender<Job>,
    _thread: Helper,
}

async fn serve(mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some((x, answer)) = jobs.next().await {
        answer.send(x + 1).expect("the caller waits");
    }
}

impl Offload for Pool {
    type Far = Far;

    fn far() -> Far {
        let (jobs, queue) = mpsc::unbounded();
        let thread = Helper::start(|_| Pool::run(|_| serve(queue)));
        Far { jobs, _thread: thread }
    }

    fn call(far: &Far, x: u64) -> impl Future<Output = u64> + 'static {
        let (answer, receive) = oneshot::channel();
        far.jobs.unbounded_send((x, answer)).expect("the other thread serves");
        Unfailing(receive)
    }
}

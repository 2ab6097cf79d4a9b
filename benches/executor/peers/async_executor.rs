//! async-executor: a `LocalExecutor` that futures' `block_on` drives.
//!
//! Its fds and timers are another crate's, which runs a thread for them, so it takes no part there.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use async_executor::{Executor, LocalExecutor, Task};
use futures::executor::block_on;

use super::{Helper, Offload, Peer};
use crate::table::Column;

#[derive(Clone)]
pub(crate) struct AsyncExecutor {
    executor: Rc<LocalExecutor<'static>>,
}

impl Peer for AsyncExecutor {
    const COLUMN: Column = Column::AsyncExecutor;

    type Join<T: 'static> = Task<T>;

    fn run<T, F>(main: impl FnOnce(Self) -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let executor = Rc::new(LocalExecutor::new());
        let peer = AsyncExecutor { executor: Rc::clone(&executor) };
        let task = executor.spawn(async { main(peer).await });
        block_on(executor.run(task))
    }

    fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.executor.spawn(future)
    }

    fn spawn_detached(&self, future: impl Future<Output = ()> + 'static) {
        self.executor.spawn(future).detach();
    }
}

/// An executor that another thread runs.
pub(crate) struct Far {
    executor: Arc<Executor<'static>>,
    _thread: Helper,
}

impl Offload for AsyncExecutor {
    type Far = Far;

    fn far() -> Far {
        let executor = Arc::new(Executor::new());
        let run = Arc::clone(&executor);
        let thread = Helper::start(move |stopped| {
            block_on(run.run(stopped)).expect_err("nothing is ever sent");
        });
        Far { executor, _thread: thread }
    }

    fn call(far: &Far, x: u64) -> impl Future<Output = u64> + 'static {
        far.executor.spawn(async move { x + 1 })
    }
}

//! Calls for executors that nothing can spawn on from another thread: a channel of jobs.
//!
//! Each job has a channel for its answer. Both are futures', which need nothing but wakers.

use std::future::Future;

use futures::StreamExt;
use futures::channel::{mpsc, oneshot};

use super::{Helper, Peer, Unfailing};

type Job = (u64, oneshot::Sender<u64>);

/// An executor on another thread that serves jobs.
pub(crate) struct Jobs {
    /// Dropped first, which ends the executor.
    jobs: mpsc::UnboundedSender<Job>,
    _thread: Helper,
}

async fn serve(mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some((x, answer)) = jobs.next().await {
        answer.send(x + 1).expect("the caller waits");
    }
}

impl Jobs {
    pub(super) fn start<P: Peer>() -> Jobs {
        let (jobs, queue) = mpsc::unbounded();
        let thread = Helper::start(|_| P::run(|_| serve(queue)));
        Jobs { jobs, _thread: thread }
    }

    pub(super) fn call(&self, x: u64) -> impl Future<Output = u64> + use<> {
        let (answer, receive) = oneshot::channel();
        self.jobs.unbounded_send((x, answer)).expect("the other thread serves");
        Unfailing(receive)
    }
}

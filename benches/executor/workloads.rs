//! What a workload is, by what it needs of an executor, and who takes part in which.
//!
//! A workload is written once, generic over the executor. It takes the time itself, of its middle part only, so neither
//! the executor's making nor its end is in the figures, and it checks that the work was done.

use std::future::Future;
use std::time::Duration;

use crate::peers::{
    AsyncExecutor, Embassy, LocalRuntime, Monoio, Ours, Peer, Pool, Reactor, Sockets, Timers, Tokio,
};
use crate::suite::RowBench;

/// Work that needs no more than tasks.
pub(crate) trait Workload: Copy + 'static {
    /// Does the work `n` times and returns how long that took.
    fn run<P: Peer>(self, peer: P, n: u64) -> impl Future<Output = Duration> + 'static;
}

/// Work that needs timers.
pub(crate) trait TimerWorkload: Copy + 'static {
    /// As [`Workload::run`].
    fn run<P: Timers>(self, peer: P, n: u64) -> impl Future<Output = Duration> + 'static;
}

/// Work that needs sockets.
pub(crate) trait SocketWorkload: Copy + 'static {
    /// As [`Workload::run`].
    fn run<P: Sockets>(self, peer: P, n: u64) -> impl Future<Output = Duration> + 'static;
}

/// Work that needs fds of any kind.
pub(crate) trait ReactorWorkload: Copy + 'static {
    /// As [`Workload::run`].
    fn run<P: Reactor>(self, peer: P, n: u64) -> impl Future<Output = Duration> + 'static;
}

impl RowBench<'_> {
    /// Adds one peer.
    pub(crate) fn peer<P: Peer>(self, workload: impl Workload) -> Self {
        self.column(P::COLUMN, move |n| P::run(move |peer| workload.run(peer, n)))
    }

    /// Adds all peers, and us.
    pub(crate) fn all(self, workload: impl Workload) -> Self {
        self.peer::<Ours>(workload).others(workload)
    }

    /// Adds all peers.
    pub(crate) fn others(self, workload: impl Workload) -> Self {
        self.fair_ones(workload).peer::<Monoio>(workload)
    }

    /// Adds the peers, but for monoio, in which a task that is always ready starves the others.
    pub(crate) fn fair_ones(self, workload: impl Workload) -> Self {
        self.peer::<Tokio>(workload)
            .peer::<AsyncExecutor>(workload)
            .peer::<Pool>(workload)
            .peer::<Embassy>(workload)
            .peer::<LocalRuntime>(workload)
    }

    /// Adds us, and the peers that have timers.
    pub(crate) fn timers(self, workload: impl TimerWorkload) -> Self {
        self.timer::<Ours>(workload)
            .timer::<Tokio>(workload)
            .timer::<Monoio>(workload)
            .timer::<LocalRuntime>(workload)
    }

    fn timer<P: Timers>(self, workload: impl TimerWorkload) -> Self {
        self.column(P::COLUMN, move |n| P::run(move |peer| workload.run(peer, n)))
    }

    /// Adds us, and the peers that have sockets.
    pub(crate) fn sockets(self, workload: impl SocketWorkload) -> Self {
        self.socket::<Ours>(workload)
            .socket::<Tokio>(workload)
            .socket::<Monoio>(workload)
            .socket::<LocalRuntime>(workload)
    }

    fn socket<P: Sockets>(self, workload: impl SocketWorkload) -> Self {
        self.column(P::COLUMN, move |n| P::run(move |peer| workload.run(peer, n)))
    }

    /// Adds us, and the peers that take any fd.
    pub(crate) fn reactors(self, workload: impl ReactorWorkload) -> Self {
        self.reactor::<Ours>(workload).reactor::<Tokio>(workload).reactor::<LocalRuntime>(workload)
    }

    fn reactor<P: Reactor>(self, workload: impl ReactorWorkload) -> Self {
        self.column(P::COLUMN, move |n| P::run(move |peer| workload.run(peer, n)))
    }
}

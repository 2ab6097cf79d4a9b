//! The main loop's side: where commands run that are not out of band.
//!
//! Owns the registry, whose handlers never leave the main loop. Jobs come from the monitor's thread
//! through a queue, and each is started as soon as it arrives: as a task, as a bottom half or at once, as its
//! mode wants it. So commands of different clients do not wait for each other; those of one client do
//! if its session hands out one at a time.
//!
//! The answer travels in the job's errand. A client that has gone does not want it: a task is then
//! cancelled, and what has not begun does not begin.
//!
//! Threads: the main loop's; [`Job`]s are made elsewhere.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::super::command::Call;
use super::super::fds::{self, ClientFds, OnBehalf};
use super::super::registry::Registry;
use super::super::request::{Arguments, Outcome};
use super::queue::Queue;
use crate::cx::{MainCx, OobContext};
use crate::remote::Errand;

/// A request on its way to its handler.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) arguments: Arguments,
    pub(super) errand: Errand<Outcome>,
    /// Who asks.
    pub(super) client: Arc<ClientFds>,
}

/// Starts the jobs of all clients.
pub(super) struct Dispatcher {
    pub(super) registry: Registry,
    pub(super) jobs: Arc<Queue<Job>>,
    pub(super) crowd: Rc<Crowd>,
}

impl Dispatcher {
    /// Runs until the queue is closed.
    pub(super) async fn run(self, cx: MainCx) {
        while let Some(job) = self.jobs.pop().await {
            self.start(&cx, job);
        }
    }

    fn start(&self, cx: &MainCx, job: Job) {
        let Job { name, arguments, errand, client } = job;
        let here = Location::caller();
        if errand.is_cancelled() {
            return;
        }
        match self.registry.find(&name, false) {
            Err(error) => errand.call(here, || Err(error)),
            Ok(Call::Oob(call)) => {
                let call = || OobContext::lend(|cx| call(cx, arguments));
                errand.call(here, || fds::on_behalf(Some(client), call));
            }
            Ok(Call::Blocking(call)) => {
                let member = Crowd::enter(&self.crowd);
                cx.call_in_bh(errand, here, move |nc| {
                    let _member = member;
                    fds::on_behalf(Some(client), || call(nc, arguments))
                });
            }
            Ok(Call::Coroutine(call)) => {
                let member = Crowd::enter(&self.crowd);
                let task = |cx: MainCx| async move {
                    let _member = member;
                    let run = async { OnBehalf::new(client, || call(&cx, arguments)).await };
                    errand.run(run).await;
                };
                cx.spawn_owning(format!("qmp:{name}"), task).detach();
            }
        }
    }
}

impl Drop for Dispatcher {
    /// What is left in the queue, if this is not the orderly end, is answered with "cancelled".
    fn drop(&mut self) {
        self.jobs.close();
        self.jobs.discard(|_| true);
    }
}

/// The commands that are running, counted.
#[derive(Default)]
pub(super) struct Crowd {
    count: Cell<usize>,
    waiting: RefCell<Option<Waker>>,
}

/// One of them.
struct Member {
    crowd: Rc<Crowd>,
}

impl Crowd {
    fn enter(crowd: &Rc<Self>) -> Member {
        crowd.count.set(crowd.count.get() + 1);
        Member { crowd: Rc::clone(crowd) }
    }

    /// Waits until none is running.
    pub(super) async fn wait_until_gone(&self) {
        poll_fn(|cx| {
            if self.count.get() == 0 {
                return Poll::Ready(());
            }
            let replaced = self.waiting.replace(Some(cx.waker().clone()));
            drop(replaced);
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let count = self.crowd.count.get() - 1;
        self.crowd.count.set(count);
        if count == 0 {
            let waiting = self.crowd.waiting.take();
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

//! Moving a task from one executor to another while somebody wakes its old waker.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{Loop, model};
use crate::home::Home;
use crate::inbox::Job;

/// What the future waits for, as a channel does it: who signals wakes the waker of the last poll.
#[derive(Default)]
struct Signal(Mutex<(bool, Option<Waker>)>);

impl Signal {
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut signal = self.0.lock().expect("no panics");
        let replaced = signal.1.replace(cx.waker().clone());
        let given = signal.0;
        drop(signal);
        drop(replaced);
        if given { Poll::Ready(()) } else { Poll::Pending }
    }

    fn give(&self) {
        let mut signal = self.0.lock().expect("no panics");
        signal.0 = true;
        let waker = signal.1.take();
        drop(signal);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

type Traveller = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The first leg: polls the future once and sends it off when that poll has returned, as `migrate` does.
fn leave(mut future: Option<Traveller>, to: std::sync::Arc<Home>) -> impl Future<Output = ()> {
    poll_fn(move |cx| {
        let traveller = future.as_mut().expect("polled until it is ready");
        let waits = traveller.as_mut().poll(cx).is_pending();
        let traveller = future.take().filter(|_| waits);
        // The next leg is spawned by the destination, from its inbox.
        to.send(Job::new(move || ARRIVED.with(|arrived| arrived.set(Some(traveller)))))
            .unwrap_or_else(|_refused| panic!("the destination is there"));
        Poll::Ready(())
    })
}

loom::thread_local! {
    /// What came, if something did: a future, or the news that it completed before it left.
    static ARRIVED: Cell<Option<Option<Traveller>>> = Cell::new(None);
}

/// Catches a `Home::send` that does not ring.
#[test]
fn a_future_that_moves_misses_no_wake_up_of_its_old_waker() {
    model(|| {
        let there = Loop::new();
        let signal = Arc::new(Signal::default());
        let (seen, to) = (Arc::clone(&signal), std::sync::Arc::clone(&there.home));
        let here = thread::spawn(move || {
            let here = Loop::new();
            let future: Traveller = Box::pin(poll_fn(move |cx| seen.poll(cx)));
            let leg = here.spawn(leave(Some(future), to));
            here.run();
            drop(leg);
            here.close();
        });
        let signaller = thread::spawn(move || signal.give());
        let arrived = loop {
            there.pass();
            if let Some(arrived) = ARRIVED.with(Cell::take) {
                break arrived;
            }
        };
        if let Some(traveller) = arrived {
            let leg = there.spawn(traveller);
            there.run();
            while !leg.is_finished() {
                there.pass();
            }
            drop(leg);
        }
        here.join().expect("leaves");
        signaller.join().expect("signals");
        there.close();
    });
}

//! Turns: how many, in which order, and what happens to them when somebody stops waiting.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{Turn, Turns};

/// Counts.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Somebody who waits.
struct Waiter {
    future: Option<Pin<Box<dyn Future<Output = Turn>>>>,
    wakes: Arc<Wakes>,
    turn: Option<Turn>,
}

impl Waiter {
    fn new(turns: &Rc<Turns>) -> Self {
        let turns = Rc::clone(turns);
        let future: Pin<Box<dyn Future<Output = Turn>>> =
            Box::pin(async move { turns.wait().await });
        let mut this = Self { future: Some(future), wakes: Arc::default(), turn: None };
        this.poll();
        this
    }

    fn poll(&mut self) {
        let waker = Waker::from(Arc::clone(&self.wakes));
        let Some(future) = &mut self.future else { return };
        if let Poll::Ready(turn) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.turn = Some(turn);
            self.future = None;
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }

    fn runs(&self) -> bool {
        self.turn.is_some()
    }
}

#[test]
fn there_are_so_many_turns_and_the_others_are_called_in_order() {
    let turns = Turns::new(2);
    let mut all: Vec<_> = (0..5).map(|_| Waiter::new(&turns)).collect();
    let runs = |all: &[Waiter]| all.iter().map(Waiter::runs).collect::<Vec<_>>();
    assert_eq!(runs(&all), [true, true, false, false, false]);

    all[1].turn = None;
    assert_eq!(all.iter().map(Waiter::wakes).collect::<Vec<_>>(), [0, 0, 1, 0, 0]);
    // Whoever is polled without having been called does not get ahead.
    all[4].poll();
    all[2].poll();
    assert_eq!(runs(&all), [true, false, true, false, false]);

    all[0].turn = None;
    all[2].turn = None;
    all[3].poll();
    all[4].poll();
    assert_eq!(runs(&all), [false, false, false, true, true]);
    assert_eq!(all[4].wakes(), 1, "it was called when there was a second turn");
}

#[test]
fn a_turn_is_not_lost_with_somebody_who_was_called() {
    let turns = Turns::new(1);
    let mut first = Waiter::new(&turns);
    let second = Waiter::new(&turns);
    let mut third = Waiter::new(&turns);

    first.turn = None;
    assert_eq!((second.wakes(), third.wakes()), (1, 0));
    drop(second);

    assert_eq!(third.wakes(), 1);
    third.poll();
    assert!(third.runs());
    drop(third);
    assert!(Waiter::new(&turns).runs(), "nobody has the turn");
}

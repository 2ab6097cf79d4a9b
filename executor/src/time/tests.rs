//! Tests of sleeps, intervals and time-outs against a queue that the test serves by hand.

use std::future::{Future, pending, ready};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt;

use super::{Sleep, interval_on, sleep, sleep_on, sleep_until, timeout};
use crate::async_fd::test_loop::TestLoop;
use crate::clock::Clock;

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_NS: i64 = 3_600_000_000_000;

fn poll_once<F: Future + Unpin>(lp: &TestLoop, future: &mut F) -> Poll<F::Output> {
    lp.enter(|| Pin::new(future).poll(&mut Context::from_waker(Waker::noop())))
}

#[test]
fn a_sleep_registers_at_its_first_poll_and_leaves_when_dropped() {
    let lp = TestLoop::new();
    let mut nap = sleep(HOUR);
    assert_eq!(lp.timers.len(), 0);

    assert!(poll_once(&lp, &mut nap).is_pending());
    assert!(poll_once(&lp, &mut nap).is_pending());
    assert_eq!(lp.timers.next_deadline(Clock::Realtime), Some(nap.deadline()));
    assert_eq!(lp.timers.len(), 1);

    drop(nap);
    assert_eq!(lp.timers.len(), 0);
}

#[test]
fn a_sleep_can_be_dropped_on_another_thread() {
    let lp = TestLoop::new();
    let mut nap = sleep(HOUR);
    assert!(poll_once(&lp, &mut nap).is_pending());

    std::thread::spawn(move || drop(nap)).join().unwrap();

    assert_eq!(lp.timers.len(), 0);
}

#[test]
fn a_sleep_follows_the_executor_that_polls_it() {
    let (first, second) = (TestLoop::new(), TestLoop::new());
    let mut nap = sleep(HOUR);

    assert!(poll_once(&first, &mut nap).is_pending());
    assert!(poll_once(&second, &mut nap).is_pending());

    assert_eq!((first.timers.len(), second.timers.len()), (0, 1));
}

#[test]
fn nothing_to_wait_for_completes_at_the_first_poll() {
    let lp = TestLoop::new();

    for mut nap in [sleep(Duration::ZERO), sleep_until(Clock::Realtime, i64::MIN)] {
        assert!(poll_once(&lp, &mut nap).is_ready());
        assert!(nap.is_elapsed());
        assert!(poll_once(&lp, &mut nap).is_ready(), "it completes again");
    }
    assert_eq!(lp.timers.len(), 0);
}

#[test]
fn a_duration_beyond_the_clock_saturates() {
    assert_eq!(sleep(Duration::MAX).deadline(), i64::MAX);
}

#[test]
fn a_sleep_never_ends_before_its_deadline() {
    let lp = TestLoop::new();

    for clock in [Clock::Realtime, Clock::Host] {
        let deadline = clock.after(Duration::from_millis(2));
        lp.block_on(sleep_until(clock, deadline));
        assert!(clock.now() >= deadline);
    }
}

#[test]
fn guest_time_stands_still_until_the_guest_runs() {
    let lp = TestLoop::new();
    let mut nap = sleep_on(Clock::Virtual, Duration::from_nanos(1));

    lp.block_on(sleep(Duration::from_millis(2)));
    lp.turn();

    assert!(poll_once(&lp, &mut nap).is_pending());
}

#[test]
fn a_timer_that_fires_before_its_clock_says_so_is_registered_again() {
    let lp = TestLoop::new();
    let mut nap = sleep(HOUR);
    assert!(poll_once(&lp, &mut nap).is_pending());

    assert_eq!(lp.timers.fire(Clock::Realtime, i64::MAX), 1);

    assert!(poll_once(&lp, &mut nap).is_pending(), "the clock was set back, say");
    assert_eq!(lp.timers.len(), 1);
}

#[test]
fn resetting_replaces_the_deadline_and_the_registration() {
    let lp = TestLoop::new();
    let mut nap = sleep_on(Clock::Virtual, HOUR);
    assert!(poll_once(&lp, &mut nap).is_pending());

    nap.reset(nap.deadline() + HOUR_NS);
    assert_eq!(lp.timers.len(), 0);
    assert!(poll_once(&lp, &mut nap).is_pending());
    assert_eq!(lp.timers.next_deadline(Clock::Virtual), Some(nap.deadline()));

    nap.reset(0);
    assert!(poll_once(&lp, &mut nap).is_ready());
}

#[test]
fn a_closed_queue_ends_no_sleep() {
    let lp = TestLoop::new();
    let mut nap = sleep(HOUR);
    assert!(poll_once(&lp, &mut nap).is_pending());

    lp.timers.close();

    assert!(poll_once(&lp, &mut nap).is_pending());
    let next = TestLoop::new();
    assert!(poll_once(&next, &mut nap).is_pending(), "another executor takes it");
    assert_eq!(next.timers.len(), 1);
}

#[test]
#[should_panic(expected = "no executor polls on this thread")]
fn polling_a_sleep_outside_any_executor_panics() {
    let mut nap: Sleep = sleep(HOUR);
    let _ = Pin::new(&mut nap).poll(&mut Context::from_waker(Waker::noop()));
}

#[test]
fn an_interval_keeps_its_phase_and_merges_missed_ticks() {
    let lp = TestLoop::new();
    let period = Duration::from_micros(300);
    let mut ticks = interval_on(Clock::Realtime, period);
    let start = ticks.sleep.deadline() - ticks.period();

    // Pretend that the first tick was due long ago.
    ticks.sleep.reset(start - 100 * ticks.period());
    let due = lp.block_on(ticks.tick());
    assert_eq!(due, start - 100 * ticks.period());

    let mut last = due;
    for _ in 0..3 {
        let due = lp.block_on(ticks.next()).expect("it never ends");
        assert!(due > start - ticks.period(), "the missed ticks were merged");
        assert_eq!((due - start) % ticks.period(), 0);
        assert!(due > last);
        last = due;
    }
}

#[test]
fn a_ready_future_beats_a_time_out_of_zero_and_registers_nothing() {
    let lp = TestLoop::new();

    let mut raced = pin!(timeout(Duration::ZERO, ready(5)));
    assert_eq!(poll_once(&lp, &mut raced), Poll::Ready(Ok(5)));

    let mut raced = pin!(timeout(HOUR, ready(6)));
    assert_eq!(poll_once(&lp, &mut raced), Poll::Ready(Ok(6)));
    assert_eq!(lp.timers.len(), 0);
}

#[test]
fn a_time_out_drops_its_future_when_the_time_is_up() {
    let lp = TestLoop::new();
    let alive = std::rc::Rc::new(());
    let held = std::rc::Rc::clone(&alive);
    let endless = async move {
        let _held = held;
        pending::<()>().await;
    };

    let result = lp.block_on(timeout(Duration::from_micros(100), endless));

    assert_eq!(result.unwrap_err().to_string(), "the time is up");
    assert_eq!(std::rc::Rc::strong_count(&alive), 1);
    assert_eq!(lp.timers.len(), 0);
}

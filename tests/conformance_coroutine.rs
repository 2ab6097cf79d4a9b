//! Conformance of the event loop: coroutines.
//!
//! Who runs when, in which thread, and what ends the process. The locks are in
//! `conformance_coroutine_locks.rs`.

#[path = "common/aio.rs"]
mod aio;
#[path = "common/coroutine.rs"]
mod coroutine;
#[path = "common/process.rs"]
mod process;

use std::cell::{Cell, OnceCell};
use std::sync::mpsc;
use std::thread;

use aio::{Io, Loop, Trace, on_loop};
use coroutine::{Co, co_yield, in_coroutine, move_to};
use process::aborts;

#[test]
fn a_coroutine_runs_until_it_yields_and_goes_on_when_it_is_entered_again() {
    let trace = Trace::default();
    let co = Co::new(|| {
        trace.log("begins");
        co_yield();
        trace.log("goes on");
    });

    trace.log("made");
    co.enter();
    trace.log("yielded");
    co.enter();
    trace.log("ended");

    assert_eq!(trace.take(), ["made", "begins", "yielded", "goes on", "ended"]);
}

#[test]
fn a_thread_is_in_no_coroutine_but_has_a_self() {
    assert!(!in_coroutine());
    let leader = Co::current();
    assert!(!leader.0.is_null());
    let seen = Cell::new(None);

    let co = Co::new(|| seen.set(Some((in_coroutine(), Co::current()))));
    co.enter();

    assert_eq!(seen.get(), Some((true, co)));
    assert_eq!((in_coroutine(), Co::current()), (false, leader));
    let other = thread::spawn(Co::current).join().expect("it returns");
    assert_ne!(other, leader);
}

#[test]
fn a_coroutine_that_entered_another_one_counts_as_entered() {
    let outer = Co::new(|| {
        let outer = Co::current();
        let inner = Co::new(move || {
            assert!(outer.is_entered() && Co::current().is_entered());
            co_yield();
            assert!(outer.is_entered() && Co::current().is_entered());
        });
        assert!(!inner.is_entered());
        inner.enter();
        assert!(!inner.is_entered() && outer.is_entered());
        inner.enter();
    });

    assert!(!outer.is_entered());
    outer.enter();
}

#[test]
fn coroutines_nest() {
    fn nest(depth: u32, entered: &Cell<u32>) {
        entered.set(entered.get() + 1);
        if depth > 1 {
            Co::new(|| nest(depth - 1, entered)).enter();
        }
    }
    let entered = Cell::new(0);
    Co::new(|| nest(128, &entered)).enter();
    assert_eq!(entered.get(), 128);
}

#[test]
fn a_coroutine_that_has_ended_makes_room_for_a_new_one() {
    for round in 0..1000 {
        let steps = Cell::new(0);
        let co = Co::new(|| {
            steps.set(steps.get() + 1);
            co_yield();
            steps.set(steps.get() + 1);
        });
        assert!(!co.is_entered(), "round {round}");
        co.enter();
        co.enter();
        assert_eq!(steps.get(), 2, "round {round}");
    }
}

#[test]
fn scheduled_coroutines_run_in_the_next_poll_oldest_first() {
    on_loop(|home| {
        let trace = Trace::default();
        for name in ["a", "b", "c"] {
            let trace = &trace;
            Co::new(move || trace.log(name)).schedule(home);
        }
        assert!(trace.take().is_empty(), "not at once");

        assert!(home.poll(true));
        assert_eq!(trace.take(), ["a", "b", "c"]);
        assert!(!home.poll(false));
    });
}

#[test]
fn a_coroutine_that_is_scheduled_by_a_scheduled_one_runs_in_the_poll_after() {
    on_loop(|home| {
        let trace = Trace::default();
        let trace = &trace;
        Co::new(move || {
            trace.log("first");
            Co::new(move || trace.log("second")).schedule(home);
        })
        .schedule(home);

        assert!(home.poll(false));
        assert_eq!(trace.take(), ["first"]);
        assert!(home.poll(false));
        assert_eq!(trace.take(), ["second"]);
    });
}

#[test]
fn a_coroutine_may_schedule_itself_before_it_yields() {
    on_loop(|home| {
        let steps = Cell::new(0);
        let co = Co::new(|| {
            for _ in 0..3 {
                Co::current().schedule(home);
                co_yield();
                steps.set(steps.get() + 1);
            }
        });
        co.enter();
        for step in 1..=3 {
            assert!(home.poll(true));
            assert_eq!(steps.get(), step);
        }
        assert!(!home.poll(false));
    });
}

#[test]
fn what_is_entered_at_home_outside_coroutines_runs_at_once() {
    on_loop(|home| {
        let ran = Cell::new(false);
        Co::new(|| ran.set(true)).enter_in(home);
        assert!(ran.get());
    });
}

#[test]
fn what_a_coroutine_wakes_runs_when_it_yields_or_ends_and_before_what_was_waiting() {
    on_loop(|home| {
        let trace = Trace::default();
        let trace = &trace;
        let leaf = |name: &'static str| Co::new(move || trace.log(name));
        let (a, b, c) = (leaf("a"), leaf("b"), leaf("c"));
        let middle = Co::new(move || {
            trace.log("middle");
            a.enter_in(home);
            b.enter_in(home);
            trace.log("middle ends");
        });
        let root = Co::new(move || {
            middle.enter_in(home);
            c.enter_in(home);
            trace.log("root yields");
            co_yield();
            trace.log("root ends");
        });

        root.enter();
        assert_eq!(trace.take(), ["root yields", "middle", "middle ends", "a", "b", "c"]);
        root.enter();
        assert_eq!(trace.take(), ["root ends"]);
    });
}

#[test]
fn two_coroutines_wake_each_other_without_growing_the_stack() {
    const ROUNDS: u32 = 25_000;
    on_loop(|home| {
        let pair = [OnceCell::new(), OnceCell::new()];
        let counts = [Cell::new(0), Cell::new(0)];
        let (pair, counts) = (&pair, &counts);
        let player = |me: usize| {
            Co::new(move || {
                for _ in 0..ROUNDS {
                    counts[me].set(counts[me].get() + 1);
                    let other: &Co = pair[1 - me].get().expect("set before the first enter");
                    other.enter_in(home);
                    co_yield();
                }
            })
        };
        for (me, place) in pair.iter().enumerate() {
            place.set(player(me)).expect("set once");
        }

        pair[0].get().expect("set").enter();
        assert_eq!(counts.each_ref().map(Cell::get), [ROUNDS, ROUNDS]);
        // The first has ended, woken by the second, which nobody wakes.
        pair[1].get().expect("set").enter();
    });
}

/// What a coroutine can see of the thread that it is in. It reads thread-locals, so it is not inlined.
#[inline(never)]
fn place() -> (thread::ThreadId, Loop, bool) {
    (thread::current().id(), Loop::current(), aio_sys::qemu_in_iothread())
}

#[test]
fn what_another_thread_enters_runs_at_home() {
    on_loop(|home| {
        let seen = Cell::new(None);
        let co = Co::new(|| seen.set(Some(place())));
        thread::scope(|scope| {
            scope.spawn(|| co.enter_in(home));
            assert!(home.poll(true));
        });
        assert_eq!(seen.get().map(|(thread, ..)| thread), Some(thread::current().id()));
    });
}

#[test]
fn a_wake_enters_a_coroutine_where_it_was_entered_last() {
    on_loop(|home| {
        let steps = Cell::new(0);
        let co = Co::new(|| {
            co_yield();
            assert_eq!(Loop::current(), home);
            steps.set(1);
        });
        co.enter();
        thread::scope(|scope| {
            scope.spawn(|| co.wake());
            assert!(home.poll(true));
        });
        assert_eq!(steps.get(), 1);
    });
}

#[test]
fn a_coroutine_moves_itself_to_an_iothread_and_back() {
    let io = Io::new("move there");
    on_loop(|home| {
        let (sender, receiver) = mpsc::channel();
        let target = io.context();
        let co = Co::new(move || {
            for _ in 0..100 {
                move_to(target);
                sender.send(place()).expect("the test waits");
                move_to(home);
                sender.send(place()).expect("the test waits");
            }
        });
        co.enter();

        let here = thread::current().id();
        let mut seen = Vec::new();
        while seen.len() < 200 {
            home.poll(true);
            seen.extend(receiver.try_iter());
        }
        for pair in seen.chunks(2) {
            assert_ne!(pair[0].0, here);
            assert_eq!((pair[0].1, pair[0].2), (target, true));
            assert_eq!((pair[1].0, pair[1].1), (here, home));
        }
    });
}

#[test]
fn a_move_to_the_context_that_it_is_in_does_not_yield() {
    on_loop(|home| {
        let ended = Cell::new(false);
        Co::new(|| {
            move_to(home);
            ended.set(true);
        })
        .enter();
        assert!(ended.get());
        assert!(!home.poll(false));
    });
}

#[test]
fn coroutines_hop_between_iothreads_and_none_is_lost() {
    const HOPS: usize = 2_000;
    let threads = ["hop 0", "hop 1", "hop 2"].map(Io::new);
    let contexts = threads.each_ref().map(Io::context);
    let (sender, receiver) = mpsc::channel();
    for start in 0..contexts.len() {
        let sender = sender.clone();
        let co = Co::new(move || {
            for hop in 0..HOPS {
                let target = contexts[(start + hop * (start + 1)) % contexts.len()];
                move_to(target);
                assert_eq!(Loop::current(), target);
            }
            sender.send(start).expect("the test waits");
        });
        co.schedule(contexts[start]);
    }
    drop(sender);
    let mut ended: Vec<usize> = receiver.into_iter().collect();
    ended.sort_unstable();
    assert_eq!(ended, [0, 1, 2]);
}

#[test]
fn to_yield_outside_a_coroutine_aborts() {
    aborts("to_yield_outside_a_coroutine_aborts", "there is nobody to yield to", co_yield);
}

#[test]
fn to_enter_a_coroutine_that_is_entered_aborts() {
    let name = "to_enter_a_coroutine_that_is_entered_aborts";
    aborts(name, "the coroutine was entered recursively", || {
        Co::new(|| Co::current().enter()).enter();
    });
}

#[test]
fn to_enter_a_coroutine_that_is_scheduled_aborts() {
    let name = "to_enter_a_coroutine_that_is_scheduled_aborts";
    aborts(name, "the coroutine was already scheduled", || {
        on_loop(|home| {
            let co = Co::new(|| {});
            co.schedule(home);
            co.enter();
        });
    });
}

#[test]
fn to_schedule_a_coroutine_twice_aborts() {
    let name = "to_schedule_a_coroutine_twice_aborts";
    aborts(name, "aio_co_schedule: the coroutine was already scheduled", || {
        on_loop(|home| {
            let co = Co::new(|| {});
            co.schedule(home);
            co.schedule(home);
        });
    });
}

#[test]
fn a_coroutine_that_wakes_itself_aborts() {
    aborts("a_coroutine_that_wakes_itself_aborts", "a coroutine cannot enter itself", || {
        on_loop(|_| Co::new(|| Co::current().wake()).enter());
    });
}

#[test]
fn a_context_that_goes_while_a_coroutine_is_scheduled_aborts() {
    let name = "a_context_that_goes_while_a_coroutine_is_scheduled_aborts";
    aborts(name, "a coroutine is still scheduled", || {
        let context = Loop::new();
        Co::new(|| {}).schedule(context);
        context.unref();
    });
}

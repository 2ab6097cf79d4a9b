//! Conformance of the event loop: bottom halves.
//!
//! The flags, the order of a batch, slices and nesting, the end of a context. Each test runs in a
//! thread with a loop of its own; closures stand in for callbacks. What ends the process is tried in
//! a process of its own, and the sentence it says is part of the rule.
//!
//! Wake-ups between threads are in `conformance_poll.rs`.

use std::cell::{Cell, OnceCell};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::Case;
use super::aio::{Bh, Loop, Trace};
use aio_sys::MemReentrancyGuard;

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::on_loop(a_scheduled_bottom_half_runs_once_in_the_next_poll_and_is_progress),
        Case::on_loop(the_bottom_halves_of_a_batch_run_newest_first),
        Case::on_loop(what_is_scheduled_during_a_poll_runs_in_the_next_one),
        Case::on_loop(one_that_schedules_itself_runs_once_per_poll),
        Case::on_loop(several_schedules_before_the_poll_are_one_call),
        Case::on_loop(a_cancelled_bottom_half_does_not_run_until_it_is_scheduled_again),
        Case::on_loop(a_deleted_bottom_half_does_not_run),
        Case::on_loop(one_of_a_batch_may_delete_another_that_has_not_run_yet),
        Case::on_loop(bottom_halves_may_delete_themselves_after_any_number_of_runs),
        Case::on_loop(a_oneshot_runs_once),
        Case::on_loop(an_idle_run_is_no_progress),
        Case::on_loop(a_nested_poll_first_finishes_the_outer_batch),
        Case::on_loop(a_poll_nested_in_a_nested_poll_runs_everybody_once),
        Case::on_loop(the_data_of_another_thread_is_visible_to_the_callback),
        Case::on_loop(the_guard_of_a_device_is_held_during_the_call_and_restored),
        Case::on_loop(a_direct_call_runs_at_once_and_leaves_the_schedule_alone),
        Case::plain(a_deletion_that_no_poll_processed_is_processed_with_the_context),
    ]
}

fn a_scheduled_bottom_half_runs_once_in_the_next_poll_and_is_progress(home: Loop) {
    let runs = Cell::new(0);
    let count = || runs.set(runs.get() + 1);
    let bh = home.bh(&count);

    bh.schedule();
    assert_eq!(runs.get(), 0, "not at once");
    assert!(home.poll(true));
    assert_eq!(runs.get(), 1);
    assert!(!home.poll(false));
    assert_eq!(runs.get(), 1);
    bh.delete();
}

fn the_bottom_halves_of_a_batch_run_newest_first(home: Loop) {
    let trace = Trace::default();
    let log = ["a", "b", "c"].map(|name| {
        let trace = &trace;
        move || trace.log(name)
    });
    let bhs: Vec<Bh> = log.iter().map(|log| home.bh(log)).collect();

    bhs.iter().for_each(|bh| bh.schedule());
    home.poll(false);

    assert_eq!(trace.take(), ["c", "b", "a"]);
    bhs.iter().for_each(|bh| bh.delete());
}

fn what_is_scheduled_during_a_poll_runs_in_the_next_one(home: Loop) {
    let trace = Trace::default();
    let last = || trace.log("late");
    let late = home.bh(&last);
    let early = || {
        trace.log("early");
        late.schedule();
    };
    let early = home.bh(&early);

    early.schedule();
    assert!(home.poll(false));
    assert_eq!(trace.take(), ["early"]);
    assert!(home.poll(false));
    assert_eq!(trace.take(), ["late"]);
    early.delete();
    late.delete();
}

fn one_that_schedules_itself_runs_once_per_poll(home: Loop) {
    let runs = Cell::new(0);
    let itself = OnceCell::<Bh>::new();
    let again = || {
        runs.set(runs.get() + 1);
        if runs.get() < 10 {
            itself.get().expect("it was made").schedule();
        }
    };
    let bh = *itself.get_or_init(|| home.bh(&again));

    bh.schedule();
    for expected in 1..=10 {
        assert!(home.poll(true));
        assert_eq!(runs.get(), expected);
    }
    assert!(!home.poll(false));
    bh.delete();
}

fn several_schedules_before_the_poll_are_one_call(home: Loop) {
    let runs = Cell::new(0);
    let count = || runs.set(runs.get() + 1);
    let bh = home.bh(&count);

    (0..5).for_each(|_| bh.schedule());
    assert!(home.poll(false));
    assert!(!home.poll(false));

    assert_eq!(runs.get(), 1);
    bh.delete();
}

fn a_cancelled_bottom_half_does_not_run_until_it_is_scheduled_again(home: Loop) {
    let runs = Cell::new(0);
    let count = || runs.set(runs.get() + 1);
    let bh = home.bh(&count);

    bh.schedule();
    bh.cancel();
    assert!(!home.poll(false));
    assert_eq!(runs.get(), 0);

    bh.schedule();
    bh.cancel();
    bh.schedule();
    assert!(home.poll(false));
    assert_eq!(runs.get(), 1);
    bh.delete();
}

fn a_deleted_bottom_half_does_not_run(home: Loop) {
    let runs = Cell::new(0);
    let count = || runs.set(runs.get() + 1);
    let bh = home.bh(&count);

    bh.schedule();
    bh.delete();

    assert!(!home.poll(false));
    assert_eq!(runs.get(), 0);
}

fn one_of_a_batch_may_delete_another_that_has_not_run_yet(home: Loop) {
    let trace = Trace::default();
    let log = || trace.log("victim");
    let victim = home.bh(&log);
    let kill = || {
        trace.log("killer");
        victim.delete();
    };
    let killer = home.bh(&kill);

    victim.schedule();
    killer.schedule();
    assert!(home.poll(false));
    assert!(!home.poll(false));

    assert_eq!(trace.take(), ["killer"]);
    killer.delete();
}

fn bottom_halves_may_delete_themselves_after_any_number_of_runs(home: Loop) {
    let runs = [const { Cell::new(0) }; 4];
    let bhs = [const { OnceCell::<Bh>::new() }; 4];
    let callbacks: Vec<_> = (0..4)
        .map(|index| {
            let (runs, bh) = (&runs[index], &bhs[index]);
            move || {
                runs.set(runs.get() + 1);
                let bh = bh.get().expect("it was made");
                if runs.get() <= index { bh.schedule() } else { bh.delete() }
            }
        })
        .collect();
    for (bh, callback) in bhs.iter().zip(&callbacks) {
        bh.get_or_init(|| home.bh(callback)).schedule();
    }

    assert!(home.poll(true));
    assert_eq!(runs.each_ref().map(Cell::get), [1; 4]);
    while home.poll(false) {}

    assert_eq!(runs.each_ref().map(Cell::get), [1, 2, 3, 4]);
}

fn a_oneshot_runs_once(home: Loop) {
    let runs = Cell::new(0);
    let count = || runs.set(runs.get() + 1);

    home.oneshot(&count);

    assert!(home.poll(true));
    assert!(!home.poll(false));
    assert_eq!(runs.get(), 1);
}

fn an_idle_run_is_no_progress(home: Loop) {
    let runs = Cell::new(0);
    let count = || runs.set(runs.get() + 1);
    let bh = home.bh(&count);

    bh.schedule_idle();
    assert!(!home.poll(true), "scheduling rings the doorbell, so this does not sleep for ever");
    assert_eq!(runs.get(), 1);
    bh.delete();
}

fn a_nested_poll_first_finishes_the_outer_batch(home: Loop) {
    let trace = Trace::default();
    let (one, two, three) = (|| trace.log("1"), || trace.log("2"), || trace.log("3"));
    let later = || trace.log("later");
    let later = home.bh(&later);
    let nest = || {
        trace.log("<");
        later.schedule();
        home.poll(false);
        trace.log(">");
    };
    let bhs = [home.bh(&one), home.bh(&two), home.bh(&nest), home.bh(&three)];

    bhs.iter().for_each(|bh| bh.schedule());
    home.poll(false);

    assert_eq!(trace.take(), ["3", "<", "2", "1", "later", ">"]);
    bhs.iter().chain([&later]).for_each(|bh| bh.delete());
}

fn a_poll_nested_in_a_nested_poll_runs_everybody_once(home: Loop) {
    let trace = Trace::default();
    let leaf = || trace.log("leaf");
    let inner = || {
        trace.log("inner <");
        home.oneshot(&leaf);
        home.poll(false);
        trace.log("inner >");
    };
    let outer = || {
        trace.log("outer <");
        home.oneshot(&inner);
        home.poll(false);
        trace.log("outer >");
    };
    home.oneshot(&leaf);
    home.oneshot(&outer);
    home.poll(false);

    assert_eq!(trace.take(), ["outer <", "leaf", "inner <", "leaf", "inner >", "outer >"]);
}

fn the_data_of_another_thread_is_visible_to_the_callback(home: Loop) {
    static DATA: AtomicU32 = AtomicU32::new(0);
    let seen = Cell::new(0);
    // Relaxed: scheduling orders, and nothing else.
    let look = || seen.set(DATA.load(Ordering::Relaxed));
    let bh = home.bh(&look);
    for round in 1..=100 {
        thread::scope(|scope| {
            scope.spawn(|| {
                DATA.store(round, Ordering::Relaxed);
                bh.schedule();
            });
            while !home.poll(true) {}
        });
        assert_eq!(seen.get(), round);
    }
    bh.delete();
}

fn the_guard_of_a_device_is_held_during_the_call_and_restored(home: Loop) {
    for before in [false, true] {
        let guard = Cell::new(MemReentrancyGuard { engaged_in_io: before });
        let engaged = Cell::new(false);
        let itself = OnceCell::<Bh>::new();
        let look = || {
            let inside = guard.take();
            engaged.set(inside.engaged_in_io);
            guard.set(inside);
            itself.get().expect("it was made").delete();
        };
        itself.get_or_init(|| home.guarded_bh(&look, guard.as_ptr())).schedule();

        assert!(home.poll(false));
        assert!(!home.poll(false));

        assert!(engaged.get());
        assert_eq!(guard.into_inner().engaged_in_io, before);
    }
}

fn a_direct_call_runs_at_once_and_leaves_the_schedule_alone(home: Loop) {
    let runs = Cell::new(0);
    let count = || runs.set(runs.get() + 1);
    let bh = home.bh(&count);

    bh.call();
    assert_eq!(runs.get(), 1);
    assert!(!home.poll(false));

    bh.schedule();
    bh.call();
    assert!(home.poll(false));
    assert_eq!(runs.get(), 3);
    bh.delete();
}

fn a_deletion_that_no_poll_processed_is_processed_with_the_context() {
    let home = Loop::new();
    let never = || unreachable!("it was deleted");
    let bh = home.bh(&never);
    bh.schedule();
    bh.delete();

    home.unref();
}

//! Models: the doorbell and the bottom halves under every interleaving that loom finds.
//!
//! ```text
//! RUSTFLAGS="--cfg aio_loom" cargo test -p aio-sys --lib loom::
//! ```
//!
//! The code is the real one but for the kernel: [`Loop::pass`] is `poll::poll` with loom's `Notify` for the eventfd,
//! and without file descriptors and timers. A lost ring is a loop that sleeps for ever, which loom reports. Each
//! model's comment names a mutation of the code that it catches: it was tried.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize as Runs;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use super::bottom_half::{self, aio_bh_new_full, aio_bh_schedule_oneshot_full};
use super::bottom_half::{qemu_bh_delete, qemu_bh_schedule};
use super::context::{Context, aio_context_unref};
use super::doorbell::Doorbell;
use crate::types::{AioContext, QEMUBH};

fn model(program: impl Fn() + Send + Sync + 'static) {
    model_with(3, program);
}

/// Runs a model in every schedule with at most so many preemptions.
#[expect(clippy::print_stderr, reason = "a figure for whoever runs the models")]
fn model_with(preemptions: usize, program: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    let runs = Arc::new(Runs::new(0));
    let count = Arc::clone(&runs);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        program();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{name}: {} executions", runs.load(Ordering::Relaxed));
}

/// One of the two ways to sleep.
#[derive(Clone, Copy)]
enum Sleep {
    AioPoll,
    MainLoop,
}

/// A turn of a loop whose only work is what `look` finds; sleeps unless `is_due`.
fn turn(doorbell: &Doorbell, sleep: Sleep, is_due: impl Fn() -> bool, look: impl FnOnce()) {
    match sleep {
        Sleep::AioPoll => {
            let is_due = is_due();
            if !is_due && !doorbell.is_rung() {
                doorbell.begin_sleep();
                if !doorbell.is_rung() {
                    doorbell.wait();
                }
                doorbell.end_sleep();
            }
        }
        Sleep::MainLoop => {
            doorbell.begin_main_loop_sleep();
            if !is_due() {
                doorbell.wait();
            }
            doorbell.end_main_loop_sleep();
        }
    }
    doorbell.accept();
    look();
}

fn no_ring_is_lost(sleep: Sleep) {
    let (doorbell, work) = (Arc::new(Doorbell::new().expect("an eventfd")), Arc::default());
    let producers = [(); 2].map(|()| {
        let (doorbell, work): (_, Arc<AtomicUsize>) = (Arc::clone(&doorbell), Arc::clone(&work));
        thread::spawn(move || {
            work.fetch_add(1, Ordering::Relaxed);
            doorbell.ring();
        })
    });
    let seen = std::cell::Cell::new(0);
    while seen.get() < 2 {
        let is_due = || work.load(Ordering::Relaxed) > seen.get();
        turn(&doorbell, sleep, is_due, || seen.set(work.load(Ordering::Relaxed)));
    }
    producers.into_iter().for_each(join);
}

fn join(thread: JoinHandle<()>) {
    thread.join().expect("no panics");
}

/// Catches a load of `notify_me` or of `notified` that is not `SeqCst`, a `ring` whose swap is not, and an `accept`
/// that does not acquire.
#[test]
fn aio_poll_sleeps_through_no_ring() {
    model(|| no_ring_is_lost(Sleep::AioPoll));
}

/// Catches a main loop that answers the ring before it announces its sleep.
#[test]
fn main_loop_wait_sleeps_through_no_ring() {
    model(|| no_ring_is_lost(Sleep::MainLoop));
}

/// A context whose loop is the model's main thread.
#[derive(Clone, Copy)]
struct Loop(*mut AioContext);

/// A bottom half that counts its calls.
#[derive(Clone, Copy)]
struct Counter(*mut QEMUBH);

/// What the callbacks see.
#[derive(Default)]
struct Seen {
    asked: AtomicUsize,
    calls: AtomicUsize,
    asked_at_last_call: AtomicUsize,
}

/// # Safety
///
/// `seen` is a [`Seen`] that is alive.
unsafe extern "C" fn see(seen: *mut c_void) {
    // SAFETY: the caller's promise; the models give a `Seen` that outlives the loop.
    let seen = unsafe { &*seen.cast_const().cast::<Seen>() };
    seen.calls.fetch_add(1, Ordering::Relaxed);
    let asked = seen.asked.load(Ordering::Relaxed);
    seen.asked_at_last_call.store(asked, Ordering::Relaxed);
}

impl Loop {
    fn new() -> Loop {
        Loop(Context::create().expect("an event loop"))
    }

    fn context(&self) -> &Context {
        // SAFETY: [ctx-ref]: `close` consumes the reference at the end of a model.
        unsafe { Context::from_raw(self.0) }
    }

    fn pass(&self) {
        let is_due = || bottom_half::timeout_ns(self.context()) == 0;
        turn(&self.context().doorbell, Sleep::AioPoll, is_due, || {
            bottom_half::poll(self.context());
        });
    }

    fn bottom_half(&self, seen: &Arc<Seen>) -> Counter {
        let seen = Arc::as_ptr(seen).cast_mut().cast();
        // SAFETY: the context is alive, and `seen` outlives it.
        Counter(unsafe { aio_bh_new_full(self.0, see, seen, ptr::null(), ptr::null_mut()) })
    }

    fn close(self) {
        // SAFETY: the model's only reference.
        unsafe { aio_context_unref(self.0) };
    }
}

impl Counter {
    fn schedule(&self) {
        // SAFETY: the model deletes it later.
        unsafe { qemu_bh_schedule(self.0) };
    }

    fn delete(&self) {
        // SAFETY: the model's last use.
        unsafe { qemu_bh_delete(self.0) };
    }
}

/// Catches an `enqueue` that pushes although `PENDING` was set.
#[test]
fn a_bottom_half_runs_after_each_schedule_and_sees_what_came_before() {
    model(|| {
        let (home, seen) = (Loop::new(), Arc::new(Seen::default()));
        let bottom_half = home.bottom_half(&seen);
        let schedulers = [(); 2].map(|()| {
            let seen = Arc::clone(&seen);
            thread::spawn(move || {
                seen.asked.fetch_add(1, Ordering::Relaxed);
                bottom_half.schedule();
            })
        });
        while seen.asked_at_last_call.load(Ordering::Relaxed) < 2 {
            home.pass();
        }
        schedulers.into_iter().for_each(join);
        bottom_half.delete();
        home.close();
        assert!(seen.calls.load(Ordering::Relaxed) <= 2);
    });
}

/// Catches an `unlink` that reads the link after it cleared `PENDING`.
#[test]
fn a_bottom_half_that_is_scheduled_again_in_its_slice_cuts_nobody_off() {
    model(|| {
        let home = Loop::new();
        let seen = [(); 2].map(|()| Arc::new(Seen::default()));
        let [last, first] = [home.bottom_half(&seen[0]), home.bottom_half(&seen[1])];
        last.schedule();
        first.schedule();
        let elsewhere = thread::spawn(move || {
            first.schedule();
        });
        home.pass();
        assert_eq!(seen[0].calls.load(Ordering::Relaxed), 1);
        join(elsewhere);
        last.delete();
        first.delete();
        home.close();
    });
}

/// Catches a poll that calls what is deleted.
#[test]
fn a_bottom_half_that_is_deleted_elsewhere_is_freed_once_and_not_called_again() {
    model(|| {
        let (home, seen) = (Loop::new(), Arc::new(Seen::default()));
        let bottom_half = home.bottom_half(&seen);
        let elsewhere = thread::spawn(move || {
            bottom_half.schedule();
            bottom_half.delete();
        });
        home.pass();
        join(elsewhere);
        let calls = seen.calls.load(Ordering::Relaxed);
        bottom_half::poll(home.context());
        assert_eq!(seen.calls.load(Ordering::Relaxed), calls, "deleted");
        home.close();
    });
}

/// Catches a list that is taken without acquiring, and flags that are set without releasing.
#[test]
fn one_shots_from_two_threads_run_once_each() {
    model_with(2, || {
        let (home, seen) = (Loop::new(), Arc::new(Seen::default()));
        let senders = [(); 2].map(|()| {
            let (home, seen) = (home, Arc::clone(&seen));
            thread::spawn(move || {
                let seen = Arc::as_ptr(&seen).cast_mut().cast();
                // SAFETY: the context and `seen` outlive the call.
                unsafe { aio_bh_schedule_oneshot_full(home.0, see, seen, ptr::null()) };
            })
        });
        while seen.calls.load(Ordering::Relaxed) < 2 {
            home.pass();
        }
        senders.into_iter().for_each(join);
        home.close();
        assert_eq!(seen.calls.load(Ordering::Relaxed), 2);
    });
}

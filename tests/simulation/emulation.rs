//! Random work for one event loop, without an executor: bottom halves, timers and descriptors, from its own callbacks
//! and from another thread; and descriptors that the system refuses.
//!
//! What must hold: what is scheduled runs, and no more often than it was; a timer fires once, not early, and after those with earlier deadlines; no byte is left in a
//! descriptor whose handler reads less than there is, or nothing, now and then.

use std::ffi::c_void;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::thread;

use aio_sys::emulated::simulation::{self, Plan};
use aio_sys::{AioContext, QEMU_CLOCK_REALTIME, QEMUBH, QEMUTimer};
use executor::async_fd::AsyncFd;
use executor::{IoThread, LocalExecutor, run_main};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{TestCaseError, TestError};

use super::run::prepare;
use super::{cases, runner};
use crate::common::{in_child, in_main_thread, is_child};

/// Of each kind.
const COUNT: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Deed {
    Schedule(usize),
    /// Arms a timer for a time from now.
    Arm(usize, u32),
    Send(usize, u8),
    Preempt,
}

#[derive(Clone, Debug)]
struct Work {
    seed: u64,
    /// What another thread does.
    abroad: Vec<Deed>,
    /// What each bottom half does in its first run.
    at_home: Vec<Vec<Deed>>,
}

fn work() -> impl Strategy<Value = Work> {
    let at_home = vec(vec(prop_oneof![deed(), arm()], 0..4), COUNT);
    (any::<u64>(), vec(deed(), 1..24), at_home).prop_map(|(seed, abroad, at_home)| Work {
        seed,
        abroad,
        at_home,
    })
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (0..COUNT).prop_map(Deed::Schedule),
        (0..COUNT, 1..50_u8).prop_map(|(link, count)| Deed::Send(link, count)),
        Just(Deed::Preempt),
    ]
}

/// At home only: elsewhere a timer can be armed while its callback is about to run.
fn arm() -> impl Strategy<Value = Deed> {
    (0..COUNT, (0..5_u32).prop_map(|n| n * 100_000)).prop_map(|(timer, ns)| Deed::Arm(timer, ns))
}

/// A loop with everything that belongs to it. Its address is what the callbacks get, with a number.
struct Loop {
    context: *mut AioContext,
    bottom_halves: [*mut QEMUBH; COUNT],
    timers: [*mut QEMUTimer; COUNT],
    links: Vec<(UnixStream, UnixStream)>,
    at_home: Vec<Vec<Deed>>,
    seen: Mutex<Seen>,
}

// SAFETY: what other threads do with the pointers is allowed to any thread, and the simulation joins them.
unsafe impl Send for Loop {}
// SAFETY: as for `Send`.
unsafe impl Sync for Loop {}

#[derive(Default)]
struct Seen {
    scheduled: [usize; COUNT],
    ran: [usize; COUNT],
    /// When each armed timer is due.
    due: [Option<i64>; COUNT],
    sent: [usize; COUNT],
    received: [usize; COUNT],
    wrong: Vec<String>,
}

/// What a callback gets.
struct Call {
    of: AtomicPtr<Loop>,
    number: usize,
}

impl Loop {
    fn do_it(&self, deed: Deed) {
        let mut seen = self.seen.lock().unwrap();
        match deed {
            Deed::Schedule(number) => {
                seen.scheduled[number] += 1;
                drop(seen);
                // SAFETY: the bottom half lives as long as the loop.
                unsafe { aio_sys::qemu_bh_schedule(self.bottom_halves[number]) };
            }
            Deed::Arm(number, ns) => {
                let due = aio_sys::qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + i64::from(ns);
                seen.due[number] = Some(due);
                drop(seen);
                // SAFETY: the timer lives as long as the loop.
                unsafe { aio_sys::timer_mod_ns(self.timers[number], due) };
            }
            Deed::Send(number, count) => {
                let bytes = [0; u8::MAX as usize];
                seen.sent[number] += (&self.links[number].1)
                    .write(&bytes[..usize::from(count)])
                    .expect("there is room");
            }
            Deed::Preempt => {
                drop(seen);
                simulation::preempt();
            }
        }
    }

    fn ran(&self, number: usize) {
        let mut seen = self.seen.lock().unwrap();
        seen.ran[number] += 1;
        let is_first = seen.ran[number] == 1;
        if seen.ran[number] > seen.scheduled[number] {
            seen.wrong.push(format!("bottom half {number} ran too often"));
        }
        drop(seen);
        if is_first {
            self.at_home[number].iter().for_each(|deed| self.do_it(*deed));
        }
    }

    fn fired(&self, number: usize) {
        let now = aio_sys::qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
        let mut seen = self.seen.lock().unwrap();
        match seen.due[number].take() {
            Some(due) if due <= now => {
                if seen.due.iter().flatten().any(|other| *other < due) {
                    seen.wrong.push(format!("timer {number} fired before an earlier one"));
                }
            }
            due => seen.wrong.push(format!("timer {number} fired at {now}, due at {due:?}")),
        }
    }

    fn is_readable(&self, number: usize) {
        // As if somebody else had been faster, or a signal had come.
        if simulation::is_spurious() || simulation::is_interrupted() {
            return;
        }
        let most = if simulation::is_short() { 1 } else { 64 };
        // A spurious call finds nothing.
        let received = (&self.links[number].0).read(&mut [0; 64][..most]).unwrap_or(0);
        self.seen.lock().unwrap().received[number] += received;
    }
}

/// # Safety
///
/// `call` is a [`Call`] whose loop is alive.
unsafe fn with_call(call: *mut c_void, f: impl FnOnce(&Loop, usize)) {
    // SAFETY: the caller's promise.
    let Call { of, number } = unsafe { &*call.cast::<Call>() };
    // SAFETY: the caller's promise.
    f(unsafe { &*of.load(Ordering::Relaxed) }, *number);
}

extern "C" fn on_bottom_half(call: *mut c_void) {
    // SAFETY: registered with a call.
    unsafe { with_call(call, Loop::ran) };
}

extern "C" fn on_timer(call: *mut c_void) {
    // SAFETY: registered with a call.
    unsafe { with_call(call, Loop::fired) };
}

extern "C" fn on_readable(call: *mut c_void) {
    // SAFETY: registered with a call.
    unsafe { with_call(call, Loop::is_readable) };
}

/// Ends the loop once nothing is left to do.
struct Rested {
    rested: AtomicBool,
    context: AtomicUsize,
}

impl Wake for Rested {
    fn wake(self: Arc<Self>) {
        self.rested.store(true, Ordering::Relaxed);
        let context = self.context.load(Ordering::Relaxed) as *mut AioContext;
        // SAFETY: the context lives until the loop has ended.
        unsafe { aio_sys::aio_notify(context) };
    }
}

/// Runs the loop of `context`, which is this thread's, until nothing is left to do.
fn run_until_rest(context: *mut AioContext) {
    let rested = Rested { rested: AtomicBool::new(false), context: (context as usize).into() };
    let rested = Arc::new(rested);
    simulation::wake_at_rest(Waker::from(Arc::clone(&rested)));
    while !rested.rested.load(Ordering::Relaxed) {
        // SAFETY: alive, and this thread's.
        unsafe { aio_sys::aio_poll(context, true) };
    }
}

/// Makes what a loop consists of, and the arguments of its callbacks, which go when the loop does.
fn make_loop(at_home: Vec<Vec<Deed>>) -> (Arc<Loop>, Vec<Call>) {
    // SAFETY: nobody wants the error.
    let context = unsafe { aio_sys::aio_context_new(ptr::null_mut()) };
    assert!(!context.is_null(), "there are descriptors");
    // SAFETY: the thread has none, and this one outlives the loop.
    unsafe { aio_sys::qemu_set_current_aio_context(context) };
    let link = |_| UnixStream::pair().expect("there are descriptors");
    let links: Vec<_> = (0..COUNT).map(link).collect();
    for (reader, writer) in &links {
        reader.set_nonblocking(true).expect("it is open");
        writer.set_nonblocking(true).expect("it is open");
    }
    let mut made = Loop {
        context,
        bottom_halves: [ptr::null_mut(); COUNT],
        timers: std::array::from_fn(|_| Box::into_raw(Box::new(QEMUTimer::new()))),
        links,
        at_home,
        seen: Mutex::default(),
    };
    // The address is not known before the loop is where it stays.
    let call = |number| Call { of: AtomicPtr::default(), number };
    let calls: Vec<Call> = (0..COUNT).map(call).collect();
    for (number, call) in calls.iter().enumerate() {
        made.bottom_halves[number] = make_bottom_half(context, call);
    }
    let made = Arc::new(made);
    for (number, call) in calls.iter().enumerate() {
        call.of.store(Arc::as_ptr(&made).cast_mut(), Ordering::Relaxed);
        watch(&made, number, call);
    }
    (made, calls)
}

fn opaque(call: &Call) -> *mut c_void {
    ptr::from_ref(call).cast_mut().cast()
}

fn make_bottom_half(context: *mut AioContext, call: &Call) -> *mut QEMUBH {
    // SAFETY: the context is alive, and the call until the bottom half was deleted.
    unsafe {
        aio_sys::aio_bh_new_full(
            context,
            on_bottom_half,
            opaque(call),
            ptr::null(),
            ptr::null_mut(),
        )
    }
}

fn watch(made: &Loop, number: usize, call: &Call) {
    let opaque = opaque(call);
    let fd = made.links[number].0.as_raw_fd();
    // SAFETY: the context is alive, and the call as long as the handler.
    unsafe {
        aio_sys::aio_set_fd_handler(made.context, fd, Some(on_readable), None, None, None, opaque);
    }
    // SAFETY: the context is alive.
    let group = unsafe { aio_sys::aio_context_timer_group(made.context) };
    let (timer, clock) = (made.timers[number], QEMU_CLOCK_REALTIME);
    // SAFETY: the timer stays where it is, and the call as long as the timer.
    unsafe { aio_sys::timer_init_full(timer, group, clock, 1, 0, on_timer, opaque) };
}

fn end_loop(made: &Loop) {
    for number in 0..COUNT {
        let fd = made.links[number].0.as_raw_fd();
        // SAFETY: the context is alive; this removes the handler.
        unsafe {
            aio_sys::aio_set_fd_handler(made.context, fd, None, None, None, None, ptr::null_mut());
        }
        // SAFETY: nobody uses it any more.
        unsafe { aio_sys::qemu_bh_delete(made.bottom_halves[number]) };
        // SAFETY: it was armed and has fired, or never was.
        unsafe { aio_sys::timer_deinit(made.timers[number]) };
        // SAFETY: from `Box::into_raw`, and used no more.
        drop(unsafe { Box::from_raw(made.timers[number]) });
    }
    // SAFETY: frees what was deleted.
    unsafe { aio_sys::aio_poll(made.context, false) };
    aio_sys::emulated::forget_current_aio_context(made.context);
    // SAFETY: the only reference.
    unsafe { aio_sys::aio_context_unref(made.context) };
}

fn do_work(work: &Work) -> Seen {
    let (made, calls) = make_loop(work.at_home.clone());
    let (abroad, deeds) = (Arc::clone(&made), work.abroad.clone());
    let other = simulation::spawn("abroad", move || {
        for deed in deeds {
            abroad.do_it(deed);
            simulation::preempt();
        }
    });
    run_until_rest(made.context);
    other.join();
    end_loop(&made);
    drop(calls);
    let made = Arc::into_inner(made).expect("the other thread has ended");
    made.seen.into_inner().unwrap()
}

fn check(seen: &Seen) -> Result<(), String> {
    if let Some(wrong) = seen.wrong.first() {
        return Err(wrong.clone());
    }
    for number in 0..COUNT {
        if (seen.scheduled[number] > 0) != (seen.ran[number] > 0) {
            return Err(format!("bottom half {number} was forgotten"));
        }
        if seen.due[number].is_some() {
            return Err(format!("timer {number} did not fire"));
        }
        if seen.sent[number] != seen.received[number] {
            return Err(format!("bytes are left in link {number}"));
        }
    }
    Ok(())
}

/// Runs `f` in a thread of its own, which ends with its loop.
fn in_thread<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(f).join().expect("it does not panic"))
}

#[test]
fn a_loop_does_all_its_work_in_time() {
    let checked = runner(cases() / 2).run(&work(), |work| {
        let (seen, _) = in_thread(|| simulation::run(Plan::new(work.seed), || do_work(&work)));
        check(&seen).map_err(TestCaseError::fail)
    });
    if let Err(TestError::Fail(why, work)) = checked {
        let (_, report) = in_thread(|| simulation::run(Plan::new(work.seed), || do_work(&work)));
        panic!("{why}\n{work:#?}\n{}", report.trace);
    }
    checked.expect("work can be made");
}

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux has it").count()
}

/// Refuses the first descriptor that `open` needs, the second, and so on, until it needs no more.
fn refuse_each<T>(mut open: impl FnMut() -> Option<T>) -> (u32, T) {
    for count in 0.. {
        simulation::refuse_in(Some(count));
        let opened = open();
        simulation::refuse_in(None);
        if let Some(opened) = opened {
            return (count, opened);
        }
        assert!(count < 10, "it never succeeds");
    }
    unreachable!("a `u32` is larger than 10")
}

#[test]
fn without_descriptors_nothing_is_made_and_nothing_is_left() {
    if !is_child() {
        let name = "without_descriptors_nothing_is_made_and_nothing_is_left";
        let alone = in_child(&format!("simulation::emulation::{name}"));
        assert!(alone.status.success(), "{alone:?}");
        return;
    }
    in_main_thread(|| {
        prepare();
        let before = open_fds();
        simulation::run(Plan::new(0), || {
            run_main(|nc| {
                let (refused, thread) = refuse_each(|| IoThread::create(nc, "io0").ok());
                assert_eq!(refused, 3, "a doorbell, an epoll instance and the one in the other");
                thread.destroy(nc).expect("it was made here");
            });
        });
        assert_eq!(open_fds(), before, "a descriptor is left");
    });
}

#[test]
fn without_descriptors_an_async_fd_gives_its_fd_back() {
    in_thread(|| {
        let executor = LocalExecutor::new().expect("there are descriptors");
        let (mut end, _other) = UnixStream::pair().expect("there are descriptors");
        simulation::run(Plan::new(0), || {
            let refused = executor.run(async move {
                for count in 0.. {
                    simulation::refuse_in(Some(count));
                    match AsyncFd::new(end) {
                        Ok(_) => return count,
                        Err(error) => end = error.into_parts().0,
                    }
                }
                unreachable!("it succeeds some time")
            });
            simulation::refuse_in(None);
            assert_eq!(refused, 2, "the executor's epoll instance, and the descriptor in it");
        });
    });
}

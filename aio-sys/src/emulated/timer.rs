//! Timers: one sorted list per context and clock.
//!
//! Owns the lists. The timers themselves belong to the callers, who embed them: a list links them
//! through their `next` field. Arming costs a walk over the timers that fire earlier, so whoever has
//! thousands keeps a heap of his own and one timer here.
//!
//! Threads: timers may be armed and cancelled from any thread, under the lock of their list; the lock
//! is not held while a callback runs. Running belongs to the home thread of the group.
//!
//! Relies on `clock` for the time, and on the notification of the group to wake its loop up when
//! another timer comes first.
//!
//! Invariant `[timer-pinned]`: an armed timer stays where it is and alive. `[timer-locked]`: `next`
//! of a timer, and its expiry while it is armed, change under the lock of its list only.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use super::clock::{self, qemu_clock_get_ns};
use super::context::soonest;
use super::current::thread_token;
use super::simulation;
use crate::types::{
    QEMU_CLOCK_MAX, QEMUClockType, QEMUTimer, QEMUTimerCB, QEMUTimerList, QEMUTimerListGroup,
};

mod sorted;

use sorted::{NOT_ARMED, Sorted, expiry};

/// Wakes the loop of a group up.
type Notify = unsafe extern "C" fn(opaque: *mut c_void);

/// Why no lock is poisoned.
const PANIC_IS_END: &str = "a panic of this module ends the process";

/// Every group, for `qemu_clock_enable`.
static GROUPS: Mutex<Vec<Arc<TimerGroup>>> = Mutex::new(Vec::new());

fn groups() -> MutexGuard<'static, Vec<Arc<TimerGroup>>> {
    GROUPS.lock().expect("nothing panics under this lock")
}

/// What stands behind a [`QEMUTimerListGroup`] pointer.
#[repr(C)]
pub(super) struct TimerGroup {
    /// Points to `lists`. Comes first: C reads it.
    raw: QEMUTimerListGroup,
    /// One bit per clock whose list is not empty. Changed under the lock of that list.
    armed: AtomicU32,
    notify: OnceLock<(Notify, *mut c_void)>,
    lists: [TimerList; QEMU_CLOCK_MAX],
}

// SAFETY: the obstacles are the pointers: those of `raw` and `TimerList::group` point into the
// group itself, that of `notify` goes to a function which any thread may call.
unsafe impl Send for TimerGroup {}
// SAFETY: as above; everything that changes is atomic or behind a lock.
unsafe impl Sync for TimerGroup {}

impl TimerGroup {
    pub(super) fn new() -> Arc<Self> {
        Arc::new_cyclic(|group| {
            let group: *const Self = group.as_ptr();
            // SAFETY: [group-whole]: the allocation is there, only not filled yet.
            let lists: *const TimerList = unsafe { &raw const (*group).lists }.cast();
            let raw = std::array::from_fn(|clock| lists.wrapping_add(clock).cast_mut().cast());
            Self {
                raw: QEMUTimerListGroup { tl: raw },
                armed: AtomicU32::new(0),
                notify: OnceLock::new(),
                lists: QEMUClockType::ALL.map(|clock| TimerList::new(group, clock)),
            }
        })
    }

    /// Says how to wake the loop up, and makes the group known to `qemu_clock_enable`.
    pub(super) fn announce(self: &Arc<Self>, notify: Notify, opaque: *mut c_void) {
        assert!(self.notify.set((notify, opaque)).is_ok(), "a timer group is announced once");
        groups().push(self.clone());
    }

    /// Ends the use of the group.
    ///
    /// # Panics
    ///
    /// An armed timer would never fire.
    pub(super) fn finalize(self: &Arc<Self>) {
        groups().retain(|group| !Arc::ptr_eq(group, self));
        let armed = self.armed.load(Ordering::Relaxed);
        assert!(armed == 0, "a timer is still armed: delete it before its AioContext goes");
    }

    pub(super) fn as_raw(self: &Arc<Self>) -> *mut QEMUTimerListGroup {
        Arc::as_ptr(self).cast_mut().cast()
    }

    /// How long the loop may sleep as far as timers are concerned (-1: for ever).
    pub(super) fn deadline_ns(&self) -> i64 {
        self.armed_lists().fold(-1, |deadline, list| soonest(deadline, list.deadline_ns()))
    }

    /// Runs the timers that are due; says whether there was one. Home thread.
    pub(super) fn run(&self) -> bool {
        if simulation::is_seeded() {
            return self.run_in_any_order();
        }
        // `|`, not `||`: every clock has its turn.
        self.armed_lists().fold(false, |progress, list| progress | list.run())
    }

    fn run_in_any_order(&self) -> bool {
        let mut lists: Vec<_> = self.armed_lists().collect();
        let mut progress = false;
        while !lists.is_empty() {
            progress |= lists.swap_remove(simulation::choose(lists.len())).run();
        }
        progress
    }

    fn armed_lists(&self) -> impl Iterator<Item = &TimerList> {
        // Acquire: pairs with `publish`. A bit that is not seen yet is followed by a notification.
        let mut armed = self.armed.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            let clock = (armed != 0).then(|| armed.trailing_zeros() as usize)?;
            armed &= armed - 1;
            Some(&self.lists[clock])
        })
    }

    fn notify(&self) {
        if let Some(&(notify, opaque)) = self.notify.get() {
            // SAFETY: [ctx-ref]: who arms a timer keeps its context alive.
            unsafe { notify(opaque) };
        }
    }
}

/// What stands behind a [`QEMUTimerList`] pointer.
struct TimerList {
    group: *const TimerGroup,
    clock: QEMUClockType,
    /// The expiry of the first timer, `i64::MAX` without one. Changed under the lock.
    first_ns: AtomicI64,
    timers: Mutex<Timers>,
    stopped: Condvar,
}

/// What the lock of a list protects.
#[derive(Default)]
struct Timers {
    sorted: Sorted,
    /// How many passes run callbacks of this list right now, one inside the other.
    running: u32,
    /// The thread of these passes.
    runner: usize,
}

impl TimerList {
    fn new(group: *const TimerGroup, clock: QEMUClockType) -> Self {
        Self {
            group,
            clock,
            first_ns: AtomicI64::new(i64::MAX),
            timers: Mutex::default(),
            stopped: Condvar::new(),
        }
    }

    /// # Safety
    ///
    /// `timer` was initialised, and its context is alive.
    unsafe fn of<'a>(timer: *mut QEMUTimer) -> &'a Self {
        // SAFETY: the caller's promise.
        let list = unsafe { (*timer).timer_list };
        // SAFETY: the caller's promise.
        unsafe { list.cast::<Self>().as_ref() }.expect("the timer was not initialised")
    }

    fn group(&self) -> &TimerGroup {
        // SAFETY: [group-whole]: the list is a field of the group.
        unsafe { &*self.group }
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().expect(PANIC_IS_END)
    }

    /// Changes the list under the lock.
    fn change<R>(&self, change: impl FnOnce(&mut Sorted) -> R) -> R {
        let mut timers = self.lock();
        let result = change(&mut timers.sorted);
        self.publish(timers.sorted.first_ns());
        drop(timers);
        result
    }

    /// Makes the first timer known to those who don't take the lock. Called under the lock.
    fn publish(&self, first: Option<i64>) {
        let first_ns = first.unwrap_or(i64::MAX);
        if self.first_ns.swap(first_ns, Ordering::Relaxed) == first_ns {
            return;
        }
        let bit = 1 << self.clock.index();
        // Release: pairs with `armed_lists`.
        match first {
            Some(_) => self.group().armed.fetch_or(bit, Ordering::Release),
            None => self.group().armed.fetch_and(!bit, Ordering::Release),
        };
    }

    fn deadline_ns(&self) -> i64 {
        if !clock::is_enabled(self.clock) {
            return -1;
        }
        match self.first_ns.load(Ordering::Relaxed) {
            i64::MAX => -1,
            first => (first - qemu_clock_get_ns(self.clock)).max(0),
        }
    }

    fn run(&self) -> bool {
        let now = qemu_clock_get_ns(self.clock);
        if self.first_ns.load(Ordering::Relaxed) > now || !self.begin_run() {
            return false;
        }
        let mut progress = false;
        while let Some((callback, opaque)) = self.pop_due(now) {
            simulation::preempt();
            // SAFETY: [opaque-is-callback].
            unsafe { callback(opaque) };
            progress = true;
        }
        self.lock().running -= 1;
        self.stopped.notify_all();
        progress
    }

    /// Announces that callbacks will run; says whether they may.
    fn begin_run(&self) -> bool {
        let mut timers = self.lock();
        // Under the lock: whoever disables the clock and then takes the lock either sees this pass,
        // or this pass sees that the clock is disabled.
        let may_run = clock::is_enabled(self.clock);
        if may_run {
            timers.running += 1;
            timers.runner = thread_token();
        }
        may_run
    }

    fn pop_due(&self, now: i64) -> Option<(QEMUTimerCB, *mut c_void)> {
        self.change(|sorted| sorted.pop_due(now))
    }

    /// Waits until no callback of this list runs.
    fn wait_until_stopped(&self) {
        let mut timers = self.lock();
        while timers.running != 0 {
            assert!(
                timers.runner != thread_token(),
                "a timer's callback cannot disable its own clock: it would wait for itself"
            );
            timers = if simulation::is_on() {
                drop(timers);
                simulation::give_way();
                self.lock()
            } else {
                self.stopped.wait(timers).expect(PANIC_IS_END)
            };
        }
        drop(timers);
    }

    /// Arms a timer. With `anticipate` an earlier expiry stays.
    ///
    /// # Safety
    ///
    /// `timer` belongs to this list.
    unsafe fn arm(&self, timer: *mut QEMUTimer, expire_ns: i64, anticipate: bool) {
        let is_first = self.change(|sorted| {
            // SAFETY: the caller's promise.
            let old = unsafe { expiry(timer) }.load(Ordering::Relaxed);
            if anticipate && old != NOT_ARMED && old <= expire_ns {
                return false;
            }
            // SAFETY: the caller's promise; [timer-locked].
            unsafe { sorted.remove(timer) };
            // SAFETY: as above.
            unsafe { sorted.insert(timer, expire_ns.max(0)) }
        });
        if is_first {
            self.group().notify();
        }
    }

    /// # Safety
    ///
    /// `timer` belongs to this list.
    unsafe fn disarm(&self, timer: *mut QEMUTimer) {
        // SAFETY: the caller's promise; [timer-locked].
        self.change(|sorted| unsafe { sorted.remove(timer) });
    }
}

/// Initialises a timer that fires in the loop of `timer_list_group`. A null group stands for the
/// main loop's own, whose timers run at the end of each `main_loop_wait`, and in no nested loop.
///
/// # Safety
///
/// * `ts` is writable, does not move until `timer_deinit`, and no armed timer is there.
/// * The group is null or alive as long as the timer is used.
/// * `cb` may be called with `opaque` while the timer is armed.
pub unsafe extern "C" fn timer_init_full(
    ts: *mut QEMUTimer,
    timer_list_group: *mut QEMUTimerListGroup,
    clock: QEMUClockType,
    scale: c_int,
    attributes: c_int,
    cb: QEMUTimerCB,
    opaque: *mut c_void,
) {
    let group = match timer_list_group {
        group if group.is_null() => super::main_loop::timers().as_raw(),
        group => group,
    };
    // SAFETY: the caller's promise.
    let timer_list: *mut QEMUTimerList = unsafe { (*group).tl[clock.index()] };
    let timer = QEMUTimer {
        expire_time: NOT_ARMED,
        timer_list,
        cb: Some(cb),
        opaque,
        next: ptr::null_mut(),
        attributes,
        scale,
    };
    // SAFETY: the caller's promise.
    unsafe { ts.write(timer) };
}

/// Ends the use of a timer.
///
/// # Panics
///
/// Aborts if it is armed.
///
/// # Safety
///
/// `ts` was initialised.
pub unsafe extern "C" fn timer_deinit(ts: *mut QEMUTimer) {
    // SAFETY: the caller's promise.
    let armed = unsafe { timer_pending(ts) };
    assert!(!armed, "timer_deinit: the timer is armed; call timer_del first");
    // SAFETY: the caller's promise.
    unsafe { (*ts).timer_list = ptr::null_mut() };
}

/// Arms a timer for `expire_time` nanoseconds of its clock, whether or not it was armed. A time
/// before 0 counts as 0. Any thread may call this.
///
/// # Safety
///
/// `ts` was initialised, and its context is alive.
pub unsafe extern "C" fn timer_mod_ns(ts: *mut QEMUTimer, expire_time: i64) {
    // SAFETY: the caller's promise.
    let list = unsafe { TimerList::of(ts) };
    // SAFETY: it is the timer's list.
    unsafe { list.arm(ts, expire_time, false) };
}

/// Like [`timer_mod_ns`], unless the timer is armed for an earlier time already.
///
/// # Safety
///
/// As for [`timer_mod_ns`].
pub unsafe extern "C" fn timer_mod_anticipate_ns(ts: *mut QEMUTimer, expire_time: i64) {
    // SAFETY: the caller's promise.
    let list = unsafe { TimerList::of(ts) };
    // SAFETY: it is the timer's list.
    unsafe { list.arm(ts, expire_time, true) };
}

/// Disarms a timer. Any thread may call this; a callback that runs right now is not waited for.
///
/// # Safety
///
/// As for [`timer_mod_ns`].
pub unsafe extern "C" fn timer_del(ts: *mut QEMUTimer) {
    // SAFETY: the caller's promise.
    let list = unsafe { TimerList::of(ts) };
    // SAFETY: it is the timer's list.
    unsafe { list.disarm(ts) };
}

/// Says whether the timer is armed. Any thread may call this.
///
/// # Safety
///
/// `ts` was initialised.
#[must_use]
pub unsafe extern "C" fn timer_pending(ts: *const QEMUTimer) -> bool {
    // SAFETY: the caller's promise.
    unsafe { expiry(ts) }.load(Ordering::Relaxed) != NOT_ARMED
}

/// Returns when the timer fires, or `u64::MAX` if it is not armed. Any thread may call this.
///
/// # Safety
///
/// `ts` was initialised.
#[must_use]
pub unsafe extern "C" fn timer_expire_time_ns(ts: *const QEMUTimer) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { expiry(ts) }.load(Ordering::Relaxed) as u64
}

/// Lets the timers of a clock fire, or stops them. To stop waits until none of their callbacks runs.
///
/// # Panics
///
/// Aborts if a callback of one of these timers stops its own clock.
///
/// # Safety
///
/// No memory is at stake: the function is unsafe as others rely on the guest's clock standing still.
pub unsafe extern "C" fn qemu_clock_enable(clock: QEMUClockType, enabled: bool) {
    let was_enabled = clock::set_enabled(clock, enabled);
    if enabled && !was_enabled {
        // Under the lock: a context that is going away leaves the list first.
        groups().iter().for_each(|group| group.notify());
    } else if was_enabled && !enabled {
        // Not under the lock: a callback that is waited for may make a context.
        let groups = groups().clone();
        groups.iter().for_each(|group| group.lists[clock.index()].wait_until_stopped());
    }
}

//! The types that cross the C boundary.
//!
//! Owns every struct, constant and callback type that both providers name. Types that QEMU's
//! headers hide, or whose layout changes between releases, are opaque: only pointers to them exist
//! on this side. Types that callers embed by value have QEMU's layout on 64-bit POSIX hosts, and
//! constant assertions beside each definition hold it.
//!
//! Threads: plain data; which thread may touch what is said at the functions that take it.
//!
//! Relies on nothing. Contains no function except the constructors of the embedded structs.

#![forbid(unsafe_code)]

use std::ffi::{c_int, c_uint, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::mem::{offset_of, size_of};

/// Makes an opaque type neither `Send`, `Sync` nor `Unpin`.
type Hidden = PhantomData<(*mut u8, PhantomPinned)>;

/// An event loop: bottom halves, file descriptors and timers of one thread.
#[derive(Debug)]
#[repr(C)]
pub struct AioContext {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// A bottom half: a callback that any thread may ask an [`AioContext`] to run.
#[derive(Debug)]
#[repr(C)]
pub struct QEMUBH {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// A thread that runs an [`AioContext`] of its own. A QOM object: see `object_ref`.
#[derive(Debug)]
#[repr(C)]
pub struct IOThread {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// A stack of its own, which code can leave and come back to.
#[derive(Debug)]
#[repr(C)]
pub struct Coroutine {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// A human-readable error, returned through an `Error **` argument and freed with `error_free`.
#[derive(Debug)]
#[repr(C)]
pub struct Error {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// The timers of one clock in one [`QEMUTimerListGroup`].
#[derive(Debug)]
#[repr(C)]
pub struct QEMUTimerList {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// A lock that a coroutine may hold while it is suspended. For `qemu_co_mutex_init`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct CoMutex {
    words: [usize; 6],
    _hidden: Hidden,
}

const _: () = assert!(size_of::<CoMutex>() == 48);

/// Coroutines that wait for something, in their order. For `qemu_co_queue_init`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct CoQueue {
    words: [usize; 2],
    _hidden: Hidden,
}

const _: () = assert!(size_of::<CoQueue>() == 16);

/// A lock for many readers or one writer, which are coroutines. For `qemu_co_rwlock_init`.
#[derive(Debug, Default)]
#[repr(C)]
pub struct CoRwlock {
    words: [usize; 9],
    _hidden: Hidden,
}

const _: () = assert!(size_of::<CoRwlock>() == 72);

/// Some lock, and how to take it and give it back.
#[derive(Debug)]
#[repr(C)]
pub struct QemuLockable {
    /// The lock.
    pub object: *mut c_void,
    /// Takes it.
    pub lock: unsafe extern "C" fn(object: *mut c_void),
    /// Gives it back.
    pub unlock: unsafe extern "C" fn(object: *mut c_void),
}

const _: () = assert!(size_of::<QemuLockable>() == 24);

/// A flag of a device that tells whether one of its callbacks is running.
#[derive(Debug, Default)]
#[repr(C)]
pub struct MemReentrancyGuard {
    /// True while a guarded bottom half of the device runs.
    pub engaged_in_io: bool,
}

/// An eventfd, or nothing before `event_notifier_init`.
#[derive(Debug)]
#[repr(C)]
pub struct EventNotifier {
    /// The descriptor that becomes readable.
    pub rfd: c_int,
    /// The descriptor to write to; the same as `rfd` for an eventfd.
    pub wfd: c_int,
    /// Whether the descriptors are open.
    pub initialized: bool,
}

impl EventNotifier {
    /// Returns a notifier that is ready for `event_notifier_init`.
    #[must_use]
    pub const fn new() -> Self {
        Self { rfd: -1, wfd: -1, initialized: false }
    }
}

impl Default for EventNotifier {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(size_of::<EventNotifier>() == 12);

/// A timer. It must not move between `timer_init_full` and `timer_deinit`.
#[derive(Debug)]
#[repr(C)]
pub struct QEMUTimer {
    /// When the timer fires, in nanoseconds of its clock; -1 while it is not armed.
    pub expire_time: i64,
    /// The list that the timer was initialised for.
    pub timer_list: *mut QEMUTimerList,
    /// The function to call.
    pub cb: Option<QEMUTimerCB>,
    /// The argument of `cb`.
    pub opaque: *mut c_void,
    /// The timer that fires next on the same list.
    pub next: *mut QEMUTimer,
    /// Attribute flags, 0 for an ordinary timer.
    pub attributes: c_int,
    /// Nanoseconds per unit of `timer_mod`.
    pub scale: c_int,
}

impl QEMUTimer {
    /// Returns a timer that is ready for `timer_init_full`.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            expire_time: -1,
            timer_list: std::ptr::null_mut(),
            cb: None,
            opaque: std::ptr::null_mut(),
            next: std::ptr::null_mut(),
            attributes: 0,
            scale: SCALE_NS,
        }
    }
}

impl Default for QEMUTimer {
    fn default() -> Self {
        Self::new()
    }
}

const _: () = assert!(size_of::<QEMUTimer>() == 48);
const _: () = assert!(offset_of!(QEMUTimer, timer_list) == 8);
const _: () = assert!(offset_of!(QEMUTimer, next) == 32);
const _: () = assert!(offset_of!(QEMUTimer, scale) == 44);

/// One [`QEMUTimerList`] per clock.
#[derive(Debug)]
#[repr(C)]
pub struct QEMUTimerListGroup {
    /// The lists, indexed by [`QEMUClockType`].
    pub tl: [*mut QEMUTimerList; QEMU_CLOCK_MAX],
}

const _: () = assert!(size_of::<QEMUTimerListGroup>() == 32);

/// One of QEMU's four clocks. No other value can be made, so C may index arrays with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct QEMUClockType(c_uint);

impl QEMUClockType {
    /// Every clock, in the order of its number.
    pub const ALL: [Self; QEMU_CLOCK_MAX] =
        [QEMU_CLOCK_REALTIME, QEMU_CLOCK_VIRTUAL, QEMU_CLOCK_HOST, QEMU_CLOCK_VIRTUAL_RT];

    /// Returns the clock's place in a [`QEMUTimerListGroup`].
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Time since an arbitrary moment; never stops, never jumps.
pub const QEMU_CLOCK_REALTIME: QEMUClockType = QEMUClockType(0);
/// The guest's time; stands still while the guest is paused.
pub const QEMU_CLOCK_VIRTUAL: QEMUClockType = QEMUClockType(1);
/// The host's wall clock, to the microsecond; jumps when the host's clock is set.
pub const QEMU_CLOCK_HOST: QEMUClockType = QEMUClockType(2);
/// The guest's time, also while instruction counting gives [`QEMU_CLOCK_VIRTUAL`] another meaning.
pub const QEMU_CLOCK_VIRTUAL_RT: QEMUClockType = QEMUClockType(3);
/// The number of clocks.
pub const QEMU_CLOCK_MAX: usize = 4;

/// The scale of a timer that counts nanoseconds.
pub const SCALE_NS: c_int = 1;
/// The scale of a timer that counts microseconds.
pub const SCALE_US: c_int = 1_000;
/// The scale of a timer that counts milliseconds.
pub const SCALE_MS: c_int = 1_000_000;

/// What a coroutine runs.
pub type CoroutineEntry = unsafe extern "C" fn(opaque: *mut c_void);
/// The callback of a bottom half.
pub type QEMUBHFunc = unsafe extern "C" fn(opaque: *mut c_void);
/// The callback of a readable or writable file descriptor.
pub type IOHandler = unsafe extern "C" fn(opaque: *mut c_void);
/// Looks, without a system call, whether a file descriptor has something to do.
pub type AioPollFn = unsafe extern "C" fn(opaque: *mut c_void) -> bool;
/// The callback of an event notifier.
pub type EventNotifierHandler = unsafe extern "C" fn(notifier: *mut EventNotifier);
/// The callback of a timer.
pub type QEMUTimerCB = unsafe extern "C" fn(opaque: *mut c_void);

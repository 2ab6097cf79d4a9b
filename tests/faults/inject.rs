//! The system's functions with faults in front of them.
//!
//! A program's own definition of a C function takes the place of the C library's, for all the Rust code that is
//! linked into it. These do what the library does, unless a fault is planned: then the call fails as the system
//! would let it fail, and nothing has happened. The plan is the process's, so each test has a process of its own.

#![allow(dead_code, reason = "every test program uses another part")]

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

/// What can fail. One bit each.
pub(crate) const EVENTFD: u32 = 1;
pub(crate) const EPOLL_CREATE: u32 = 2;
pub(crate) const EPOLL_CTL: u32 = 4;
/// Mappings of a mebibyte or more: the stacks of coroutines.
pub(crate) const MMAP: u32 = 8;
pub(crate) const THREAD: u32 = 16;
pub(crate) const SOCKET: u32 = 32;
pub(crate) const TIMERFD: u32 = 64;

/// Which call fails, and how.
#[derive(Clone, Copy)]
struct Plan {
    functions: u32,
    /// How many calls of these functions still succeed.
    after: usize,
    /// How many fail then.
    count: usize,
    errno: c_int,
}

static PLAN: Mutex<Plan> = Mutex::new(Plan { functions: 0, after: 0, count: 0, errno: 0 });

/// Runs `f`, in which the calls of `functions` fail with `errno`, `count` of them, after the first `after`.
/// Returns whether there were so many.
pub(crate) fn failing<R>(
    functions: u32,
    after: usize,
    count: usize,
    errno: c_int,
    f: impl FnOnce() -> R,
) -> (R, bool) {
    *PLAN.lock().expect("nobody panics under the lock") = Plan { functions, after, count, errno };
    let result = f();
    let none = Plan { functions: 0, after: 0, count: 0, errno: 0 };
    let left = std::mem::replace(&mut *PLAN.lock().expect("nobody panics under the lock"), none);
    (result, left.count < count)
}

/// The error that a call is to fail with.
fn fault(function: u32) -> Option<c_int> {
    let mut plan = PLAN.lock().expect("nobody panics under the lock");
    if plan.functions & function == 0 || plan.count == 0 {
        return None;
    }
    if plan.after > 0 {
        plan.after -= 1;
        return None;
    }
    plan.count -= 1;
    Some(plan.errno)
}

/// Fails if that is planned, and makes the system call otherwise.
fn call(function: u32, number: libc::c_long, arguments: [libc::c_long; 6]) -> libc::c_long {
    if let Some(errno) = fault(function) {
        nix::errno::Errno::from_raw(errno).set();
        return -1;
    }
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: what the caller of the C function promises for it.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

#[unsafe(no_mangle)]
extern "C" fn eventfd(initial: c_uint, flags: c_int) -> c_int {
    call(EVENTFD, libc::SYS_eventfd2, [initial.into(), flags.into(), 0, 0, 0, 0]) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn epoll_create1(flags: c_int) -> c_int {
    call(EPOLL_CREATE, libc::SYS_epoll_create1, [flags.into(), 0, 0, 0, 0, 0]) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn timerfd_create(clock: c_int, flags: c_int) -> c_int {
    call(TIMERFD, libc::SYS_timerfd_create, [clock.into(), flags.into(), 0, 0, 0, 0]) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn epoll_ctl(
    epoll: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut libc::epoll_event,
) -> c_int {
    // To end a watch takes no memory.
    let function = if operation == libc::EPOLL_CTL_DEL { 0 } else { EPOLL_CTL };
    let arguments = [epoll.into(), operation.into(), fd.into(), event as libc::c_long, 0, 0];
    call(function, libc::SYS_epoll_ctl, arguments) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn socketpair(family: c_int, kind: c_int, protocol: c_int, fds: *mut c_int) -> c_int {
    let arguments = [family.into(), kind.into(), protocol.into(), fds as libc::c_long, 0, 0];
    call(SOCKET, libc::SYS_socketpair, arguments) as c_int
}

#[unsafe(no_mangle)]
extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    let function = if length >= 1 << 20 { MMAP } else { 0 };
    let (address, length) = (address as libc::c_long, length as libc::c_long);
    let arguments = [address, length, protection.into(), flags.into(), fd.into(), offset];
    call(function, libc::SYS_mmap, arguments) as *mut c_void
}

type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type Create = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Start,
    *mut c_void,
) -> c_int;

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    if let Some(errno) = fault(THREAD) {
        return errno;
    }
    // SAFETY: the name is NUL-terminated.
    let next = unsafe { libc::dlsym(libc::RTLD_NEXT, c"pthread_create".as_ptr()) };
    assert!(!next.is_null(), "the C library has it");
    // SAFETY: the C library's function has this type.
    let create = unsafe { std::mem::transmute::<*mut c_void, Create>(next) };
    // SAFETY: the caller's promise.
    unsafe { create(thread, attributes, start, argument) }
}

/// By how many seconds the wall clock is off.
static LEAP: AtomicI64 = AtomicI64::new(0);

/// Sets the host's wall clock, for this process, by so many seconds.
pub(crate) fn leap(seconds: i64) {
    // SeqCst, so that nobody can see what happens afterwards with the time of before.
    LEAP.fetch_add(seconds, Ordering::SeqCst);
}

/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
    if result == 0 && clock == libc::CLOCK_REALTIME {
        // SAFETY: the kernel has just written there.
        unsafe { (*time).tv_sec += LEAP.load(Ordering::SeqCst) };
    }
    result as c_int
}

//! The machine: what is set up before anything is measured.
//!
//! The executor under test runs on the first CPU that the process may use, threads that help it on the second one.
//! Left alone, the kernel puts the two on one CPU or on two as it likes, and figures differ by a factor of
//! five. Timers have no slack, as in QEMU, and that holds for all peers.

use std::mem::{self, MaybeUninit};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The CPUs that the process may use.
static CPUS: OnceLock<Vec<usize>> = OnceLock::new();

/// Sets up the process and the calling thread, which is the one that measures.
pub(crate) fn prepare() {
    nix::sys::prctl::set_timerslack(1).expect("a thread may set its own timer slack");
    allow_many_fds();
    CPUS.set(allowed_cpus()).expect("`prepare` is called once");
    pin(0);
}

/// Keeps the calling thread on the CPU for helpers.
pub(crate) fn pin_helper() {
    pin(1);
}

/// Starts a thread on the CPU for helpers.
pub(crate) fn helper<T, F>(work: F) -> thread::JoinHandle<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    thread::spawn(|| {
        pin_helper();
        work()
    })
}

/// Keeps the CPU for a while.
pub(crate) fn spin(duration: Duration) {
    let start = Instant::now();
    while start.elapsed() < duration {
        std::hint::spin_loop();
    }
}

fn allowed_cpus() -> Vec<usize> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: the kernel writes at most `size` bytes, which are there.
    let result = unsafe { libc::sched_getaffinity(0, size, set.as_mut_ptr()) };
    assert_eq!(result, 0, "sched_getaffinity: {}", std::io::Error::last_os_error());
    // SAFETY: all its bytes were zeroed, and any bits are a set.
    let set = unsafe { set.assume_init() };
    let limit = usize::try_from(libc::CPU_SETSIZE).expect("it is a small number");
    // SAFETY: the index is below the size of the set.
    (0..limit).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Keeps the calling thread on one CPU, if there are two to choose from.
fn pin(index: usize) {
    let Some([first, second, ..]) = CPUS.get().map(Vec::as_slice) else { return };
    let cpu = if index == 0 { *first } else { *second };
    // SAFETY: a set of no CPUs is all zeroes.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the index came out of such a set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is as large as it says.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    assert_eq!(result, 0, "sched_setaffinity: {}", std::io::Error::last_os_error());
}

/// How many file descriptors the process may have.
pub(crate) fn most_fds() -> u32 {
    u32::try_from(fd_limit().rlim_cur).unwrap_or(u32::MAX)
}

fn fd_limit() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is there to be written to.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(result, 0, "getrlimit: {}", std::io::Error::last_os_error());
    limit
}

/// Raises the soft limit of file descriptors to the hard one.
fn allow_many_fds() {
    let mut limit = fd_limit();
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is there to be read.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0, "setrlimit: {}", std::io::Error::last_os_error());
}

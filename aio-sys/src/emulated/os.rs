//! Every system call of the emulation.
//!
//! Owns the epoll instance, the eventfd behind a context's doorbell, the timerfd of a main loop that
//! somebody else puts to sleep and the raw descriptor of an `EventNotifier`; reads clocks. Times are `i64` nanoseconds, and as in QEMU -1 means for ever.
//!
//! Threads: any; the kernel serialises.
//!
//! Relies on Linux: epoll, eventfd, and on `epoll_pwait2` where the kernel has it (5.11). Without
//! it a wait is a `ppoll` on the epoll descriptor, so both paths sleep with nanosecond precision.
//!
//! Does not retry interrupted waits: the caller recomputes its timeout first.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};

use super::simulation;

/// Nanoseconds of the monotonic clock.
pub(super) fn monotonic_ns() -> i64 {
    simulation::now_ns().unwrap_or_else(|| read_clock(ClockId::CLOCK_MONOTONIC))
}

/// Nanoseconds of the wall clock.
pub(super) fn wall_clock_ns() -> i64 {
    simulation::wall_clock_ns().unwrap_or_else(|| read_clock(ClockId::CLOCK_REALTIME))
}

fn read_clock(clock: ClockId) -> i64 {
    let time = clock_gettime(clock).expect("Linux always has this clock");
    time.tv_sec() * 1_000_000_000 + time.tv_nsec()
}

/// Lets the calling thread, and the threads it will start, wake up within a nanosecond of a
/// deadline instead of the kernel's default of 50 microseconds.
pub(super) fn lower_timer_slack() {
    // A kernel that refuses only makes timers less precise.
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// The most events that one wait reports; the others stay ready for the next.
const MAX_EVENTS: usize = 128;

/// What one wait reported.
pub(super) struct Events {
    raw: [MaybeUninit<libc::epoll_event>; MAX_EVENTS],
    len: usize,
}

impl Events {
    pub(super) fn new() -> Self {
        Self { raw: [const { MaybeUninit::uninit() }; MAX_EVENTS], len: 0 }
    }

    /// The token of each ready descriptor and its `EPOLL*` bits.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.raw[..self.len].iter().map(|event| {
            // SAFETY: [events-filled]: the kernel wrote the first `len` entries.
            let event = unsafe { event.assume_init_read() };
            (event.u64, event.events)
        })
    }
}

/// Bits of an event, as epoll and poll both spell them.
pub(super) mod events {
    pub(in super::super) const IN: u32 = libc::EPOLLIN as u32;
    pub(in super::super) const OUT: u32 = libc::EPOLLOUT as u32;
    pub(in super::super) const ERR: u32 = libc::EPOLLERR as u32;
    pub(in super::super) const HUP: u32 = libc::EPOLLHUP as u32;
    pub(in super::super) const EDGE: u32 = libc::EPOLLET as u32;
}

/// An epoll instance.
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        simulation::refuse()?;
        let flags = nix::sys::epoll::EpollCreateFlags::EPOLL_CLOEXEC;
        Ok(Self(nix::sys::epoll::Epoll::new(flags)?.0))
    }

    /// Watches `fd` for `events`, or changes what it is watched for.
    pub(super) fn watch(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        // A descriptor that was closed and opened again has lost its registration.
        match self.control(libc::EPOLL_CTL_ADD, fd, events, token) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                self.control(libc::EPOLL_CTL_MOD, fd, events, token)
            }
            result => result,
        }
    }

    /// Stops watching `fd`. A descriptor that was closed first is no longer watched anyway.
    pub(super) fn forget(&self, fd: RawFd) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn control(&self, operation: i32, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: [fd-open]: `self` owns the epoll descriptor; the kernel checks `fd`.
        let result = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd, &raw mut event) };
        Errno::result(result)?;
        Ok(())
    }

    /// Waits until something is ready or `timeout_ns` are over (-1: for ever).
    pub(super) fn wait(&self, timeout_ns: i64, events: &mut Events) -> io::Result<()> {
        events.len = 0;
        if let Some(most) = simulation::wait_for_fd(self.as_raw_fd(), timeout_ns)? {
            events.len = self.wait_coarse(0, most, events)?;
            return Ok(());
        }
        events.len = match timeout_ns {
            0 => self.wait_coarse(0, MAX_EVENTS, events)?,
            ..0 => self.wait_coarse(-1, MAX_EVENTS, events)?,
            1.. => self.wait_precise(timeout_ns, events)?,
        };
        Ok(())
    }

    /// Fetches up to `most` events, of which there is room for [`MAX_EVENTS`].
    fn wait_coarse(&self, timeout_ms: i32, most: usize, events: &mut Events) -> io::Result<usize> {
        let buffer = events.raw.as_mut_ptr().cast();
        let most = most.min(MAX_EVENTS) as i32;
        // SAFETY: [fd-open]: `self` owns the descriptor; the buffer has room for MAX_EVENTS.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), buffer, most, timeout_ms) };
        Ok(Errno::result(count)? as usize)
    }

    fn wait_precise(&self, timeout_ns: i64, events: &mut Events) -> io::Result<usize> {
        static NO_EPOLL_PWAIT2: AtomicBool = AtomicBool::new(false);

        // Relaxed: a hint; a thread that misses it asks the kernel once more.
        if !NO_EPOLL_PWAIT2.load(Ordering::Relaxed) {
            match self.epoll_pwait2(timeout_ns, events) {
                // A sandbox that does not know the call answers EPERM.
                Err(Errno::ENOSYS | Errno::EPERM) => {
                    NO_EPOLL_PWAIT2.store(true, Ordering::Relaxed);
                }
                result => return Ok(result?),
            }
        }
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        nix::poll::ppoll(&mut polled, Some(TimeSpec::nanoseconds(timeout_ns)), None)?;
        self.wait_coarse(0, MAX_EVENTS, events)
    }

    fn epoll_pwait2(&self, timeout_ns: i64, events: &mut Events) -> Result<usize, Errno> {
        let timeout = *TimeSpec::nanoseconds(timeout_ns).as_ref();
        let no_mask = std::ptr::null::<libc::sigset_t>();
        // SAFETY: [fd-open]: `self` owns the descriptor; the buffer has room for MAX_EVENTS and
        // `timeout` lives across the call.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                events.raw.as_mut_ptr(),
                MAX_EVENTS,
                &raw const timeout,
                no_mask,
                0_usize,
            )
        };
        Ok(Errno::result(count)? as usize)
    }
}

/// The eventfd that ends a context's sleep.
pub(super) struct WakeFd(EventFd);

impl WakeFd {
    pub(super) fn new() -> io::Result<Self> {
        simulation::refuse()?;
        Ok(Self(new_event_fd(0)?))
    }

    /// Ends the sleep of whoever watches the descriptor. Callable from any thread.
    pub(super) fn write(&self) {
        // The only error of an open, non-blocking eventfd is EAGAIN: it is readable already.
        let _ = self.0.write(1);
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// A timerfd: ends the sleep of whoever watches it at a time.
pub(super) struct Alarm(TimerFd);

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Self(TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, flags)?))
    }

    /// Lets it go off in `timeout_ns` (-1: never), and not at the time that was set before.
    pub(super) fn set(&self, timeout_ns: i64) {
        // An expiry of 0 means never to the kernel.
        let expiry = TimeSpec::nanoseconds(if timeout_ns < 0 { 0 } else { timeout_ns.max(1) });
        let expiry = Expiration::OneShot(expiry);
        self.0.set(expiry, TimerSetTimeFlags::empty()).expect("an open timerfd can be set");
    }

    pub(super) fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

fn new_event_fd(value: u32) -> Result<EventFd, Errno> {
    EventFd::from_value_and_flags(value, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
}

/// Opens an eventfd with `value` as its counter. The caller closes it with [`close`].
pub(super) fn open_event_fd(value: u32) -> Result<RawFd, Errno> {
    Ok(OwnedFd::from(new_event_fd(value)?).into_raw_fd())
}

/// Adds one to the counter of an eventfd; a full counter counts as success.
pub(super) fn write_event_fd(fd: RawFd) -> Result<(), Errno> {
    let one = 1_u64;
    // SAFETY: [fd-open]: the kernel checks the descriptor; the buffer is eight bytes.
    let written = unsafe { libc::write(fd, (&raw const one).cast(), size_of::<u64>()) };
    match Errno::result(written) {
        Ok(_) | Err(Errno::EAGAIN) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes the counter of an eventfd; says whether it was not zero.
pub(super) fn read_event_fd(fd: RawFd) -> bool {
    let mut value = 0_u64;
    loop {
        // SAFETY: [fd-open]: the kernel checks the descriptor; the buffer is eight bytes.
        let read = unsafe { libc::read(fd, (&raw mut value).cast(), size_of::<u64>()) };
        match Errno::result(read) {
            Ok(length) => return length > 0,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Whether a descriptor is readable now. Takes no event away from whoever watches an epoll descriptor.
#[cfg(any(feature = "simulation", feature = "testing"))]
pub(super) fn is_readable(fd: RawFd) -> bool {
    let mut polled = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: [fd-open]: the kernel checks the descriptor; `polled` is one entry.
    let count = unsafe { libc::poll(&raw mut polled, 1, 0) };
    count > 0
}

/// Closes a descriptor of [`open_event_fd`].
pub(super) fn close(fd: RawFd) {
    // Linux releases the descriptor whatever it answers.
    let _ = nix::unistd::close(fd);
}

/// Gives memory of the C allocator back.
///
/// # Safety
///
/// `memory` is null or came from the C allocator and is not used again.
pub(super) unsafe fn free(memory: *mut libc::c_void) {
    // SAFETY: [c-allocated]: the caller's promise.
    unsafe { libc::free(memory) };
}

/// Copies a string into memory of the C allocator.
pub(super) fn duplicate(text: &std::ffi::CStr) -> *mut libc::c_char {
    // SAFETY: a `CStr` is NUL-terminated.
    let copy = unsafe { libc::strdup(text.as_ptr()) };
    assert!(
        !copy.is_null(),
        "out of memory while copying a string of {} bytes",
        text.count_bytes()
    );
    copy
}

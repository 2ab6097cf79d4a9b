//! QEMU's four clocks.
//!
//! A deadline is a pair of a clock and a time in nanoseconds on it. The clocks advance differently,
//! so a deadline on one says nothing about another. Reading a clock is cheap (no system call on
//! the usual hosts) and possible from any thread.
//!
//! # Examples
//!
//! ```
//! use executor::clock::Clock;
//!
//! let [real, guest, wall, _] = Clock::ALL.map(Clock::now);
//! assert!(Clock::Realtime.now() >= real);
//! // The wall's time counts from 1970; the guest's, in a machine that has not been started, not at all.
//! assert!(wall > 1_700_000_000_000_000_000);
//! assert_eq!(Clock::Virtual.now(), guest);
//! ```

use std::time::Duration;

use aio_sys::{
    QEMU_CLOCK_HOST, QEMU_CLOCK_REALTIME, QEMU_CLOCK_VIRTUAL, QEMU_CLOCK_VIRTUAL_RT, QEMUClockType,
};

use crate::cx::Bql;

/// One of QEMU's clocks.
///
/// The numbers are those of `QEMUClockType`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use executor::clock::Clock;
///
/// let now = Clock::Realtime.now();
/// let deadline = Clock::Realtime.after(Duration::from_micros(5));
/// assert!(deadline >= now + 5_000, "times are nanoseconds");
/// assert_eq!(Clock::Host.after(Duration::MAX), i64::MAX);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Clock {
    /// Monotonic time of the host, which runs even while the guest is stopped.
    ///
    /// The right one for everything that has to do with the outside: time-outs of peers, retries,
    /// monitor commands. [`sleep`](crate::time::sleep) uses it.
    Realtime = 0,
    /// Time as the guest sees it.
    ///
    /// It stands still while the guest is paused and before it has been started, so a sleep on it can
    /// last for ever. The right one for what a device model does on behalf of the guest.
    Virtual = 1,
    /// Wall-clock time of the host in nanoseconds since 1970, with the host's leaps.
    ///
    /// It jumps when the host's time is set. The right one for a real-time clock device.
    Host = 2,
    /// Like [`Virtual`](Self::Virtual), but it goes on while an instruction-counting guest
    /// (`-icount`) sleeps.
    VirtualRt = 3,
}

impl Clock {
    /// The clocks in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Realtime, Self::Virtual, Self::Host, Self::VirtualRt];

    /// Returns the time on this clock, in nanoseconds. Callable from any thread.
    ///
    /// Wraps `qemu_clock_get_ns`.
    #[must_use]
    pub fn now(self) -> i64 {
        aio_sys::qemu_clock_get_ns(self.to_c())
    }

    /// Returns QEMU's name for the clock.
    pub(crate) fn to_c(self) -> QEMUClockType {
        match self {
            Self::Realtime => QEMU_CLOCK_REALTIME,
            Self::Virtual => QEMU_CLOCK_VIRTUAL,
            Self::Host => QEMU_CLOCK_HOST,
            Self::VirtualRt => QEMU_CLOCK_VIRTUAL_RT,
        }
    }

    /// Returns the time that is `duration` from now, or the end of time if that is beyond it.
    #[must_use]
    pub fn after(self, duration: Duration) -> i64 {
        self.now().saturating_add(saturating_ns(duration))
    }
}

/// Lets the guest's time run ([`Clock::Virtual`]), as `cont` does. For standalone programs and tests, where
/// no machine does it; [`run_main`](crate::run_main) begins with it. Wraps `cpu_enable_ticks` and
/// `qemu_clock_enable`.
///
/// # Examples
///
/// ```
/// use executor::bql::with_bql;
/// use executor::clock::{Clock, resume_virtual};
///
/// let stopped = Clock::Virtual.now();
/// assert_eq!(Clock::Virtual.now(), stopped, "nobody has started the machine");
/// with_bql(resume_virtual);
/// while Clock::Virtual.now() == stopped {} // It runs.
/// assert!(Clock::Virtual.now() > stopped);
/// ```
pub fn resume_virtual(_bql: &Bql) {
    aio_sys::cpu_enable_ticks();
    enable_virtual(true);
}

/// Makes the guest's time stand still, and the timers on it, as `stop` does. Wraps `cpu_disable_ticks` and
/// `qemu_clock_enable`.
///
/// # Examples
///
/// ```
/// use executor::clock::{Clock, pause_virtual, resume_virtual};
/// use executor::run_main;
///
/// run_main(|nc| {
///     pause_virtual(nc);
///     let (real, guest) = (Clock::Realtime.now(), Clock::Virtual.now());
///     while Clock::Realtime.now() < real + 1_000_000 {}
///     assert_eq!(Clock::Virtual.now(), guest);
///     resume_virtual(nc); // The guest has lost no time: it goes on from there.
///     assert!(Clock::Virtual.now() >= guest);
/// });
/// ```
pub fn pause_virtual(_bql: &Bql) {
    enable_virtual(false);
    aio_sys::cpu_disable_ticks();
}

fn enable_virtual(enabled: bool) {
    // SAFETY: [bql-first]: the callers hold the lock, and in the emulation nothing else is asked for.
    unsafe { aio_sys::qemu_clock_enable(QEMU_CLOCK_VIRTUAL, enabled) }
}

/// Returns `duration` in nanoseconds; what does not fit (292 years) is the largest number.
pub(crate) fn saturating_ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_qemu() {
        for (number, clock) in Clock::ALL.into_iter().enumerate() {
            assert_eq!(clock as usize, number);
            assert_eq!(clock.to_c().index(), number);
        }
    }

    #[test]
    fn durations_beyond_the_clock_saturate() {
        assert_eq!(saturating_ns(Duration::from_micros(3)), 3_000);
        assert_eq!(saturating_ns(Duration::MAX), i64::MAX);
        assert_eq!(Clock::Realtime.after(Duration::MAX), i64::MAX);
    }
}

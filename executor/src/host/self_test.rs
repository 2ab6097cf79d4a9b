//! Whether this QEMU's event loop calls us back.
//!
//! One bottom half, one file descriptor and one timer are registered with our idea of QEMU's functions and
//! structures, and must fire. A QEMU that was built in a way we do not know is refused by this, in words,
//! before it can crash.
//!
//! QEMU is starting and its main loop does not run yet, so the test runs what it needs by hand: a pass of the
//! main context, as every wait of C code does at this point, and the timers of the realtime clock. It does not
//! run the iohandler context, in which monitors would begin to serve commands.

use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::eventfd::EventFd;

use crate::aio::bottom_half::{BottomHalf, OnBottomHalf};
use crate::aio::context::Context;
use crate::aio::fd_handler::{FdHandler, OnReadable};
use crate::aio::loop_timer::{LoopTimer, OnTimer};
use crate::clock::Clock;

use super::Refusal;

const BOTTOM_HALF: u32 = 1 << 0;
const DESCRIPTOR: u32 = 1 << 1;
const TIMER: u32 = 1 << 2;

/// What every callback must be given.
const NUMBER: usize = 0x5e1f;

/// Passes of the loop; one or two are enough.
const PASSES: usize = 16;

/// What has fired.
static FIRED: AtomicU32 = AtomicU32::new(0);

fn fired(what: u32, number: usize) {
    if number == NUMBER {
        // Relaxed: one thread tests.
        FIRED.fetch_or(what, Ordering::Relaxed);
    }
}

fn has_fired(what: u32) -> bool {
    FIRED.load(Ordering::Relaxed) & what != 0
}

struct Probe;

impl OnBottomHalf for Probe {
    fn run(number: usize) {
        fired(BOTTOM_HALF, number);
    }
}

impl OnReadable for Probe {
    fn ready(number: usize) {
        fired(DESCRIPTOR, number);
    }

    fn poll(_number: usize) -> bool {
        false
    }
}

impl OnTimer for Probe {
    fn fired(number: usize) {
        fired(TIMER, number);
    }

    fn is_due(_number: usize) -> bool {
        true
    }
}

/// Tests what the executor is built on. Main loop's thread, lock held.
pub(super) fn run() -> Result<(), Refusal> {
    // Relaxed: one thread tests.
    FIRED.store(0, Ordering::Relaxed);
    test_main_context()?;
    test_timer();
    let parts =
        [(BOTTOM_HALF, "bottom half"), (DESCRIPTOR, "file descriptor handler"), (TIMER, "timer")];
    let silent = parts.into_iter().find(|(part, _)| !has_fired(*part));
    silent.map_or(Ok(()), |(_, name)| {
        let qemu = aio_sys::host::version();
        Err(Refusal::because(format!("a {name} did not fire in the event loop of QEMU {qemu}")))
    })
}

fn test_main_context() -> Result<(), Refusal> {
    let main = Context::main();
    let readable = EventFd::from_value(1)
        .map_err(|error| Refusal::because(format!("there is no eventfd: {error}")))?;
    let _handler = FdHandler::without_poll::<Probe>(&main, readable, NUMBER);
    let bottom_half = BottomHalf::new::<Probe>(&main, NUMBER, c"self-test");
    bottom_half.schedule();
    for _ in 0..PASSES {
        if has_fired(BOTTOM_HALF) && has_fired(DESCRIPTOR) {
            break;
        }
        main.poll(false);
    }
    Ok(())
}

fn test_timer() {
    let iohandler = Context::iohandler();
    let timer = LoopTimer::new::<Probe>(&iohandler, Clock::Realtime, NUMBER);
    timer.arm_at(0);
    // SAFETY: [ctx-ref].
    let group = unsafe { aio_sys::aio_context_timer_group(iohandler.as_raw()) };
    // SAFETY: the group of the iohandler context is QEMU's `main_loop_tlg`, which lives for ever.
    let lists = unsafe { (*group).tl };
    // SAFETY: this is the thread that runs that list.
    unsafe { aio_sys::host::timerlist_run_timers(lists[Clock::Realtime as usize]) };
}

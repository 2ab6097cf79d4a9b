//! Waiting: what a suspended task takes, and what a suspended C coroutine does.
//!
//! Memory is what the process has in use (resident), before and after. A coroutine of C's has a stack of a megabyte,
//! of which it keeps the pages that it has touched, also for what has returned long ago. So there are two rows: one
//! for code that only begins and waits, and one for code that first calls something that takes some stack, as
//! formatting a message or a read through two block drivers does.
//!
//! Nobody ends before all figures are taken, since memory that was used before is used again.

use std::cell::Cell;
use std::ffi::c_void;
use std::fs;
use std::future::{pending, ready};
use std::hint::black_box;
use std::rc::Rc;

use aio_sys::host::{self, Coroutine};
use executor::qmp::Error;
use executor::{JoinHandle, MainCx};

use super::{Contender, Row};

const TASKS: u32 = 100_000;
const COROUTINES: u32 = 2_000;

/// The stack that some code takes.
const STACK: usize = 8 << 10;

pub(super) async fn compare(cx: &MainCx) -> Result<Vec<Row>, Error> {
    let (little, little_tasks) = tasks(cx, false).await;
    let (much, much_tasks) = tasks(cx, true).await;
    let theirs = cx.run_in_bh(|_| coroutines()).await.expect("it does not panic");
    for task in little_tasks.into_iter().chain(much_tasks) {
        task.abort();
    }
    let names = [
        ("suspended task", "suspended coroutine"),
        ("suspended task, after a call", "suspended coroutine, after a call that took 8 KiB"),
    ];
    let figures = [little, much].into_iter().zip(theirs);
    Ok(names.into_iter().zip(figures).map(|(names, figures)| row(names, figures)).collect())
}

fn row((our_name, their_name): (&'static str, &'static str), (ours, theirs): (f64, f64)) -> Row {
    let counted = |name, figure| {
        let mut contender = Contender::new(name, || ready(0.0));
        contender.figures.push(figure);
        contender
    };
    counted(our_name, ours).against(&counted(their_name, theirs))
}

/// The bytes that the process has in use.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel says");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it says so");
    let kib = line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    kib.expect("it is a number") * 1024.0
}

#[inline(never)]
fn use_stack() {
    black_box(&mut [1_u8; STACK]);
}

/// What a task takes. Its handle is a part of that.
async fn tasks(cx: &MainCx, calls: bool) -> (f64, Vec<JoinHandle<()>>) {
    let mut tasks = Vec::with_capacity(TASKS as usize);
    let before = resident();
    let started = Rc::new(Cell::new(0));
    for _ in 0..TASKS {
        let started = Rc::clone(&started);
        tasks.push(cx.spawn_future(async move {
            started.set(started.get() + 1);
            if calls {
                use_stack();
            }
            pending::<()>().await;
        }));
    }
    cx.spawn_future(async {}).await.expect("it does not panic");
    assert_eq!(started.get(), TASKS, "all wait");
    ((resident() - before) / f64::from(TASKS), tasks)
}

/// What a coroutine takes that calls nothing, and one that does.
fn coroutines() -> [f64; 2] {
    let mut all = Vec::new();
    let figures = [false, true].map(|calls| {
        let before = resident();
        let opaque = (&raw const calls).cast_mut().cast();
        all.extend((0..COROUTINES).map(|_| suspended(opaque)));
        (resident() - before) / f64::from(COROUTINES)
    });
    for coroutine in all {
        // SAFETY: it has yielded once, and ends now.
        unsafe { host::qemu_coroutine_enter(coroutine) };
    }
    figures
}

/// A coroutine that was entered and has yielded.
fn suspended(calls: *mut c_void) -> *mut Coroutine {
    // SAFETY: it looks at `calls` when it is entered.
    let coroutine = unsafe { host::qemu_coroutine_create(yield_once, calls) };
    // SAFETY: it is new.
    unsafe { host::qemu_coroutine_enter(coroutine) };
    coroutine
}

extern "C" fn yield_once(calls: *mut c_void) {
    // SAFETY: from `coroutines`, which waits for the yield.
    if unsafe { *calls.cast::<bool>() } {
        use_stack();
    }
    // SAFETY: in a coroutine, whose one frame is this.
    unsafe { host::qemu_coroutine_yield() };
}

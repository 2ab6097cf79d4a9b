//! Waiting: what a suspended task takes, and what a suspended C coroutine does.
//!
//! Memory is what the process has in use (resident), before and after. A coroutine of C's has a stack of a megabyte,
//! of which it uses the pages that it touches; these have touched no more than it takes to begin and to yield.

use std::ffi::c_void;
use std::fs;
use std::future::pending;
use std::ptr;

use aio_sys::host;
use executor::MainCx;
use executor::qmp::Error;

use super::{Contender, Row};

const TASKS: u32 = 100_000;
const COROUTINES: u32 = 2_000;

pub(super) async fn compare(cx: &MainCx) -> Result<Vec<Row>, Error> {
    let mut ours = Contender::new("suspended task", || std::future::ready(0.0));
    let mut theirs = Contender::new("suspended coroutine", || std::future::ready(0.0));
    ours.figures.push(tasks(cx).await);
    let grown = cx.run_in_bh(|_| coroutines()).await;
    theirs.figures.push(grown.expect("it does not panic"));
    Ok(vec![ours.against(&theirs)])
}

/// The bytes that the process has in use.
fn resident() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").expect("the kernel says");
    let pages = pages.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    pages.expect("it is a number") * 4096.0
}

async fn tasks(cx: &MainCx) -> f64 {
    let before = resident();
    let started = std::rc::Rc::new(std::cell::Cell::new(0));
    let task = |_| {
        let started = std::rc::Rc::clone(&started);
        cx.spawn_future(async move {
            started.set(started.get() + 1);
            pending::<()>().await;
        })
    };
    // The handles are part of what a task takes.
    let tasks: Vec<_> = (0..TASKS).map(task).collect();
    cx.spawn_future(async {}).await.expect("it does not panic");
    assert_eq!(started.get(), TASKS, "all wait");
    let grown = resident() - before;
    for task in tasks {
        task.abort();
    }
    grown / f64::from(TASKS)
}

fn coroutines() -> f64 {
    let mut coroutines = Vec::with_capacity(COROUTINES as usize);
    let before = resident();
    for _ in 0..COROUTINES {
        // SAFETY: the function expects nothing.
        let coroutine = unsafe { host::qemu_coroutine_create(yield_once, ptr::null_mut()) };
        // SAFETY: it is new.
        unsafe { host::qemu_coroutine_enter(coroutine) };
        coroutines.push(coroutine);
    }
    let grown = resident() - before;
    for coroutine in coroutines {
        // SAFETY: it has yielded once, and ends now.
        unsafe { host::qemu_coroutine_enter(coroutine) };
    }
    grown / f64::from(COROUTINES)
}

extern "C" fn yield_once(_: *mut c_void) {
    // SAFETY: in a coroutine, whose one frame is this.
    unsafe { host::qemu_coroutine_yield() };
}

//! Coroutines that have ended, for those to come.
//!
//! To map and to unmap a stack costs more than most coroutines do. Owns up to [`MOST`] stacks and the objects
//! that belong to them; the memory of an object is not given back while it is here, as in QEMU.
//!
//! Threads: any.

use std::sync::{Mutex, MutexGuard};

use super::{Coroutine, DefaultStack};

/// The most that are kept.
const MOST: usize = 128;
/// The size of a stack. Memory that is never touched costs nothing.
const STACK_SIZE: usize = 1 << 20;

static UNUSED: Mutex<Vec<Unused>> = Mutex::new(Vec::new());

/// A coroutine without a function.
struct Unused {
    coroutine: Box<Coroutine>,
    stack: DefaultStack,
}

// SAFETY: the obstacles are the cells and pointers of the coroutine: [co-alive]: nobody uses it.
unsafe impl Send for Unused {}

fn unused() -> MutexGuard<'static, Vec<Unused>> {
    UNUSED.lock().expect("nothing panics under this lock")
}

/// Returns a coroutine that is like new, and a stack for it.
pub(super) fn take() -> (Box<Coroutine>, DefaultStack) {
    let reused = unused().pop();
    match reused {
        Some(Unused { mut coroutine, stack }) => {
            *coroutine = Coroutine::new();
            (coroutine, stack)
        }
        None => {
            let stack = DefaultStack::new(STACK_SIZE).expect("cannot map a stack for a coroutine");
            (Box::new(Coroutine::new()), stack)
        }
    }
}

/// Keeps a coroutine for [`take`], or frees it.
///
/// # Safety
///
/// It has ended, was boxed, and nobody uses it any more.
pub(super) unsafe fn put(coroutine: *mut Coroutine) {
    // SAFETY: the caller's promise.
    let mut coroutine = unsafe { Box::from_raw(coroutine) };
    let machine = coroutine.machine.get_mut().take();
    let stack = machine.expect("a coroutine has a machine until it is recycled").into_stack();
    let mut unused = unused();
    if unused.len() < MOST {
        unused.push(Unused { coroutine, stack });
    }
}

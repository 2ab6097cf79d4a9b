//! The capability that stands for C's `coroutine_fn`.
//!
//! Owns the type alone: what lends it and what it can do is in `host::coroutine`, since there are C coroutines
//! only inside QEMU. It is here so that bindings can name it, and be compiled, without QEMU.
//!
//! Threads: it is bound to the thread, as every capability; see the warning at
//! [`InCoroutine`] about code that calls C.

#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::cx::BoundToThisThread;

/// The right to yield to C: the code at hand runs in a C coroutine, and not inside a poll.
///
/// What QEMU's C code marks `coroutine_fn` takes `&mut InCoroutine` in Rust, as a
/// [`NoCoroutine`](crate::NoCoroutine) stands for `no_coroutine_fn`. A future cannot have one, and must not: a
/// poll that yields to C would come back in the middle of whatever that thread does by then. Async code calls
/// a `coroutine_fn` with `host::coroutine::call`, which makes a coroutine for it.
///
/// A coroutine may be entered again in another thread than the one it left. The compiler does not see that,
/// so whoever calls C code that yields promises, in an `unsafe` block, that nothing on the stack depends on
/// the thread.
pub struct InCoroutine {
    thread: PhantomData<Rc<BoundToThisThread>>,
}

impl InCoroutine {
    /// Lends the right to `f`, for those who know that this is a coroutine.
    #[cfg(feature = "host")]
    pub(crate) fn lend<R>(f: impl for<'c> FnOnce(&'c mut InCoroutine) -> R) -> R {
        f(&mut InCoroutine { thread: PhantomData })
    }
}

impl fmt::Debug for InCoroutine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InCoroutine")
    }
}

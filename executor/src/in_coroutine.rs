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
///
/// # Examples
///
/// ```
/// use executor::{InCoroutine, MainCx, NoCoroutine};
///
/// /// The binding of a `coroutine_fn`: it may yield to C.
/// fn co_read(_co: &mut InCoroutine, _sector: u64) -> Vec<u8> {
///     vec![0; 512]
/// }
///
/// /// The binding of a `no_coroutine_fn`: it may run a nested loop.
/// fn read(_nc: &mut NoCoroutine, _sector: u64) -> Vec<u8> {
///     vec![0; 512]
/// }
///
/// /// Code that has the one right has not the other, and a task (`&MainCx`) has neither.
/// fn co_boot(co: &mut InCoroutine) -> bool {
///     co_read(co, 0).ends_with(&[0x55, 0xaa])
/// }
/// ```
///
/// Only inside QEMU is there code that is lent it: `examples/qemu_plugin/selftest/coroutine.rs` has some.
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

//! One fd that a loop watches for us.

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aio_sys::{AioPollFn, IOHandler};

use super::callback::{from_opaque, no_unwind, to_opaque};
use super::context::Context;

/// What an fd handler runs, given the number it was made with.
pub(crate) trait OnReadable {
    /// The fd is readable.
    fn ready(number: usize);

    /// Looks whether it is, during busy polling. `ready` is called soon if so.
    fn poll(number: usize) -> bool;
}

/// A read handler (`aio_set_fd_handler`), removed when this is dropped. Home thread only.
pub(crate) struct FdHandler<F: AsFd> {
    context: Context,
    /// Dropped after `Drop` has removed the handler, [fd-deregistered].
    fd: F,
    not_send: PhantomData<*const ()>,
}

struct Trampoline<C>(PhantomData<C>);

impl<C: OnReadable> Trampoline<C> {
    extern "C" fn ready(opaque: *mut c_void) {
        no_unwind("an fd handler", (), || C::ready(from_opaque(opaque)));
    }

    extern "C" fn poll(opaque: *mut c_void) -> bool {
        no_unwind("an fd handler", false, || C::poll(from_opaque(opaque)))
    }
}

impl<F: AsFd> FdHandler<F> {
    /// Watches `fd` in `context`, calling `C` with `number`.
    pub(crate) fn new<C: OnReadable>(context: &Context, fd: F, number: usize) -> FdHandler<F> {
        FdHandler::with(context, fd, Callbacks::of::<C>(), number)
    }

    /// As [`new`](Self::new), but the loop asks the kernel about the fd in every pass, also in one that
    /// does not wait. That ends busy polling in the whole context while the handler is there.
    #[cfg(feature = "host")]
    pub(crate) fn without_poll<C: OnReadable>(
        context: &Context,
        fd: F,
        number: usize,
    ) -> FdHandler<F> {
        FdHandler::with(context, fd, Callbacks { poll: None, ..Callbacks::of::<C>() }, number)
    }

    fn with(context: &Context, fd: F, callbacks: Callbacks, number: usize) -> FdHandler<F> {
        set_handler(context, fd.as_fd(), Some(callbacks), number);
        FdHandler { context: context.clone(), fd, not_send: PhantomData }
    }

    /// What is watched.
    pub(crate) fn fd(&self) -> &F {
        &self.fd
    }
}

impl<F: AsFd> FdHandler<F> {
    /// Stops watching. The fd stays open.
    pub(crate) fn close(&self) {
        set_handler(&self.context, self.fd.as_fd(), None, 0);
    }
}

struct Callbacks {
    ready: IOHandler,
    poll: Option<AioPollFn>,
}

impl Callbacks {
    fn of<C: OnReadable>() -> Callbacks {
        Callbacks { ready: Trampoline::<C>::ready, poll: Some(Trampoline::<C>::poll) }
    }
}

/// Sets the read handler of `fd`, or removes it.
fn set_handler(context: &Context, fd: BorrowedFd<'_>, callbacks: Option<Callbacks>, number: usize) {
    // SAFETY: [ctx-ref] and [opaque-is-number]; the fd is open, the handler's owner holds it.
    unsafe {
        aio_sys::aio_set_fd_handler(
            context.as_raw(),
            fd.as_raw_fd(),
            callbacks.as_ref().map(|c| c.ready),
            None,
            callbacks.as_ref().and_then(|c| c.poll),
            callbacks.as_ref().filter(|c| c.poll.is_some()).map(|c| c.ready),
            to_opaque(number),
        );
    }
}

impl<F: AsFd> Drop for FdHandler<F> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<F: AsFd> fmt::Debug for FdHandler<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FdHandler").field("fd", &self.fd.as_fd()).finish_non_exhaustive()
    }
}

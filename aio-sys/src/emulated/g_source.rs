//! The face that a context shows to `GLib`.
//!
//! A context is run by `aio_poll` or by a `GMainContext` that its source was attached to, or by both in turn, in
//! its home thread. The source has one file descriptor, the epoll instance of the context:
//!
//! | phase | effect |
//! |---|---|
//! | prepare | announces a sleep, says how long it may last in milliseconds, rounded up; ready if that is 0 |
//! | check | ends the announcement, answers the doorbell; ready if a bottom half or a timer is due |
//! | dispatch | asks the kernel, then one pass, as `aio_poll` does it after its sleep |
//!
//! A source is ready, too, if `GLib` finds its descriptor readable: a descriptor is ready, or the doorbell rang while
//! the loop slept.
//!
//! `GLib` does not check a source that was ready in prepare. The announcement then stays while callbacks run, a
//! ring really writes the eventfd, and one more turn finds nothing to do, as in QEMU.
//!
//! Threads: [`aio_get_g_source`] from any; the rest is called by `GLib` in the thread that runs its context.
//!
//! Invariant `[source-owns-ctx]`: a source owns a reference on its context until `GLib` finalises it.
//!
//! Different from QEMU, where a context *is* its source: each call makes a source. Attach one of them.

use std::ffi::{c_int, c_uint};
use std::ptr;

use glib_sys::{G_IO_IN, GSource, GSourceFunc, GSourceFuncs, GTRUE, gboolean, gpointer};

use super::bottom_half;
use super::context::{Context, aio_context_ref, aio_context_unref};
use super::fd::Ready;
use super::poll;
use crate::types::AioContext;

/// What stands behind the `GSource` pointer.
#[repr(C)]
struct Source {
    /// Belongs to `GLib`.
    base: GSource,
    face: Face,
}

struct Face {
    context: *mut AioContext,
    /// Names the epoll instance to `GLib`.
    tag: gpointer,
}

static FUNCTIONS: GSourceFuncs = GSourceFuncs {
    prepare: Some(prepare),
    check: Some(check),
    dispatch: Some(dispatch),
    finalize: Some(finalize),
    closure_callback: None,
    closure_marshal: None,
};

impl Face {
    /// # Safety
    ///
    /// `source` is as large as a [`Source`].
    unsafe fn place(source: *mut GSource) -> *mut Self {
        // SAFETY: the caller's promise.
        unsafe { &raw mut (*source.cast::<Source>()).face }
    }

    /// # Safety
    ///
    /// `source` came from [`aio_get_g_source`], and lives during `'a`.
    unsafe fn of<'a>(source: *mut GSource) -> &'a Self {
        // SAFETY: the caller's promise.
        let place = unsafe { Self::place(source) };
        // SAFETY: the caller's promise.
        unsafe { &*place }
    }

    fn context<'a>(&self) -> &'a Context {
        // SAFETY: [source-owns-ctx].
        unsafe { Context::from_raw(self.context) }
    }

    /// What the kernel has, if `GLib` saw that it has something.
    ///
    /// # Safety
    ///
    /// `source` is the one that this is the face of.
    unsafe fn collect(&self, source: *mut GSource) -> Ready {
        let mut ready = Ready::default();
        // SAFETY: the caller's promise; the tag is of this source.
        let seen = unsafe { glib_sys::g_source_query_unix_fd(source, self.tag) };
        if seen & G_IO_IN != 0 {
            // Interrupted or not: whatever is ready now is ready in the next turn too.
            let _ = self.context().monitor.wait(0, &mut ready);
        }
        ready
    }
}

/// # Safety
///
/// As `GLib` calls it, for a source of this module; `timeout_ms` is writable.
unsafe extern "C" fn prepare(source: *mut GSource, timeout_ms: *mut c_int) -> gboolean {
    // SAFETY: the caller's promise.
    let timeout_ns = poll::prepare(unsafe { Face::of(source) }.context());
    // SAFETY: the caller's promise.
    unsafe { timeout_ms.write(to_ms(timeout_ns)) };
    gboolean::from(timeout_ns == 0)
}

/// Milliseconds, rounded up (-1: for ever).
fn to_ms(timeout_ns: i64) -> c_int {
    match timeout_ns {
        ..0 => -1,
        _ => c_int::try_from((timeout_ns as u64).div_ceil(1_000_000)).unwrap_or(c_int::MAX),
    }
}

/// # Safety
///
/// As `GLib` calls it, for a source of this module.
unsafe extern "C" fn check(source: *mut GSource) -> gboolean {
    // SAFETY: the caller's promise.
    let context = unsafe { Face::of(source) }.context();
    context.doorbell.end_main_loop_sleep();
    context.doorbell.accept();
    let is_due = bottom_half::timeout_ns(context) >= 0 || context.timers.deadline_ns() == 0;
    gboolean::from(is_due)
}

/// # Safety
///
/// As `GLib` calls it, for a source of this module.
unsafe extern "C" fn dispatch(
    source: *mut GSource,
    callback: GSourceFunc,
    _data: gpointer,
) -> gboolean {
    assert!(callback.is_none(), "the source of an AioContext takes no callback");
    // SAFETY: the caller's promise.
    let face = unsafe { Face::of(source) };
    // SAFETY: it is its face.
    let ready = unsafe { face.collect(source) };
    poll::run(face.context(), ready);
    GTRUE
}

/// # Safety
///
/// As `GLib` calls it, for a source of this module.
unsafe extern "C" fn finalize(source: *mut GSource) {
    // SAFETY: the caller's promise.
    let place = unsafe { Face::place(source) };
    // SAFETY: the caller's promise; nobody uses it any more.
    let face = unsafe { place.read() };
    // SAFETY: [source-owns-ctx].
    unsafe { aio_context_unref(face.context) };
}

/// Returns a source that runs the context, to be attached to a `GMainContext` of its home thread. The caller
/// owns the reference; the source keeps the context alive.
///
/// # Safety
///
/// `ctx` is alive.
#[must_use]
pub unsafe extern "C" fn aio_get_g_source(ctx: *mut AioContext) -> *mut GSource {
    let functions = ptr::from_ref(&FUNCTIONS).cast_mut();
    // SAFETY: the functions live for ever, and the size is that of the struct.
    let source = unsafe { glib_sys::g_source_new(functions, size_of::<Source>() as c_uint) };
    // SAFETY: the caller's promise.
    let monitor = &unsafe { Context::from_raw(ctx) }.monitor;
    // QEMU's context gives up epoll and `io_uring` for `poll` here.
    monitor.be_frugal();
    let fd = monitor.as_raw_fd();
    // SAFETY: the source was just made; its context owns the descriptor and lives longer.
    let tag = unsafe { glib_sys::g_source_add_unix_fd(source, fd, G_IO_IN) };
    // SAFETY: the source was just made.
    unsafe { glib_sys::g_source_set_can_recurse(source, GTRUE) };
    // SAFETY: the caller's promise.
    unsafe { aio_context_ref(ctx) };
    let face = Face { context: ctx, tag };
    // SAFETY: the source was made as large as the struct.
    let place = unsafe { Face::place(source) };
    // SAFETY: this part of the source is ours.
    unsafe { place.write(face) };
    source
}

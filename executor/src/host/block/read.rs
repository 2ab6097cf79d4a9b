//! A read under way, and the future of its end.
//!
//! Everything that C reads or writes is in one box, which is C's from the start of the read to its callback,
//! [op-owns-buffer]. The future shares only the slot of the result with it, so it may be dropped at any time.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aio_sys::host::{IoVec, QEMUIOVector};

use super::{BlockError, Buffer, User};
use crate::aio::bottom_half::run_oneshot;
use crate::aio::callback::no_unwind;
use crate::remote::{self, Errand, Remote};

type ReadResult = Result<Buffer, BlockError>;

/// A future of the buffer, filled.
///
/// The read goes on whether it is polled or not. For any thread: a task of an iothread may await it.
#[must_use = "a read that nobody awaits is in vain"]
pub struct Read {
    remote: Remote<ReadResult>,
}

impl Future for Read {
    type Output = ReadResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ReadResult> {
        let result = Pin::new(&mut self.remote).poll(cx);
        // A panic in the callback is all that can come between, and there is none.
        result.map(|result| result.unwrap_or_else(|error| Err(BlockError::refused(error))))
    }
}

impl fmt::Debug for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Read").field("finished", &self.remote.is_finished()).finish()
    }
}

/// What C has while it reads.
pub(super) struct Operation {
    vector: QEMUIOVector,
    piece: IoVec,
    offset: i64,
    buffer: Buffer,
    errand: Errand<ReadResult>,
    /// Keeps the user until the read has ended.
    user: Arc<User>,
}

// SAFETY: [op-owns-buffer]: the pointers are the obstacle; they point to what the operation owns, and
// whoever has the operation has that to itself.
unsafe impl Send for Operation {}

impl Operation {
    pub(super) fn backend(&self) -> *mut aio_sys::host::BlockBackend {
        self.user.reference().as_ptr()
    }

    /// Whether somebody still waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        !self.errand.is_cancelled()
    }
}

/// Starts a read, now or when a drained section ends. In a task of the main loop.
pub(super) fn start(user: &Arc<User>, offset: u64, mut buffer: Buffer) -> Read {
    let (errand, remote) = remote::pair();
    let Ok(offset) = i64::try_from(offset) else {
        errand.complete(Ok(Err(BlockError::from_negative(-i64::from(nix::libc::EINVAL)))));
        return Read { remote };
    };
    let piece = IoVec { base: buffer.as_mut_ptr().cast(), length: buffer.len() };
    let vector = QEMUIOVector::new();
    let user_of_read = Arc::clone(user);
    let read = Operation { vector, piece, offset, buffer, errand, user: user_of_read };
    if let Some(read) = user.reference().gate.admit(read) {
        if user.reference().context().is_main() {
            enter(read);
        } else {
            enter_later(read);
        }
    }
    Read { remote }
}

/// Enters a read that was admitted, in the thread of its node. The node does not move before that, since the
/// read counts.
pub(super) fn enter_later(read: Operation) {
    run_oneshot(&read.user.reference().context(), move || enter(read));
}

/// Hands a read to C. In the context of the node, or under the big lock if that is the main one.
fn enter(read: Operation) {
    let backend = read.backend();
    let _lock = read.user.reference().lock();
    submit(read);
    // SAFETY: [blk-ref]: the read has a share, and ends in this thread at the earliest after this. From here on
    // it counts by itself.
    unsafe { aio_sys::host::blk_dec_in_flight(backend) };
}

fn submit(read: Operation) {
    let (backend, offset) = (read.backend(), read.offset);
    let read = Box::into_raw(Box::new(read));
    // SAFETY: [op-owns-buffer]: a place in the box, which is not C's yet.
    let vector = unsafe { &raw mut (*read).vector };
    // SAFETY: [op-owns-buffer]: as above.
    let piece = unsafe { &raw mut (*read).piece };
    // SAFETY: [op-owns-buffer]: both stay where they are for as long as the box.
    unsafe { aio_sys::host::qemu_iovec_init_external(vector, piece, 1) };
    let opaque = read.cast::<c_void>();
    // SAFETY: [blk-ref]: the read has a share of the user; [op-owns-buffer]: the box is C's until `ended`.
    unsafe { aio_sys::host::blk_aio_preadv(backend, offset, vector, 0, ended, opaque) };
}

/// C's callback. In the thread that runs the node's context, in a coroutine or not.
///
/// # Safety
///
/// As C calls it: `opaque` is from `submit`.
unsafe extern "C" fn ended(opaque: *mut c_void, result: c_int) {
    // SAFETY: [op-owns-buffer]: from `submit`; C calls back once, and the box is ours again.
    let operation = unsafe { Box::from_raw(opaque.cast::<Operation>()) };
    no_unwind("the end of a read", (), move || {
        let Operation { buffer, errand, user, .. } = *operation;
        let outcome = match result {
            0.. => Ok(buffer),
            _ => Err(BlockError::from_negative(result.into())),
        };
        // Before anybody hears of the end: who hears of all the ends can close the backend.
        drop(user);
        errand.complete(Ok(outcome));
    });
}

//! Disks: reading nodes of QEMU's block layer.
//!
//! [`BlockBackend`] is a user of a node, as a guest's device or a block job is one: it reads what the guest
//! sees, keeps the node alive and in its graph, and lets everybody else go on, writers too. A read is a
//! future; several may be under way.
//!
//! Owns the list of the live users, which the end of QEMU needs.
//!
//! # What may happen meanwhile
//!
//! | what | then |
//! |---|---|
//! | a drained section (snapshots, resizes, jobs) | reads that begin in it wait until it ends |
//! | `blockdev-del` | QEMU answers that the node is in use |
//! | a new overlay, a job's new top | the backend follows, as devices do |
//! | the node shrinks | reads past the new end fail with `EIO` |
//! | the node moves to another iothread | the reads under way are waited for, and the next ones go there |
//! | the future of a read is dropped | the read goes on, and keeps the buffer and the backend until it ends |
//! | QEMU ends | after the tasks are cancelled, what they left under way is waited for |
//!
//! Dropping a read does not take it back: `blk_aio_cancel_async` does nothing for requests of this kind, in
//! any release.
//!
//! # Locks and threads
//!
//! Users are made and given up in the main loop's thread, under the Big QEMU Lock and outside of
//! coroutines, because each of that changes the graph, for which QEMU runs a nested event loop: it takes
//! `&mut NoCoroutine`. Not every nested loop is a place for it, though: QEMU must not find itself in the
//! middle of another change. From async code call them with [`MainHandle::call`](crate::MainHandle::call),
//! which waits for the outermost loop.
//!
//! A read is started by a task of the main loop, and handed to C in the thread of the node: newer releases
//! would take it anywhere, but not all of their drivers do that well (a throttled node of 10.0's can deadlock
//! when two threads use it). Until 8.2 each call also holds the lock of the node's context
//! ([`ContextLock`]).
//!
//! `examples/qemu_plugin/block.rs` reads disks with it, inside QEMU.
//!
//! Data flows one way: `buffer`, `error` → `read`, `gate` → here.

use std::ffi::CString;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use aio_sys::host::{BLK_PERM_ALL, BLK_PERM_CONSISTENT_READ};

use crate::aio::context::{Context, take_error};
use crate::bql;
use crate::cx::{MainCx, NoCoroutine};
use crate::drop_on_main;
use gate::Gate;

mod buffer;
mod error;
mod gate;
mod read;

pub use buffer::Buffer;
pub use error::BlockError;
pub use read::Read;

/// How a node is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockName<'a> {
    /// By a device that has it as its medium, as `-drive id=` names one.
    Device(&'a str),
    /// By its own name, as `-blockdev node-name=` gives it.
    Node(&'a str),
    /// By either.
    DeviceOrNode(&'a str),
}

/// A reader of a block node (QEMU's `BlockBackend`, with `BLK_PERM_CONSISTENT_READ` only).
///
/// Reading is all that it does and it shares everything, so it never stands in the way of another user, but
/// of the node's removal: until it is gone QEMU answers `blockdev-del` with "is in use". Dropping it
/// lets the node go soon, in a bottom half of the main loop, once its last read has ended;
/// [`close`](Self::close) lets it go now, which is what a command wants before it replies.
///
/// Counted: a clone is another handle on the same user.
#[derive(Clone)]
pub struct BlockBackend {
    user: Arc<User>,
}

impl BlockBackend {
    /// Becomes a user of the node `name`. Stands for `bdrv_lookup_bs` and `blk_new_with_bs`.
    ///
    /// As with every change of the graph in newer releases, all disks of the guest's hold their breath for
    /// it, and for [`close`](Self::close): open a disk for a piece of work, not for each read.
    ///
    /// # Errors
    ///
    /// QEMU's own sentence: there is no such node, the device has no medium, or another user does not share
    /// reading.
    ///
    /// # Panics
    ///
    /// If a `BqlRefCell` is borrowed by ambient code, as all that may run a nested event loop.
    #[track_caller]
    pub fn open(nc: &mut NoCoroutine, name: BlockName<'_>) -> Result<BlockBackend, BlockError> {
        let _exclusive = about_to_wait(nc);
        let (device, node) = name.parts();
        let (device, node) = (c_string(device)?, c_string(node)?);
        let mut error = ptr::null_mut();
        // SAFETY: main loop, lock held, by the capability; C strings; `error` outlives the call.
        let node = unsafe {
            aio_sys::host::bdrv_lookup_bs(device.as_ptr(), node.as_ptr(), &raw mut error)
        };
        if node.is_null() {
            return Err(BlockError::refused(take_error(error)));
        }
        // SAFETY: the node was lent, and nothing runs before it is used.
        let reference = unsafe { new_user(node) }?;
        let user = Arc::new(User { reference: Some(reference) });
        add_live(&user);
        Ok(BlockBackend { user })
    }

    /// How many bytes the node has now.
    ///
    /// # Errors
    ///
    /// What QEMU answers: usually that there is no medium.
    ///
    /// # Panics
    ///
    /// If a `BqlRefCell` is borrowed by ambient code.
    #[track_caller]
    pub fn length(&self, nc: &mut NoCoroutine) -> Result<u64, BlockError> {
        let _exclusive = about_to_wait(nc);
        let reference = self.user.reference();
        let lock = reference.lock();
        // SAFETY: [blk-ref]; main loop, outside of coroutines, by the capability.
        let length = unsafe { aio_sys::host::blk_getlength(reference.as_ptr()) };
        drop(lock);
        u64::try_from(length).map_err(|_negative| BlockError::from_negative(length))
    }

    /// Starts to fill `buffer` with what is at `offset`. The read is under way at once, whether or not it
    /// is awaited; dropping the [`Read`] loses the result, and the buffer is freed when it ends.
    ///
    /// A buffer that is not a multiple of the disk's block, or an offset that is none, works but costs
    /// QEMU a copy.
    pub fn read(&self, _cx: &MainCx, offset: u64, buffer: Buffer) -> Read {
        read::start(&self.user, offset, buffer)
    }

    /// Waits for the reads that were dropped under way, in a nested event loop, and lets the node go.
    ///
    /// What a drained section of somebody else's holds back is not waited for; then, or if there are clones,
    /// the node goes with the last of them, as when the backend is dropped.
    ///
    /// # Panics
    ///
    /// If a `BqlRefCell` is borrowed by ambient code.
    #[track_caller]
    pub fn close(self, nc: &mut NoCoroutine) {
        let nc = about_to_wait(nc);
        if Arc::strong_count(&self.user) > 1 {
            self.user.drain(nc);
        }
        if let Some(mut user) = Arc::into_inner(self.user) {
            // This is a place where it may go at once.
            drop(user.reference.take());
        }
    }
}

impl fmt::Debug for BlockBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockBackend").field("raw", &self.user.reference().raw).finish()
    }
}

const _: () = {
    const fn any_thread<T: Send + Sync + 'static>() {}
    any_thread::<BlockBackend>();
    any_thread::<Buffer>();
    any_thread::<BlockError>();
    any_thread::<Read>();
};

impl<'a> BlockName<'a> {
    /// As a device and as a node, empty for neither: no name is.
    fn parts(self) -> (&'a str, &'a str) {
        match self {
            BlockName::Device(name) => (name, ""),
            BlockName::Node(name) => ("", name),
            BlockName::DeviceOrNode(name) => (name, name),
        }
    }
}

/// What comes may run a nested event loop.
#[track_caller]
fn about_to_wait(nc: &mut NoCoroutine) -> &mut NoCoroutine {
    bql::assert_nothing_borrowed("a block node is opened, measured or closed");
    nc
}

fn c_string(name: &str) -> Result<CString, BlockError> {
    CString::new(name).map_err(|_| BlockError::refused(format!("The name {name:?} has a NUL")))
}

/// # Safety
///
/// Main loop's thread, lock held, outside of coroutines; `node` is alive.
unsafe fn new_user(node: *mut aio_sys::host::BlockDriverState) -> Result<Reference, BlockError> {
    // SAFETY: alive by this function's contract.
    let context = unsafe { aio_sys::host::bdrv_get_aio_context(node) };
    // SAFETY: a node's context is alive.
    let context = unsafe { Context::from_raw(context) }.expect("a node has a context");
    let _lock = ContextLock::take(context);
    let mut error = ptr::null_mut();
    // SAFETY: by this function's contract; `error` outlives the call.
    let raw = unsafe {
        aio_sys::host::blk_new_with_bs(node, BLK_PERM_CONSISTENT_READ, BLK_PERM_ALL, &raw mut error)
    };
    let raw = NonNull::new(raw).ok_or_else(|| BlockError::refused(take_error(error)))?;
    let reference = Reference { raw, gate: Arc::default() };
    // SAFETY: [blk-ref]; by this function's contract.
    unsafe { aio_sys::host::blk_set_allow_aio_context_change(raw.as_ptr(), true) };
    // SAFETY: [blk-ref]; the gate sends none in a drained section.
    unsafe { aio_sys::host::blk_set_disable_request_queuing(raw.as_ptr(), true) };
    gate::watch(&reference);
    Ok(reference)
}

/// The lock of a context, held where contexts have one.
///
/// Taken once: a nested event loop releases it once while it waits.
struct ContextLock {
    context: Context,
    /// A mutex is released by who has it.
    _thread: PhantomData<*mut ()>,
}

impl ContextLock {
    fn take(context: Context) -> ContextLock {
        // SAFETY: [ctx-ref].
        unsafe { aio_sys::host::aio_context_acquire(context.as_raw()) };
        ContextLock { context, _thread: PhantomData }
    }
}

impl Drop for ContextLock {
    fn drop(&mut self) {
        // SAFETY: [ctx-ref]; taken by `take`, in this thread, which the lock cannot leave.
        unsafe { aio_sys::host::aio_context_release(self.context.as_raw()) };
    }
}

/// A reference on a user in C's sense. Dropped in the main loop's thread, under the lock, outside of coroutines
/// and of the completion of its own reads, which it waits for.
struct Reference {
    raw: NonNull<aio_sys::host::BlockBackend>,
    gate: Arc<Gate>,
}

// SAFETY: [blk-ref]: the pointer is the obstacle; what is done with it elsewhere than in the main loop's thread
// (counting, reading, asking for the context) C allows to any thread.
unsafe impl Send for Reference {}
// SAFETY: as for `Send`.
unsafe impl Sync for Reference {}

impl Reference {
    fn as_ptr(&self) -> *mut aio_sys::host::BlockBackend {
        self.raw.as_ptr()
    }

    /// The context that the node is in. It stays there while the big lock is held or a read counts.
    fn context(&self) -> Context {
        // SAFETY: [blk-ref]; any thread may ask.
        let context = unsafe { aio_sys::host::blk_get_aio_context(self.as_ptr()) };
        // SAFETY: [blk-ref]: the context of a live user is alive.
        unsafe { Context::from_raw(context) }.expect("a node has a context")
    }

    /// Takes the lock of that context.
    fn lock(&self) -> ContextLock {
        ContextLock::take(self.context())
    }
}

impl Drop for Reference {
    /// A node that loses a user goes back to the main context, if nobody minds. Releases before 10.1 wait for
    /// its requests then while they hold the lock of the graph, without which those cannot end. So they end
    /// before.
    fn drop(&mut self) {
        // SAFETY: the place is right by the type's contract.
        unsafe { aio_sys::host::bdrv_drain_all_begin() };
        let lock = self.lock();
        gate::forget(self);
        // SAFETY: [blk-ref]: ours, and used no more; the place is right by the type's contract.
        unsafe { aio_sys::host::blk_unref(self.as_ptr()) };
        drop(lock);
        // SAFETY: [blk-ref]: ends what was begun above, in the same place.
        unsafe { aio_sys::host::bdrv_drain_all_end() };
    }
}

/// A user, shared between its handle and its reads. The last of them may go in any thread and inside a
/// read's completion, so the reference always goes later, in a bottom half of the main loop.
struct User {
    /// `None` only while it is being taken apart.
    reference: Option<Reference>,
}

impl User {
    fn reference(&self) -> &Reference {
        self.reference.as_ref().expect("it is there until the end")
    }

    /// Waits for the reads under way, in a nested event loop.
    fn drain(&self, nc: &mut NoCoroutine) {
        let _exclusive = nc;
        let reference = self.reference();
        let _lock = reference.lock();
        // SAFETY: [blk-ref]; main loop, outside of coroutines, by the capability.
        unsafe { aio_sys::host::blk_drain(reference.as_ptr()) };
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(reference) = self.reference.take() {
            drop_on_main::bury(Box::new(reference));
        }
    }
}

/// The users there are, and some that are gone.
fn live() -> MutexGuard<'static, Vec<Weak<User>>> {
    static LIVE: Mutex<Vec<Weak<User>>> = Mutex::new(Vec::new());
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add_live(user: &Arc<User>) {
    let mut live = live();
    live.retain(|known| known.strong_count() > 0);
    live.push(Arc::downgrade(user));
}

/// Waits for all reads and lets the nodes of those go that nobody uses any more. For the end of QEMU: after
/// the tasks are gone and before QEMU closes its nodes. A user that is still held after that loses its node
/// then, and its reads find no medium.
pub(super) fn end(nc: &mut NoCoroutine) {
    let users: Vec<_> = live().iter().filter_map(Weak::upgrade).collect();
    for user in users {
        user.reference().gate.clear();
        user.drain(nc);
    }
    drop_on_main::drop_waiting();
}

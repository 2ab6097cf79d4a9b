//! QEMU's block layer, as far as a reader of disks needs it.
//!
//! The emulation has no twin of these: programs without QEMU have no disks. Every supported release
//! exports all of them with the same prototypes; what changed between releases is which locks their callers
//! hold.
//!
//! Threads: QEMU sorts these functions into *global state*, for the main loop's thread with the BQL, and
//! *I/O*. Until 8.2, callers of either kind also hold the lock of the node's context, once
//! ([`aio_context_acquire`](super::aio_context_acquire)). Those that may run a nested event loop say so; they
//! are not for coroutines.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::marker::{PhantomData, PhantomPinned};
use std::mem::{offset_of, size_of};
use std::ptr;

use crate::types::{AioContext, Error};

type Hidden = PhantomData<(*mut u8, PhantomPinned)>;

/// A user's end of a node: what it may do there, and its requests.
#[derive(Debug)]
#[repr(C)]
pub struct BlockBackend {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// A node of the block graph.
#[derive(Debug)]
#[repr(C)]
pub struct BlockDriverState {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// A request under way. Whoever started it must not look at it: it may have ended in another thread.
#[derive(Debug)]
#[repr(C)]
pub struct BlockAIOCB {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// What is called when a request has ended: with 0, or a negative error number.
pub type BlockCompletionFunc = unsafe extern "C" fn(opaque: *mut c_void, ret: c_int);

/// A piece of memory.
#[derive(Debug)]
#[repr(C)]
pub struct IoVec {
    /// Where it begins.
    pub base: *mut c_void,
    /// How long it is.
    pub length: usize,
}

/// Pieces of memory that are read into as one.
#[derive(Debug)]
#[repr(C)]
pub struct QEMUIOVector {
    /// The pieces.
    pub iov: *mut IoVec,
    /// How many.
    pub niov: c_int,
    /// What follows is a union in C, with pointers in it.
    _before_union: c_int,
    /// -1: the pieces belong to the caller.
    pub nalloc: c_int,
    _before_local: c_int,
    _local_base: *mut c_void,
    /// How long they are together.
    pub size: usize,
}

const _: () = assert!(size_of::<IoVec>() == size_of::<libc::iovec>());
const _: () = assert!(size_of::<QEMUIOVector>() == 40);
const _: () = assert!(offset_of!(QEMUIOVector, nalloc) == 16);
const _: () = assert!(offset_of!(QEMUIOVector, size) == 32);

impl QEMUIOVector {
    /// Returns a vector that is ready for [`qemu_iovec_init_external`].
    #[must_use]
    pub const fn new() -> Self {
        Self {
            iov: ptr::null_mut(),
            niov: 0,
            _before_union: 0,
            nalloc: -1,
            _before_local: 0,
            _local_base: ptr::null_mut(),
            size: 0,
        }
    }
}

impl Default for QEMUIOVector {
    fn default() -> Self {
        Self::new()
    }
}

/// What a user hears when a drained section begins, or ends: the last of those that overlap.
pub type DrainCallback = unsafe extern "C" fn(opaque: *mut c_void);

/// What a user hears of. The callbacks have places that depend on the release.
#[derive(Debug)]
#[repr(C)]
pub struct BlockDevOps {
    places: [Option<DrainCallback>; 8],
}

const _: () = assert!(size_of::<BlockDevOps>() == 64);

impl BlockDevOps {
    /// For releases from 8.1 on if `since_8_1`, else for those before.
    #[must_use]
    pub const fn new(since_8_1: bool, begin: DrainCallback, end: DrainCallback) -> Self {
        let mut places = [None; 8];
        let first = if since_8_1 { 3 } else { 5 };
        places[first] = Some(begin);
        places[first + 1] = Some(end);
        Self { places }
    }
}

/// What a user does with a node, or lets others do: the bits of `BLK_PERM_*`.
pub type BlockPermissions = u64;
/// Reads, and what it reads is the guest's view of the disk.
pub const BLK_PERM_CONSISTENT_READ: BlockPermissions = 0x01;
/// Everything.
pub const BLK_PERM_ALL: BlockPermissions = 0x0f;

/// How to do a request: the bits of `BdrvRequestFlags`.
pub type BdrvRequestFlags = c_uint;

unsafe extern "C" {
    /// Finds a node by the name of a device (`-drive id=`) or its own; either may be null. Lends the node.
    /// Global state.
    pub fn bdrv_lookup_bs(
        device: *const c_char,
        node_name: *const c_char,
        errp: *mut *mut Error,
    ) -> *mut BlockDriverState;
    /// Returns the context that a node is in. It changes under the BQL only.
    pub fn bdrv_get_aio_context(bs: *mut BlockDriverState) -> *mut AioContext;

    /// Makes a user of a node, which keeps the node alive. Global state; may run a nested event loop.
    pub fn blk_new_with_bs(
        bs: *mut BlockDriverState,
        perm: BlockPermissions,
        shared_perm: BlockPermissions,
        errp: *mut *mut Error,
    ) -> *mut BlockBackend;
    /// Gives a reference on a user back; with the last one its requests are waited for, and the node is let
    /// go. Global state; may run a nested event loop.
    pub fn blk_unref(blk: *mut BlockBackend);
    /// Lets the node move to another context while it has this user. Global state.
    pub fn blk_set_allow_aio_context_change(blk: *mut BlockBackend, allow: bool);
    /// Runs requests that come in a drained section at once, instead of queueing them: for users who send none.
    pub fn blk_set_disable_request_queuing(blk: *mut BlockBackend, disable: bool);
    /// Tells a user of drained sections, and at once if there is one. `ops` is kept, not copied, until it is
    /// set to null. Global state.
    pub fn blk_set_dev_ops(blk: *mut BlockBackend, ops: *const BlockDevOps, opaque: *mut c_void);
    /// Waits for the requests of a user. Global state; runs a nested event loop.
    pub fn blk_drain(blk: *mut BlockBackend);
    /// Begins a drained section of all nodes: waits until no request is under way. Global state, no context's
    /// lock held; runs a nested event loop.
    pub fn bdrv_drain_all_begin();
    /// Ends what [`bdrv_drain_all_begin`] began.
    pub fn bdrv_drain_all_end();
    /// Counts a request that is about to be made: a drained section waits for it. Any thread.
    pub fn blk_inc_in_flight(blk: *mut BlockBackend);
    /// Takes [`blk_inc_in_flight`] back. Any thread.
    pub fn blk_dec_in_flight(blk: *mut BlockBackend);

    /// Returns the context that a user's node is in.
    pub fn blk_get_aio_context(blk: *mut BlockBackend) -> *mut AioContext;
    /// Returns how long the node is, or a negative error number. I/O; outside of coroutines it may run a
    /// nested event loop since 8.0.
    pub fn blk_getlength(blk: *mut BlockBackend) -> i64;
    /// Starts to read. `qiov` and its memory stay until `cb` is called, which happens later, once: since
    /// 8.1 in the context of the caller, before in that of the node. I/O; callers in the node's context hold for all.
    pub fn blk_aio_preadv(
        blk: *mut BlockBackend,
        offset: i64,
        qiov: *mut QEMUIOVector,
        flags: BdrvRequestFlags,
        cb: BlockCompletionFunc,
        opaque: *mut c_void,
    ) -> *mut BlockAIOCB;

    /// Makes a vector of the caller's pieces, which stay where they are.
    pub fn qemu_iovec_init_external(qiov: *mut QEMUIOVector, iov: *mut IoVec, niov: c_int);
}

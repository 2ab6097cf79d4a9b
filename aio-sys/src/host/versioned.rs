//! The functions of QEMU that differ between releases.
//!
//! Owns one table of function pointers, looked up by name when [`resolve`] is called, and the knowledge
//! of which release takes which arguments. The rest of the crate sees one signature per function, the
//! one of 10.0.
//!
//! | what | until | since |
//! |---|---|---|
//! | `is_external` after the descriptor of `aio_set_fd_handler` | 8.0 | |
//! | `qemu_mutex_*_iothread*` instead of `bql_*` | 8.2 | |
//! | `aio_context_acquire`, `aio_context_release` | 8.2 | contexts have no lock |
//! | `bql_block_unlock` | | 9.x; before it nothing is blocked |
//! | `is_tray_open`, `resize_cb` before `drained_begin` in `BlockDevOps` | 8.0 | after `drained_poll` |
//! | `weight` before `errp` in `aio_context_set_poll_params` | | 11.1 |
//! | `iothread_unsafe_get_aio_context` instead of `iothread_get_aio_context` | | after 11.0 |
//!
//! Threads: any, after [`resolve`].

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use super::block::{BlockDevOps, DrainCallback};
use super::version::{FreeVersion, QueryVersion, Version, ask};
use crate::types::{
    AioContext, AioPollFn, Error, EventNotifier, EventNotifierHandler, IOHandler, IOThread,
};

type LockBql = unsafe extern "C" fn(*const c_char, c_int);
type UnlockBql = unsafe extern "C" fn();
type BqlLocked = unsafe extern "C" fn() -> bool;
type BlockUnlock = unsafe extern "C" fn(bool);
type LockContext = unsafe extern "C" fn(*mut AioContext);
type ContextOf = unsafe extern "C" fn(*mut IOThread) -> *mut AioContext;

type SetFd = unsafe extern "C" fn(
    *mut AioContext,
    c_int,
    Option<IOHandler>,
    Option<IOHandler>,
    Option<AioPollFn>,
    Option<IOHandler>,
    *mut c_void,
);
type SetExternalFd = unsafe extern "C" fn(
    *mut AioContext,
    c_int,
    bool,
    Option<IOHandler>,
    Option<IOHandler>,
    Option<AioPollFn>,
    Option<IOHandler>,
    *mut c_void,
);
type SetNotifier = unsafe extern "C" fn(
    *mut AioContext,
    *mut EventNotifier,
    Option<EventNotifierHandler>,
    Option<AioPollFn>,
    Option<EventNotifierHandler>,
);
type SetExternalNotifier = unsafe extern "C" fn(
    *mut AioContext,
    *mut EventNotifier,
    bool,
    Option<EventNotifierHandler>,
    Option<AioPollFn>,
    Option<EventNotifierHandler>,
);
type SetPoll = unsafe extern "C" fn(*mut AioContext, i64, i64, i64, *mut *mut Error);
type SetWeightedPoll = unsafe extern "C" fn(*mut AioContext, i64, i64, i64, i64, *mut *mut Error);

/// `aio_set_fd_handler` and `aio_set_event_notifier`.
#[derive(Clone, Copy)]
enum SetHandler {
    Plain(SetFd, SetNotifier),
    External(SetExternalFd, SetExternalNotifier),
}

/// `aio_context_set_poll_params`.
#[derive(Clone, Copy)]
enum SetPollParams {
    Plain(SetPoll),
    Weighted(SetWeightedPoll),
}

/// QEMU's own default for the weight of the newest measurement.
const POLL_WEIGHT: i64 = 3;

struct Table {
    version: Version,
    lock_bql: LockBql,
    unlock_bql: UnlockBql,
    bql_locked: BqlLocked,
    block_unlock: Option<BlockUnlock>,
    /// `aio_context_acquire` and `aio_context_release`.
    context_lock: Option<(LockContext, LockContext)>,
    set_handler: SetHandler,
    set_poll_params: SetPollParams,
    context_of: ContextOf,
}

/// Looks a symbol of the running program up.
///
/// # Safety
///
/// `T` is a pointer, and of the symbol's own type if it is called or followed.
pub(super) unsafe fn find<T: Copy>(name: &CStr) -> Option<T> {
    const { assert!(size_of::<T>() == size_of::<*mut c_void>()) };
    // SAFETY: the name is a NUL-terminated string.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: the caller's promise; function pointers have the size of others.
    (!symbol.is_null()).then(|| unsafe { std::mem::transmute_copy::<*mut c_void, T>(&symbol) })
}

fn missing(name: &CStr, version: Option<Version>) -> String {
    let name = name.to_string_lossy();
    let qemu = version.map_or_else(|| String::from("this program"), |it| format!("QEMU {it}"));
    format!("{qemu} does not export `{name}`, which the event loop needs")
}

/// Asks QEMU for its version.
fn ask_version() -> Result<Version, String> {
    let (query_name, free_name) = (c"qmp_query_version", c"qapi_free_VersionInfo");
    // SAFETY: that is QEMU's prototype.
    let query = unsafe { find::<QueryVersion>(query_name) };
    // SAFETY: that is QEMU's prototype.
    let free = unsafe { find::<FreeVersion>(free_name) };
    let query = query.ok_or_else(|| missing(query_name, None))?;
    let free = free.ok_or_else(|| missing(free_name, None))?;
    // SAFETY: these are QEMU's functions.
    Ok(unsafe { ask(query, free) })
}

impl Table {
    fn resolve() -> Result<Self, String> {
        let version = ask_version()?;
        let renamed = version >= Version::new(8, 2, 50);
        let name = |new, old| if renamed { new } else { old };
        let lock = name(c"bql_lock_impl", c"qemu_mutex_lock_iothread_impl");
        let unlock = name(c"bql_unlock", c"qemu_mutex_unlock_iothread");
        let locked = name(c"bql_locked", c"qemu_mutex_iothread_locked");
        Ok(Self {
            version,
            // SAFETY: that is the prototype of both names.
            lock_bql: unsafe { version.require(lock) }?,
            // SAFETY: that is the prototype of both names.
            unlock_bql: unsafe { version.require(unlock) }?,
            // SAFETY: that is the prototype of both names.
            bql_locked: unsafe { version.require(locked) }?,
            // SAFETY: that is the prototype.
            block_unlock: unsafe { find(c"bql_block_unlock") },
            context_lock: find_context_lock(),
            set_handler: SetHandler::resolve(version)?,
            set_poll_params: SetPollParams::resolve(version)?,
            context_of: resolve_context_of(version)?,
        })
    }
}

impl Version {
    /// # Safety
    ///
    /// As for [`find`].
    unsafe fn require<T: Copy>(self, name: &CStr) -> Result<T, String> {
        // SAFETY: the caller's promise.
        unsafe { find(name) }.ok_or_else(|| missing(name, Some(self)))
    }
}

impl SetHandler {
    fn resolve(version: Version) -> Result<Self, String> {
        let (fd, notifier) = (c"aio_set_fd_handler", c"aio_set_event_notifier");
        Ok(if version >= Version::new(8, 0, 50) {
            // SAFETY: that is the prototype since 8.1.
            let fd = unsafe { version.require(fd) }?;
            // SAFETY: as above.
            Self::Plain(fd, unsafe { version.require(notifier) }?)
        } else {
            // SAFETY: that is the prototype before 8.1.
            let fd = unsafe { version.require(fd) }?;
            // SAFETY: as above.
            Self::External(fd, unsafe { version.require(notifier) }?)
        })
    }
}

impl SetPollParams {
    fn resolve(version: Version) -> Result<Self, String> {
        let name = c"aio_context_set_poll_params";
        Ok(if version >= Version::new(11, 0, 50) {
            // SAFETY: that is the prototype since 11.1.
            Self::Weighted(unsafe { version.require(name) }?)
        } else {
            // SAFETY: that is the prototype before 11.1.
            Self::Plain(unsafe { version.require(name) }?)
        })
    }
}

fn resolve_context_of(version: Version) -> Result<ContextOf, String> {
    // SAFETY: that is the prototype of both names.
    let new = unsafe { find(c"iothread_unsafe_get_aio_context") };
    // SAFETY: as above.
    new.map_or_else(|| unsafe { version.require(c"iothread_get_aio_context") }, Ok)
}

fn find_context_lock() -> Option<(LockContext, LockContext)> {
    // SAFETY: that is the prototype.
    let acquire = unsafe { find(c"aio_context_acquire") }?;
    // SAFETY: that is the prototype.
    let release = unsafe { find(c"aio_context_release") }?;
    Some((acquire, release))
}

static TABLE: OnceLock<Result<Table, String>> = OnceLock::new();

/// Finds the functions that differ between releases. Call it before any other function here.
///
/// # Errors
///
/// A sentence that names the symbol which is missing, and the version of QEMU.
pub fn resolve() -> Result<(), String> {
    TABLE.get_or_init(Table::resolve).as_ref().map(|_| ()).map_err(Clone::clone)
}

/// Returns the release of the QEMU that loaded this program.
///
/// # Panics
///
/// Panics where [`resolve`] returns an error.
#[must_use]
pub fn version() -> Version {
    table().version
}

fn table() -> &'static Table {
    match TABLE.get_or_init(Table::resolve) {
        Ok(table) => table,
        Err(missing) => panic!("{missing}"),
    }
}

/// Takes the BQL.
///
/// # Safety
///
/// `file` is a string that lives for ever.
pub unsafe extern "C" fn bql_lock_impl(file: *const c_char, line: c_int) {
    // SAFETY: the caller's promise.
    unsafe { (table().lock_bql)(file, line) };
}

/// Releases the BQL.
///
/// # Safety
///
/// Nothing that the BQL protects is used until it is taken again.
pub unsafe extern "C" fn bql_unlock() {
    // SAFETY: the caller's promise.
    unsafe { (table().unlock_bql)() };
}

/// Says whether the calling thread holds the BQL.
#[must_use]
pub extern "C" fn bql_locked() -> bool {
    // SAFETY: the function reads a thread-local flag.
    unsafe { (table().bql_locked)() }
}

/// Forbids to release the BQL, or allows it again. A QEMU without the function does not check.
pub extern "C" fn bql_block_unlock(increase: bool) {
    if let Some(block_unlock) = table().block_unlock {
        // SAFETY: the function counts, and aborts on misuse.
        unsafe { block_unlock(increase) };
    }
}

/// Returns what a user of a block node hears of drained sections with, in this release.
#[must_use]
pub fn drained_ops(begin: DrainCallback, end: DrainCallback) -> BlockDevOps {
    BlockDevOps::new(version() >= Version::new(8, 0, 50), begin, end)
}

/// Takes the lock of a context, if contexts have one. The thread that has it may take it again.
///
/// # Safety
///
/// `ctx` is alive.
pub unsafe extern "C" fn aio_context_acquire(ctx: *mut AioContext) {
    if let Some((acquire, _)) = table().context_lock {
        // SAFETY: the caller's promise.
        unsafe { acquire(ctx) };
    }
}

/// Gives the lock of a context back.
///
/// # Safety
///
/// `ctx` is alive, and this thread has taken its lock.
pub unsafe extern "C" fn aio_context_release(ctx: *mut AioContext) {
    if let Some((_, release)) = table().context_lock {
        // SAFETY: the caller's promise.
        unsafe { release(ctx) };
    }
}

/// Registers callbacks for a descriptor.
///
/// # Safety
///
/// As for the emulation's twin.
pub unsafe extern "C" fn aio_set_fd_handler(
    ctx: *mut AioContext,
    fd: c_int,
    io_read: Option<IOHandler>,
    io_write: Option<IOHandler>,
    io_poll: Option<AioPollFn>,
    io_poll_ready: Option<IOHandler>,
    opaque: *mut c_void,
) {
    match table().set_handler {
        // SAFETY: the caller's promise.
        SetHandler::Plain(set, _) => unsafe {
            set(ctx, fd, io_read, io_write, io_poll, io_poll_ready, opaque);
        },
        // SAFETY: the caller's promise. Handlers of the guest would be external; these are not.
        SetHandler::External(set, _) => unsafe {
            set(ctx, fd, false, io_read, io_write, io_poll, io_poll_ready, opaque);
        },
    }
}

/// Registers callbacks for an event notifier.
///
/// # Safety
///
/// As for the emulation's twin.
pub unsafe extern "C" fn aio_set_event_notifier(
    ctx: *mut AioContext,
    notifier: *mut EventNotifier,
    io_read: Option<EventNotifierHandler>,
    io_poll: Option<AioPollFn>,
    io_poll_ready: Option<EventNotifierHandler>,
) {
    match table().set_handler {
        // SAFETY: the caller's promise.
        SetHandler::Plain(_, set) => unsafe { set(ctx, notifier, io_read, io_poll, io_poll_ready) },
        // SAFETY: as in `aio_set_fd_handler`.
        SetHandler::External(_, set) => unsafe {
            set(ctx, notifier, false, io_read, io_poll, io_poll_ready);
        },
    }
}

/// Sets how long a context may busy-poll.
///
/// # Safety
///
/// As for the emulation's twin.
pub unsafe extern "C" fn aio_context_set_poll_params(
    ctx: *mut AioContext,
    max_ns: i64,
    grow: i64,
    shrink: i64,
    errp: *mut *mut Error,
) {
    match table().set_poll_params {
        // SAFETY: the caller's promise.
        SetPollParams::Plain(set) => unsafe { set(ctx, max_ns, grow, shrink, errp) },
        // SAFETY: the caller's promise.
        SetPollParams::Weighted(set) => unsafe {
            set(ctx, max_ns, grow, shrink, POLL_WEIGHT, errp);
        },
    }
}

/// Returns the context of an iothread, borrowed from it.
///
/// # Safety
///
/// `iothread` is alive.
#[must_use]
pub unsafe extern "C" fn iothread_get_aio_context(iothread: *mut IOThread) -> *mut AioContext {
    // SAFETY: the caller's promise.
    unsafe { (table().context_of)(iothread) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_qemu_one_sentence_names_what_is_missing() {
        let sentence =
            "this program does not export `qmp_query_version`, which the event loop needs";
        assert_eq!(resolve(), Err(String::from(sentence)));
    }

    #[test]
    fn what_a_known_release_lacks_is_named_with_the_release() {
        // SAFETY: the symbol does not exist.
        let found = unsafe { Version::new(10, 0, 2).require::<UnlockBql>(c"no_such_symbol") };
        let sentence = "QEMU 10.0.2 does not export `no_such_symbol`, which the event loop needs";
        assert_eq!(found.err().as_deref(), Some(sentence));
    }

    #[test]
    fn a_symbol_of_the_program_is_found() {
        // SAFETY: the function is not called.
        assert!(unsafe { find::<UnlockBql>(c"malloc") }.is_some());
    }
}

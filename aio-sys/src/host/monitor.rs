//! QEMU's monitor: commands, JSON objects and errors.
//!
//! The emulation has no twin of these: programs without QEMU have no QMP dispatcher of C's. All of them
//! are the same in every supported release.
//!
//! Threads: [`qmp_register_command`] only while QEMU starts, since the list has no lock and monitors read it
//! from threads of their own. The rest from any thread, on objects of the caller's own: before 10.2 the
//! reference count of a [`QObject`] is no atomic.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::marker::{PhantomData, PhantomPinned};

use crate::types::Error;

type Hidden = PhantomData<(*mut u8, PhantomPinned)>;

/// A value of JSON, counted.
#[derive(Debug)]
#[repr(C)]
pub struct QObject {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// An object of JSON. Begins as a [`QObject`] does, so that a pointer to the one is a pointer to the other.
#[derive(Debug)]
#[repr(C)]
pub struct QDict {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// The commands of a monitor.
#[derive(Debug)]
#[repr(C)]
pub struct QmpCommandList {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// A command of [`QmpCommandList`].
#[derive(Debug)]
#[repr(C)]
pub struct QmpCommand {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// A client's end of the monitor.
#[derive(Debug)]
#[repr(C)]
pub struct Monitor {
    _bytes: [u8; 0],
    _hidden: Hidden,
}

/// `GLib`'s string buffer.
#[derive(Debug)]
#[repr(C)]
pub struct GString {
    /// The text, NUL-terminated.
    pub text: *mut c_char,
    /// How long the text is without the NUL.
    pub len: usize,
    /// How much memory it has.
    pub allocated_len: usize,
}

/// The function of a command: gets its arguments, lent, and owes a result or an error.
pub type QmpCommandFunc =
    unsafe extern "C" fn(args: *mut QDict, ret: *mut *mut QObject, errp: *mut *mut Error);

/// How a command runs: the bits of `QmpCommandOptions`.
pub type QmpCommandOptions = c_uint;
/// Outside of coroutines, in the main loop.
pub const QCO_NO_OPTIONS: QmpCommandOptions = 0;
/// Also out of band, in the monitor's thread.
pub const QCO_ALLOW_OOB: QmpCommandOptions = 1 << 1;
/// In a coroutine of the main context.
pub const QCO_COROUTINE: QmpCommandOptions = 1 << 3;

/// What a job is at: the numbers of `JobStatus`.
pub type JobStatus = c_uint;
/// `created`.
pub const JOB_STATUS_CREATED: JobStatus = 1;
/// `running`.
pub const JOB_STATUS_RUNNING: JobStatus = 2;
/// `waiting`.
pub const JOB_STATUS_WAITING: JobStatus = 6;
/// `pending`.
pub const JOB_STATUS_PENDING: JobStatus = 7;
/// `aborting`.
pub const JOB_STATUS_ABORTING: JobStatus = 8;
/// `concluded`.
pub const JOB_STATUS_CONCLUDED: JobStatus = 9;
/// `null`.
pub const JOB_STATUS_NULL: JobStatus = 10;

/// Sends the event `JOB_STATUS_CHANGE` to all monitors. Any thread that holds the BQL; `id` is lent.
pub type SendJobStatus = unsafe extern "C" fn(id: *const c_char, status: JobStatus);

/// The class of an error: the numbers of `ErrorClass`.
pub type ErrorClass = c_uint;
/// `GenericError`.
pub const ERROR_CLASS_GENERIC_ERROR: ErrorClass = 0;
/// `CommandNotFound`.
pub const ERROR_CLASS_COMMAND_NOT_FOUND: ErrorClass = 1;
/// `DeviceNotActive`.
pub const ERROR_CLASS_DEVICE_NOT_ACTIVE: ErrorClass = 2;
/// `DeviceNotFound`.
pub const ERROR_CLASS_DEVICE_NOT_FOUND: ErrorClass = 3;
/// `KVMMissingCap`.
pub const ERROR_CLASS_KVM_MISSING_CAP: ErrorClass = 4;

unsafe extern "C" {
    /// The commands of a monitor that has negotiated.
    pub static mut qmp_commands: QmpCommandList;

    /// Adds a command. The name is kept, not copied; there is no way to take the command back.
    ///
    /// `features` had 32 bits before 10.0; as an argument that is the same register.
    pub fn qmp_register_command(
        cmds: *mut QmpCommandList,
        name: *const c_char,
        func: QmpCommandFunc,
        options: QmpCommandOptions,
        features: u64,
    );
    /// Finds a command, or returns null.
    pub fn qmp_find_command(cmds: *const QmpCommandList, name: *const c_char) -> *const QmpCommand;

    /// Runs the command that `request` asks for, and returns the reply, or null if the command has none.
    /// The coroutine that calls it is left meanwhile. Main loop, lock held; without a monitor, commands
    /// that want one crash.
    pub fn qmp_dispatch(
        cmds: *const QmpCommandList,
        request: *mut QObject,
        allow_oob: bool,
        cur_mon: *mut Monitor,
    ) -> *mut QDict;
    /// Calls a function for every command of a list.
    pub fn qmp_for_each_command(
        cmds: *const QmpCommandList,
        call: unsafe extern "C" fn(cmd: *const QmpCommand, opaque: *mut c_void),
        opaque: *mut c_void,
    );
    /// Returns the name of a command, which lives as long as the command.
    pub fn qmp_command_name(cmd: *const QmpCommand) -> *const c_char;
    /// Says whether a command can be called.
    pub fn qmp_command_is_enabled(cmd: *const QmpCommand) -> bool;

    /// Gives a reference on an object back. Null is nothing.
    pub fn qdict_unref(dict: *mut QDict);

    /// Writes a value as JSON into a new buffer.
    pub fn qobject_to_json(obj: *const QObject) -> *mut GString;
    /// Makes a value of JSON, or returns null and an error.
    pub fn qobject_from_json(string: *const c_char, errp: *mut *mut Error) -> *mut QObject;
    /// Frees a buffer, and the text with it if `free_segment`.
    pub fn g_string_free(string: *mut GString, free_segment: c_int) -> *mut c_char;

    /// Makes an error. `src` and `func` are kept, not copied; the rest is as for `printf`.
    pub fn error_set_internal(
        errp: *mut *mut Error,
        src: *const c_char,
        line: c_int,
        func: *const c_char,
        err_class: ErrorClass,
        fmt: *const c_char,
        ...
    );
    /// Hands an error on to the caller's caller.
    pub fn error_propagate(dst_errp: *mut *mut Error, local_err: *mut Error);
}

/// A value of JSON seen as what it begins with (`QOBJECT`).
#[must_use]
pub fn qobject(dict: *mut QDict) -> *mut QObject {
    dict.cast::<c_void>().cast()
}

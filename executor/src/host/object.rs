//! Arguments, results and errors of QEMU's own commands, as JSON.
//!
//! JSON text is the border: C's objects are counted without atomics and their layout is nobody's business,
//! and the text is what the wire carries anyway.

use std::ffi::{CStr, CString};
use std::ptr;

use aio_sys::host::{GString, QDict, QObject};
use serde::de::DeserializeOwned;

use crate::qmp::{Arguments, Error, ErrorClass, Json};

/// Where errors say that they come from.
const SOURCE: &CStr = c"executor/src/host/object.rs";
const FUNCTION: &CStr = c"qmp_command";

/// The arguments of a command.
///
/// # Safety
///
/// `args` is a live object, or null for none.
pub(super) unsafe fn arguments(args: *mut QDict) -> Result<Arguments, Error> {
    if args.is_null() {
        return Ok(Arguments::new());
    }
    // SAFETY: alive by this function's contract.
    unsafe { read(aio_sys::host::qobject(args)) }
}

/// A value of C's.
///
/// # Safety
///
/// `object` is alive.
pub(super) unsafe fn read<T: DeserializeOwned>(object: *const QObject) -> Result<T, Error> {
    // SAFETY: alive by this function's contract.
    let text = Text(unsafe { aio_sys::host::qobject_to_json(object) });
    serde_json::from_slice(text.as_bytes())
        .map_err(|error| Error::generic(format!("A value of QEMU's is not JSON: {error}")))
}

/// A buffer of `GLib`'s that is ours.
struct Text(*mut GString);

impl Text {
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: [layout]; the buffer is ours until it is dropped.
        let GString { text, len, .. } = unsafe { ptr::read(self.0) };
        // SAFETY: the buffer has that much text, which nobody changes.
        unsafe { std::slice::from_raw_parts(text.cast(), len) }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: ours, and used no more.
        unsafe { aio_sys::host::g_string_free(self.0, 1) };
    }
}

/// Gives a result to C.
///
/// # Safety
///
/// `ret` and `errp` are as C hands them to the function of a command.
pub(super) unsafe fn return_json(
    json: &Json,
    ret: *mut *mut QObject,
    errp: *mut *mut aio_sys::Error,
) {
    let text = CString::new(json.as_str()).expect("the writer escapes what is not printable");
    let mut error = ptr::null_mut();
    // SAFETY: a NUL-terminated string; `error` is null and outlives the call.
    let object = unsafe { aio_sys::host::qobject_from_json(text.as_ptr(), &raw mut error) };
    if object.is_null() {
        // SAFETY: by this function's contract; the error is ours to give away.
        unsafe { aio_sys::host::error_propagate(errp, error) };
    } else {
        // SAFETY: by this function's contract; the caller takes the reference.
        unsafe { ret.write(object) };
    }
}

/// Gives an error to C.
///
/// # Safety
///
/// `errp` is as C hands it to the function of a command.
pub(super) unsafe fn return_error(error: &Error, errp: *mut *mut aio_sys::Error) {
    // A C string ends at a NUL, so none may be in it.
    let text = CString::new(error.description().replace('\0', "\u{fffd}"))
        .expect("there is no NUL any more");
    let line = i32::try_from(line!()).expect("it is a short file");
    // SAFETY: by this function's contract; the format takes one string, and the others are static.
    unsafe {
        aio_sys::host::error_set_internal(
            errp,
            SOURCE.as_ptr(),
            line,
            FUNCTION.as_ptr(),
            class(error.class()),
            c"%s".as_ptr(),
            text.as_ptr(),
        );
    }
}

fn class(class: ErrorClass) -> aio_sys::host::ErrorClass {
    match class {
        ErrorClass::GenericError => aio_sys::host::ERROR_CLASS_GENERIC_ERROR,
        ErrorClass::CommandNotFound => aio_sys::host::ERROR_CLASS_COMMAND_NOT_FOUND,
        ErrorClass::DeviceNotActive => aio_sys::host::ERROR_CLASS_DEVICE_NOT_ACTIVE,
        ErrorClass::DeviceNotFound => aio_sys::host::ERROR_CLASS_DEVICE_NOT_FOUND,
        ErrorClass::KvmMissingCap => aio_sys::host::ERROR_CLASS_KVM_MISSING_CAP,
    }
}

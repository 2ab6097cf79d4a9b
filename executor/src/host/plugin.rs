//! Where QEMU calls a plugin.
//!
//! A plugin is a library (`crate-type = ["cdylib"]`) with the feature `plugin` of this crate and one function, which
//! QEMU finds by its name; [`install`] does what all of them do. A whole one is `examples/first_command`:
//!
//! ```ignore
//! #[unsafe(no_mangle)]
//! unsafe extern "C" fn qemu_plugin_install(
//!     _id: u64,
//!     _info: *const c_void,
//!     argc: c_int,
//!     argv: *const *const c_char,
//! ) -> c_int {
//!     // SAFETY: QEMU calls this, with `argc` strings.
//!     unsafe { plugin::install(argc, argv, |_arguments| host::attach(Options::default(), register)?) }
//! }
//! ```
//!
//! Threads: QEMU's main thread, under the Big QEMU Lock, while QEMU starts.

use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use super::Refusal;

/// Runs `program` with the arguments of the plugin, as `qemu_plugin_install` is to; returns what that is to return.
///
/// The arguments are those of `-plugin FILE,KEY=VALUE,…`, as `KEY=VALUE`. If the program is refused, or panics, that
/// is said on standard error, and QEMU ends: a plugin that cannot be installed is an error of its command line.
///
/// # Safety
///
/// To be called in `qemu_plugin_install`, with what QEMU gives to that: `argv` has `argc` strings.
pub unsafe fn install(
    argc: c_int,
    argv: *const *const c_char,
    program: impl FnOnce(&[String]) -> Result<(), Refusal>,
) -> c_int {
    // SAFETY: [loading] by this function's contract.
    let arguments = unsafe { strings(argc, argv) };
    // Whatever the panic has left broken, QEMU ends.
    let reason = match catch_unwind(AssertUnwindSafe(|| program(&arguments))) {
        Ok(Ok(())) => return 0,
        Ok(Err(refusal)) => refusal.to_string(),
        Err(_panic) => "it has a bug, see above".to_owned(),
    };
    say(&reason);
    1
}

/// QEMU ends, and itself says only that the plugin wanted it.
#[allow(clippy::print_stderr, reason = "there is nobody else to tell")]
fn say(reason: &str) {
    eprintln!("qemu_plugin: {reason}");
}

/// # Safety
///
/// `argv` has `argc` strings.
unsafe fn strings(argc: c_int, argv: *const *const c_char) -> Vec<String> {
    let count = usize::try_from(argc).unwrap_or(0);
    if count == 0 {
        return Vec::new();
    }
    // SAFETY: [loading] by this function's contract; QEMU leaves the array alone meanwhile.
    let strings = unsafe { slice::from_raw_parts(argv, count) };
    let string = |string: &*const c_char| {
        // SAFETY: [loading] by this function's contract.
        unsafe { CStr::from_ptr(*string) }.to_string_lossy().into_owned()
    };
    strings.iter().map(string).collect()
}

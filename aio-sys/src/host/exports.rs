//! What QEMU looks for in a plugin before it calls anything: the version of the interface.
//!
//! Owns the one symbol that this crate exports, and only with the feature `plugin`: the library that is built with it
//! is a plugin of QEMU's.
//!
//! Threads: QEMU's main thread, while the library is loaded.

use std::sync::atomic::{AtomicI32, Ordering};

use super::plugin::plugin_version;

/// The version that the library asks for. QEMU reads it after it has loaded the library.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "QEMU looks for this name")]
static qemu_plugin_version: AtomicI32 = AtomicI32::new(1);

/// Releases of QEMU accept different versions, so the choice is made when the library is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static CHOOSE_VERSION: extern "C" fn() = choose_version;

extern "C" fn choose_version() {
    // Relaxed: QEMU reads it in this thread.
    qemu_plugin_version.store(plugin_version(), Ordering::Relaxed);
}

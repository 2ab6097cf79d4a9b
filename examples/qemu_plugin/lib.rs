//! A plugin that gives QEMU, as distributions ship it, QMP commands in async Rust.
//!
//! ```text
//! cargo build --release --example qemu_plugin --features host
//! qemu-system-x86_64 … -accel tcg -plugin target/release/examples/libqemu_plugin.so
//! ```
//!
//! The commands of `examples/commands` that QEMU does not have are then in its monitors, next to its own.
//! They run in QEMU's main loop, under its lock, and in its iothreads. One and the same file loads into
//! QEMU 7.2 and everything newer that exports its symbols, as builds with modules do.
//!
//! The commands of `block/`, which read disks, are for QEMU only.
//!
//! This file is the way in: the two symbols that QEMU looks for. What can be asked of the plugin is in
//! `arguments.rs`; `server.rs` is the QMP server that listens besides QEMU's own.
//!
//! Threads: everything here runs in QEMU's main thread, under the Big QEMU Lock, while QEMU starts.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::catch_unwind;
use std::slice;
use std::sync::atomic::{AtomicI32, Ordering};

use executor::MainCx;
use executor::host::{self, Loading};
use executor::qmp::{EventSink, Jobs, Registry};

mod arguments;
mod block;
#[path = "../commands/mod.rs"]
#[allow(dead_code, unused_imports, reason = "QEMU has the other commands itself")]
mod commands;
mod selftest;
mod server;
mod trace;

use arguments::Arguments;
use trace::Trace;

/// The version of the plugin interface that this library asks for. QEMU reads it after it has loaded the
/// library and before it calls anything.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "QEMU looks for this name")]
static qemu_plugin_version: AtomicI32 = AtomicI32::new(1);

/// Releases of QEMU accept different versions, so the choice is made when the library is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static CHOOSE_VERSION: extern "C" fn() = choose_version;

extern "C" fn choose_version() {
    // Relaxed: QEMU reads it in this thread.
    qemu_plugin_version.store(aio_sys::host::plugin_version(), Ordering::Relaxed);
}

/// What QEMU calls to install the plugin. Returns 0, or says on standard error what is wrong.
///
/// # Safety
///
/// As QEMU calls it: `argv` has `argc` strings.
#[unsafe(no_mangle)]
unsafe extern "C" fn qemu_plugin_install(
    _id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: by this function's contract.
    let given = unsafe { strings(argc, argv) };
    let installed = catch_unwind(|| install(&given));
    let reason = match installed {
        Ok(Ok(())) => return 0,
        Ok(Err(reason)) => reason,
        Err(_panic) => "it has a bug, see above".to_owned(),
    };
    eprintln!("qemu_plugin: {reason}");
    1
}

/// # Safety
///
/// `argv` has `argc` strings.
unsafe fn strings(argc: c_int, argv: *const *const c_char) -> Vec<String> {
    let count = usize::try_from(argc).unwrap_or(0);
    if count == 0 {
        return Vec::new();
    }
    // SAFETY: by this function's contract; QEMU leaves the array alone meanwhile.
    let strings = unsafe { slice::from_raw_parts(argv, count) };
    let string = |string: &*const c_char| {
        // SAFETY: by this function's contract.
        unsafe { CStr::from_ptr(*string) }.to_string_lossy().into_owned()
    };
    strings.iter().map(string).collect()
}

fn install(given: &[String]) -> Result<(), String> {
    let arguments = Arguments::parse(given)?;
    host::attach(arguments.options(), |loading| register(loading, &arguments))
        .and_then(|registered| registered)
        .map_err(|refusal| refusal.to_string())
}

fn register(loading: &mut Loading<'_>, arguments: &Arguments) -> Result<(), host::Refusal> {
    if arguments.accounts {
        commands::observers::keep_accounts();
    }
    let trace = arguments.trace.as_ref().map(Trace::open).transpose();
    let trace = trace.map_err(|error| host::Refusal::because(error.to_string()))?;
    if let Some(trace) = &trace {
        trace.panics();
        trace.guest(loading.cx());
    }
    // QEMU's monitors have no room for events of ours; nobody hears these. Of jobs they do hear.
    let (nobody, jobs) = (EventSink::new(), loading.jobs());
    let registry = extensions(loading.cx(), &nobody, &jobs, arguments, trace.as_ref());
    if arguments.has_server() {
        let served = server::start(loading, &jobs, arguments, trace.as_ref());
        served.map_err(|error| host::Refusal::because(error.to_string()))?;
    }
    loading.register(registry, arguments.commands.as_deref())
}

/// The commands that QEMU does not have.
fn extensions(
    cx: &MainCx,
    events: &EventSink,
    jobs: &Jobs,
    arguments: &Arguments,
    trace: Option<&Trace>,
) -> Registry {
    let mut registry = Registry::new();
    if arguments.selftest {
        selftest::register(&mut registry);
    }
    // QEMU's clients command a program that opens any file for them.
    let files = commands::files::Files::default();
    commands::register_with_jobs(&mut registry, cx.probe(), events, files, jobs);
    block::register(&mut registry, events, jobs);
    if let Some(trace) = trace.cloned() {
        registry.observe(move |event| trace.command(event));
    }
    registry
}

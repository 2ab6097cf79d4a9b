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
//! This file is the way in: the function that QEMU looks for. What can be asked of the plugin is in
//! `arguments.rs`; `server.rs` is the QMP server that listens besides QEMU's own.
//!
//! Threads: everything here runs in QEMU's main thread, under the Big QEMU Lock, while QEMU starts.

use std::ffi::{c_char, c_int, c_void};

use executor::MainCx;
use executor::host::{self, Loading, Refusal, plugin};
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
    unsafe { plugin::install(argc, argv, install) }
}

fn install(given: &[String]) -> Result<(), Refusal> {
    let arguments = Arguments::parse(given).map_err(Refusal::because)?;
    host::attach(arguments.options(), |loading| register(loading, &arguments))?
}

fn register(loading: &mut Loading<'_>, arguments: &Arguments) -> Result<(), Refusal> {
    if arguments.accounts {
        commands::observers::keep_accounts();
    }
    let trace = arguments.trace.as_ref().map(Trace::open).transpose();
    let trace = trace.map_err(|error| Refusal::because(error.to_string()))?;
    if let Some(trace) = &trace {
        trace.panics();
        trace.guest(loading.cx());
    }
    // QEMU's monitors have no room for events of ours; nobody hears these. Of jobs they do hear.
    let (nobody, jobs) = (EventSink::new(), loading.jobs());
    let registry = extensions(loading.cx(), &nobody, &jobs, arguments, trace.as_ref());
    if arguments.has_server() {
        let served = server::start(loading, &jobs, arguments, trace.as_ref());
        served.map_err(|error| Refusal::because(error.to_string()))?;
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
    if arguments.naive {
        block::naive::register(&mut registry);
    }
    if let Some(trace) = trace.cloned() {
        registry.observe(move |event| trace.command(event));
    }
    registry
}

//! A QMP server of our own, inside QEMU: `qmp=unix:PATH`, or `qmp-connect=unix:PATH` for a client that listens.
//!
//! QEMU's dispatcher runs one command at a time in the whole process, so a command that waits holds up
//! every monitor. Here each command is a task of its own, and QEMU's own commands take turns beside them. So
//! clients do not wait for each other; one that enables `x-concurrent` does not wait for itself either.
//!
//! What a client passes with `getfd` is for our commands; those of QEMU's that take one refuse, since theirs are a
//! monitor's of QEMU's own.
//!
//! The server ends with QEMU: clients whose commands were cancelled are told so before.
//!
//! Threads: the main loop's; the server has a thread of its own for its clients.

use std::io;

use executor::host::{self, Loading};
use executor::qmp::{EventSink, Jobs, Server, SessionOptions, Version};
use executor::{MainCx, block_on};

use super::arguments::Arguments;
use super::extensions;
use super::trace::Trace;

/// Starts the server.
pub(super) fn start(
    loading: &mut Loading<'_>,
    jobs: &Jobs,
    arguments: &Arguments,
    trace: Option<&Trace>,
) -> io::Result<()> {
    let events = EventSink::new();
    if let Err(refusal) = loading.forward_events(events.clone()) {
        eprintln!("qemu_plugin: clients hear no events of QEMU's: {refusal}");
    }
    let cx = loading.cx();
    let mut registry = extensions(cx, &events, jobs, arguments, trace);
    registry.add_query_commands();
    registry.add_fd_commands();
    registry.set_fallback(host::find_builtin, host::builtin_names);
    let mut options = SessionOptions::new(version());
    options.offers_concurrent = true;
    let server = Server::start_with_events(cx, registry, options, events)?;
    arguments.qmp.iter().try_for_each(|address| server.listen(address))?;
    arguments.qmp_connect.iter().try_for_each(|address| server.connect(address))?;
    loading.on_shutdown(|nc| block_on(nc, async move |_: &MainCx| server.shutdown().await));
    Ok(())
}

/// What clients are greeted with: the QEMU that they are in.
fn version() -> Version {
    Version { qemu: host::qemu_version(), package: "async executor".into() }
}

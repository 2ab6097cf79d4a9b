//! A QMP server of our own, inside QEMU: `qmp=unix:PATH`.
//!
//! QEMU's dispatcher runs one command at a time in the whole process, so a command that waits holds up
//! every monitor. Here each command is a task of its own, and QEMU's own commands take turns beside them.
//!
//! Owns the server, in a task that ends with QEMU.
//!
//! Threads: the main loop's; the server has a thread of its own for its clients.

use std::future::pending;
use std::io;

use executor::MainCx;
use executor::host;
use executor::qmp::{Address, EventSink, Server, SessionOptions, Version};

use super::extensions;

/// Starts the server.
pub(super) fn start(cx: &MainCx, addresses: &[Address]) -> io::Result<()> {
    let events = EventSink::new();
    let mut registry = extensions(cx, &events);
    registry.set_fallback(host::find_builtin);
    let options = SessionOptions::new(version());
    let server = Server::start_with_events(cx, registry, options, events)?;
    addresses.iter().try_for_each(|address| server.listen(address))?;
    cx.spawn_named("qmp:server", async move |_: &MainCx| {
        let _until_qemu_ends = server;
        pending::<()>().await;
    })
    .detach();
    Ok(())
}

/// What clients are greeted with: the QEMU that they are in.
fn version() -> Version {
    Version { qemu: host::qemu_version(), package: "async executor".into() }
}

//! The demonstration: one client works, another one watches what that costs.
//!
//! Starts the main loop, two iothreads and the server on a socket in a temporary folder, and connects two
//! clients, which are ordinary threads with ordinary sockets. **A** asks for checksums of a file of 256 MiB
//! that was made for the purpose. **B** asks `query-status` once a millisecond, and measures how long each
//! reply takes:
//!
//! 1. while nothing else runs,
//! 2. while A's command is async: it reads in a pool of threads and hashes in an iothread,
//! 3. while A's command does the same work in the main loop, as a handler does that cannot await.
//!
//! All digests are compared with those that were computed while the file was written. The folder is removed
//! however this ends, short of SIGKILL.
//!
//! Threads: [`run`] on the main loop, the clients in the pool for blocking work and a thread of A's own.

use std::io;
use std::process::ExitCode;

use executor::MainCx;
use executor::blocking::blocking;
use executor::qmp::Address;
use futures_util::future::{Either, select};

use super::Options;
use super::service::Service;
use super::signals::Signals;

mod client;
mod files;
mod in_main_loop;
mod latency;
mod report;
mod script;

use files::Folder;

/// Shows everything, and returns the exit status.
pub(super) async fn run(cx: &MainCx) -> io::Result<ExitCode> {
    let signals = Signals::new()?;
    let folder = Folder::new()?;
    let socket = folder.path().join("qmp.sock");
    let options = Options {
        files: None,
        qmp: vec![Address::Unix(socket.clone())],
        iothread: vec!["io0".into(), "io1".into()],
        name: Some("demo".into()),
        qmp_connect: Vec::new(),
        command_timeout: None,
        watchdog: 0,
        trace: None,
        pretty: false,
    };
    let service = Service::start(cx, &options, in_main_loop::register).await?;
    let data = folder.path().join("data");
    let clients = blocking(move || script::play(&socket, &data));

    let ended = {
        let interrupted = std::pin::pin!(service.wait_for_the_end(cx, &signals));
        match select(clients, interrupted).await {
            Either::Left((played, _)) => Some(played?),
            Either::Right(_) => None,
        }
    };
    service.end(cx).await;
    match ended {
        Some(played) => Ok(report::print(&played?)),
        None => Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted; cleaned up")),
    }
}

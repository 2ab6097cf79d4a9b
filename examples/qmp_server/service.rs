//! The server with its commands, from start to end.
//!
//! Owns the order in which things begin and end: the events before the commands that send them, the commands
//! before the server, the iothreads before the first client; and at the end the clients and
//! their commands before the iothreads that those may be working in.
//!
//! Threads: the main loop's.

use std::io;

use executor::MainCx;
use executor::qmp::{Address, EventSink, Registry, Server, SessionOptions};
use futures_util::future::{Either, select};

use super::Options;
use super::commands::files::Files;
use super::commands::machine::{MACHINE, ShutdownCause};
use super::commands::{self, iothreads};
use super::signals::Signals;

/// A server that takes clients.
pub(super) struct Service {
    server: Server,
    events: EventSink,
}

impl Service {
    /// Starts what `options` says, with the commands of `more` on top.
    pub(super) async fn start(
        cx: &MainCx,
        options: &Options,
        more: impl FnOnce(&mut Registry),
    ) -> io::Result<Self> {
        let events = EventSink::new();
        let mut registry = Registry::new();
        registry.add_query_commands();
        registry.add_query_schema();
        registry.add_human_monitor();
        registry.add_fd_commands();
        commands::register_machine(&mut registry, options.name.clone(), &events);
        let files = match &options.files {
            None => Files::default(),
            Some(folder) => Files::below(folder).map_err(|error| {
                io::Error::new(error.kind(), format!("--files {}: {error}", folder.display()))
            })?,
        };
        commands::register_extensions(&mut registry, cx.probe(), &events, files);
        options.command_timeout.into_iter().for_each(|limit| registry.set_timeout(limit));
        more(&mut registry);
        let mut session = SessionOptions::new(commands::query::version());
        session.pretty = options.pretty;
        session.offers_concurrent = true;
        let server = Server::start_with_events(cx, registry, session, events.clone())?;
        let service = Self { server, events };
        match service.open(cx, options).await {
            Ok(()) => Ok(service),
            Err(error) => {
                service.end(cx).await;
                Err(error)
            }
        }
    }

    async fn open(&self, cx: &MainCx, options: &Options) -> io::Result<()> {
        for id in &options.iothread {
            let failed = |error| io::Error::other(format!("iothread '{id}': {error}"));
            iothreads::add(cx, id).await.map_err(failed)?;
        }
        options.qmp.iter().try_for_each(|address| self.server.listen(address))?;
        options.qmp_connect.iter().try_for_each(|address| self.server.connect(address))
    }

    /// Returns where clients can connect.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.server.local_addresses()
    }

    /// Waits until a client or a signal ends the program, and tells the clients.
    pub(super) async fn wait_for_the_end(&self, cx: &MainCx, signals: &Signals) -> ShutdownCause {
        let quit = std::pin::pin!(MACHINE.shutdown_requested(cx));
        let signal = std::pin::pin!(signals.next());
        match select(quit, signal).await {
            Either::Left((cause, _)) => cause,
            Either::Right(_) => {
                let cause = ShutdownCause::HostSignal;
                cx.bql(|bql| MACHINE.request_shutdown(bql, cause, &self.events));
                cause
            }
        }
    }

    /// Ends everything; when this has completed, nothing is left.
    pub(super) async fn end(self, cx: &MainCx) {
        self.server.shutdown().await;
        cx.bql(iothreads::end_all);
    }
}

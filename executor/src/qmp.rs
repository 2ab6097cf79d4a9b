//! QMP, the QEMU Monitor Protocol: commands, events and the wire.
//!
//! The protocol is independent of the host. A [`Server`] drives one [`Session`] per client and runs what
//! the [`Registry`] has; inside QEMU, the same registry can be handed to QEMU's dispatcher, and the
//! sessions are not needed then.
//!
//! ```text
//!  bytes ─► lexer ─► parser ─► request ─► Session ─► Registry ─► args ─► handler
//!                                 (queue, negotiation)                      │
//!  bytes ◄─ output ◄──────────────── writer ◄───────────────────────────────┘
//! ```
//!
//! Data flows one way through the modules: `lexer`, `string` → `parser` → `request` → `session`,
//! and `error`, `writer` below all of them. `command`, `observe` and `registry` do not know sessions, and sessions
//! do not know them. `shape` finds out what types look like, and `schema` writes it down;
//! `human`, beside `registry`, is for people, `fds` for those that pass file descriptors, and
//! `limits` and `jobs` for those that take long. `server` is above everything, and alone in reading a clock, opening sockets and
//! spawning tasks.
//!
//! Threads: a session and the out-of-band commands may be on another thread than the
//! registry.
//!
//! What clients see is QEMU's wire format to the byte, as recorded from a live QEMU; the modules
//! say where they differ on purpose, which is where QEMU's answer is not JSON.
//!
//! # Examples
//!
//! From bytes to bytes, without a socket: what a [`Server`] does for each client.
//!
//! ```
//! use executor::qmp::{Call, Command, Coroutine, Error, Registry, Session, SessionOptions};
//! use executor::qmp::{Version, VersionNumber};
//! use executor::{MainCx, NoCoroutine, block_on, run_main};
//!
//! struct Status;
//!
//! impl Command for Status {
//!     const NAME: &'static str = "query-status";
//!     type Mode = Coroutine;
//!     type Args = ();
//!     type Ret = String;
//! }
//!
//! async fn status(_: &MainCx, (): ()) -> Result<String, Error> {
//!     Ok("running".to_owned())
//! }
//!
//! /// Runs the requests that have come, one after the other.
//! fn serve(nc: &mut NoCoroutine, registry: &Registry, session: &mut Session) {
//!     while let Some(request) = session.next_request() {
//!         let arguments = request.arguments;
//!         let outcome = match registry.find(&request.name, request.ticket.is_oob()) {
//!             Ok(Call::Coroutine(call)) => {
//!                 block_on(nc, async move |cx: &MainCx| call(cx, arguments).await)
//!             }
//!             Ok(Call::Blocking(call)) => call(nc, arguments),
//!             Ok(Call::Oob(_)) => Err(Error::generic("This monitor has no thread of its own")),
//!             Err(error) => Err(error),
//!         };
//!         session.respond(request.ticket, outcome);
//!     }
//! }
//!
//! let mut registry = Registry::new();
//! registry.command::<Status, _>(status);
//! let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
//! let mut session = Session::new(SessionOptions::new(Version { qemu, package: String::new() }));
//! session.feed(b"{'execute': 'qmp_capabilities'} {'execute': 'query-status'}");
//! run_main(|nc| serve(nc, &registry, &mut session));
//! assert!(session.unsent().ends_with(b"{\"return\": {}}\r\n{\"return\": \"running\"}\r\n"));
//! ```

#![forbid(unsafe_code)]

mod args;
mod command;
mod error;
mod events;
mod fds;
mod human;
mod jobs;
mod lexer;
mod limits;
mod observe;
mod output;
mod parser;
mod registry;
mod request;
mod schema;
mod server;
mod session;
mod shape;
mod string;
mod writer;

pub use args::parse_arguments;
pub use command::{
    AsyncHandler, Blocking, BlockingCall, Call, CallFuture, Command, Coroutine, CoroutineCall,
    Handler, Mode, Oob, OobCall, boxed,
};
pub use error::{Error, ErrorClass};
pub use events::{Event, Throttle};
pub use fds::take_fd;
pub use jobs::{Job, JobInfo, JobStatus, JobStatusChange, Jobs, Progress};
pub use observe::{CommandEvent, CommandStep};
pub use registry::{OobTable, Registry};
pub use request::{Arguments, Outcome, Request, Ticket};
pub use schema::Schema;
#[cfg(feature = "testing")]
pub(crate) use server::pipe::ClientEnd;
pub use server::{Address, AddressError, EventSink, Server};
pub use session::{Session, SessionOptions, Version, VersionNumber};
pub use writer::Json;

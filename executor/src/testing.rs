//! Tests of async commands and devices, in microseconds: a paused clock, single steps, and clients without sockets.
//!
//! A test is a program that [`run`] gives a [`Kit`]: the main loop, whose clocks stand still until the test lets them
//! go on. This is a complete test of a command, with its time-out and a client that goes away in the middle:
//!
//! ```
//! use std::time::Duration;
//!
//! use executor::MainCx;
//! use executor::qmp::{Command, Coroutine, Error, Registry};
//! use executor::testing;
//! use executor::time::sleep;
//!
//! // The command: it waits for a disk, an hour at most.
//! struct Settle;
//!
//! impl Command for Settle {
//!     const NAME: &'static str = "x-settle";
//!     const TIMEOUT: Option<Duration> = Some(Duration::from_secs(3600));
//!     type Mode = Coroutine;
//!     type Args = SettleArgs;
//!     type Ret = String;
//! }
//!
//! #[derive(serde::Deserialize)]
//! struct SettleArgs {
//!     minutes: u64,
//! }
//!
//! async fn settle(_: &MainCx, args: SettleArgs) -> Result<String, Error> {
//!     executor::label("the disk", sleep(Duration::from_secs(60 * args.minutes))).await;
//!     Ok(format!("settled after {} minutes", args.minutes))
//! }
//!
//! fn registry() -> Registry {
//!     let mut registry = Registry::new();
//!     registry.command::<Settle, _>(settle);
//!     registry
//! }
//!
//! const MINUTE: Duration = Duration::from_secs(60);
//!
//! // #[test]
//! fn it_answers_when_the_disk_has_settled() {
//!     testing::run(|kit| {
//!         let mut client = kit.client(registry());
//!         client.execute("x-settle", serde_json::json!({"minutes": 30}));
//!         kit.advance(29 * MINUTE);
//!         assert!(client.received().is_none());
//!         kit.advance(MINUTE);
//!         assert_eq!(client.receive(kit)["return"], "settled after 30 minutes");
//!     });
//! }
//!
//! // #[test]
//! fn it_gives_up_after_an_hour() {
//!     testing::run(|kit| {
//!         kit.clock().set_auto_advance(true);
//!         let mut client = kit.client(registry());
//!         let error = client.call::<Settle>(kit, serde_json::json!({"minutes": 90})).unwrap_err();
//!         assert_eq!(error.to_string(), "The command timed out after 3600s");
//!     });
//! }
//!
//! // #[test]
//! fn it_ends_with_its_client() {
//!     testing::run(|kit| {
//!         let mut client = kit.client(registry());
//!         client.execute("x-settle", serde_json::json!({"minutes": 60}));
//!         kit.advance(10 * MINUTE);
//!         assert_eq!(kit.commands()[0].waits_for, ["the disk"]);
//!         client.disconnect();
//!         kit.run_until_idle();
//!         assert!(kit.commands().is_empty());
//!     });
//! }
//! # it_answers_when_the_disk_has_settled();
//! # it_gives_up_after_an_hour();
//! # it_ends_with_its_client();
//! ```
//!
//! To have it, turn on the feature `testing` where Cargo has a program's dependencies for tests (`dev-dependencies`).
//! Programs would pay some instructions for it, at each look at a clock and each sleep of a loop.
//!
//! # What is paused
//!
//! All of QEMU's clocks ([`Clock`](crate::clock::Clock)), for the test's thread and the iothreads that it makes, and with
//! them everything in [`time`](crate::time), time-outs of commands, the pace of events. Other threads have real time, so
//! tests run beside each other. Real time begins at the epoch of the machine, paused time at one second, and the guest's
//! at nought: the same every time.
//!
//! What the standard library says of time, `Instant` and `SystemTime`, is not paused; ask a
//! [`Clock`](crate::clock::Clock) instead.
//!
//! # Who runs when
//!
//! The threads of a test are real, but only one of them runs at a time. A thread has its turn until its loop would sleep,
//! then comes the next one that has something to do, in the order in which they were made; a thread's tasks run first in,
//! first out, and timers in the order of their deadlines, each at its time. So the same test does the same every time, and
//! *idle* is a fact: nobody can go on.
//!
//! The pool for [`blocking`](mod@crate::blocking) work is outside of that. A test is not idle, and time does not go on, before all work
//! that it has given to the pool is done, in real time; nothing sleeps or looks again and again. The order in which two
//! pieces end that run at the same time is not fixed. For threads of your own there is [`PausedClock::outside`]. Other
//! processes, and sockets to them, are not waited for.
//!
//! A thread that blocks by other means than its loop keeps its turn: a test that joins a thread, or receives from a
//! channel that one of its iothreads sends to, waits for ever.
//!
//! # Inside QEMU
//!
//! There the loop and the clocks are QEMU's: [`run`] panics.

#![forbid(unsafe_code)]

mod clock;
#[cfg(feature = "qmp")]
mod fake;
mod kit;
mod main_thread;
mod record;

pub use clock::{Outside, PausedClock, paused};
#[cfg(feature = "qmp")]
pub use fake::{FakeClient, FakeServer};
pub use kit::{Kit, run};
pub use main_thread::on_main_thread;
pub use record::{Polled, Step};

pub(crate) use clock::assert_goes_on;
pub(crate) use record::most_polls;

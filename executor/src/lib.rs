//! An async executor that lives inside QEMU's main loop.
//!
//! # The pieces
//!
//! A *main loop* runs under the Big QEMU Lock (BQL). [`run_main`] makes one and lends a program the right to
//! run it, [`NoCoroutine`]; [`block_on`] uses that right to run an async function to its end. Inside a task,
//! [`MainCx`] is what a task may do: spawn, look at data under the lock, leave for a bottom half.
//!
//! ```
//! use executor::{block_on, run_main, BqlCell, MainCx};
//!
//! static COUNTER: BqlCell<u32> = BqlCell::new(0);
//!
//! async fn count(cx: &MainCx) -> u32 {
//!     cx.bql(|bql| {
//!         COUNTER.set(bql, COUNTER.get(bql) + 1);
//!         COUNTER.get(bql)
//!     })
//! }
//!
//! let total = run_main(|nc| {
//!     let task = nc.spawn(count);
//!     block_on(nc, async move |_: &MainCx| task.await.expect("it does not panic"))
//! });
//! assert_eq!(total, 1);
//! ```
//!
//! # Waiting
//!
//! [`time`] has sleeps, intervals and time-outs on QEMU's four [clocks](clock::Clock); [`async_fd`] waits for
//! file descriptors, [`net`] has sockets and pipes on top of it, and [`blocking`] a thread pool for what
//! the kernel cannot wait for. All of them work in the executor that polls them, whichever that is.
//!
//! # Other threads
//!
//! [`reschedule_to`] moves a future to an iothread, [`IoContext::run`] makes one there; both give a [`Remote`],
//! and awaiting it is the way back. [`MainHandle`] is the main loop seen from other threads, [`RemoteSpawner`]
//! any executor. Wakers work from everywhere, for ever.
//!
//! # What must not happen in async code
//!
//! - A nested event loop. It takes `&mut NoCoroutine`, and a task has none; [`MainCx::run_in_bh`] is the
//!   bridge.
//! - A borrow of a [`BqlRefCell`] across an `.await`. The guard cannot leave the [`MainCx::bql`] scope.
//! - Blocking. Nothing can stop `std::thread::sleep`; see the project's `clippy.toml`.
#![cfg_attr(
    feature = "qmp",
    doc = "\n[The guide](guide) writes a QMP command from nothing, and lists what only run time catches."
)]
//!
//! # Without memory
//!
//! As everywhere in Rust, an allocation that fails ends the process, with an abort and one sentence; nothing unwinds
//! and nothing is half done. [`LocalExecutor::spawn`] and its relatives allocate the task, [`reschedule_to`] also what
//! both sides share. Waking, polling, completing and dropping a task allocate nothing by themselves.
//!
//! # Without QEMU
//!
//! By default the event loop is an emulation of QEMU's on epoll, so programs and tests just run. A thread
//! that is no main loop can have a [`LocalExecutor`] of its own. A program that has an event loop of its own (`GLib`,
//! `event-manager`, `poll()`) keeps it, and drives a [`MainLoop`] from there.
//!
//! Tests of commands and devices have a kit, with the feature `testing`: a clock that stands still, single steps, and
//! clients in memory.
//!
//! With the feature `host` the event loop is that of the QEMU that loads the program; the module `host` is the
//! way in, and `host::block` reads its disks. The feature `in-tree` is for a crate of QEMU's own source tree.

#![deny(clippy::print_stdout, clippy::print_stderr)]
// Nothing here may hold up the main loop. Tests have threads to block.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

mod aio;
mod arena;
pub mod async_fd;
pub mod blocking;
pub mod bql;
pub mod clock;
mod current;
mod cx;
mod drop_on_main;
#[cfg(feature = "qmp")]
pub mod guide;
mod home;
#[cfg(feature = "host")]
pub mod host;
mod in_coroutine;
mod inbox;
mod io_context;
mod label;
mod local_executor;
#[cfg(all(test, aio_loom))]
mod loom;
mod main_loop;
mod migrate;
pub mod net;
pub mod observe;
mod probe;
#[cfg(feature = "qmp")]
pub mod qmp;
mod remote;
mod run_queue;
mod spawner;
mod stats;
mod sync;
mod task;
mod task_fn;
mod task_table;
#[cfg(feature = "testing")]
pub mod testing;
mod thread_id;
pub mod time;

pub use aio::context::Context;
pub use aio::iothread::{IoThread, IoThreadInfo};
pub use aio::wait::wait_kick;
pub use bql::{BqlCell, BqlRef, BqlRefCell, BqlRefMut};
pub use cx::{Bql, IoCx, MainCx, NoCoroutine, OobContext};
pub use drop_on_main::DropOnMain;
pub use in_coroutine::InCoroutine;
pub use io_context::{IoContext, reschedule_to};
pub use label::label;
pub use local_executor::{Budget, LocalExecutor, LocalSpawner};
#[cfg(not(feature = "in-tree"))]
pub use main_loop::MainLoop;
pub use main_loop::{MainHandle, block_on, run_main};
pub use migrate::{Migratable, OnMain, Reschedule};
pub use probe::{Probe, TaskInfo};
pub use remote::Remote;
pub use spawner::RemoteSpawner;
pub use stats::Stats;
pub use task::{JoinError, JoinHandle, TaskLabel, TaskPanic, set_task_panic_hook};
pub use task_fn::{SendTaskFn, TaskFn, boxed, boxed_send};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

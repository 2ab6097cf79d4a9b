//! An async executor that lives inside QEMU's main loop.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod aio;
pub mod async_fd;
pub mod blocking;
pub mod bql;
pub mod clock;
mod current;
mod cx;
mod home;
mod inbox;
mod io_context;
mod local_executor;
mod main_loop;
pub mod net;
mod probe;
#[cfg(feature = "qmp")]
pub mod qmp;
mod remote;
mod run_queue;
mod spawner;
mod stats;
mod task;
mod task_fn;
mod task_table;
mod thread_id;
pub mod time;

pub use aio::context::Context;
pub use aio::iothread::{IoThread, IoThreadInfo};
pub use aio::wait::wait_kick;
pub use bql::{BqlCell, BqlRef, BqlRefCell, BqlRefMut};
pub use cx::{Bql, IoCx, MainCx, NoCoroutine, OobContext};
pub use io_context::{IoContext, reschedule_to};
pub use local_executor::{Budget, LocalExecutor, LocalSpawner};
pub use main_loop::{MainHandle, block_on, run_main};
pub use probe::{Probe, TaskInfo};
pub use remote::Remote;
pub use spawner::RemoteSpawner;
pub use stats::Stats;
pub use task::{JoinError, JoinHandle, TaskLabel, TaskPanic, set_task_panic_hook};
pub use task_fn::TaskFn;

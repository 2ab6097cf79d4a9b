//! An async executor that lives inside QEMU's main loop.

mod home;
mod inbox;
mod run_queue;
mod task;
mod thread_id;

pub use task::{JoinError, JoinHandle, TaskLabel, TaskPanic, set_task_panic_hook};

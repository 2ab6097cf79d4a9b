//! QMP commands for a program that runs on the executor.
//!
//! One file is one family of commands, and is complete: the types that name them, their arguments and
//! results, the handlers, and a `register` at the top that lists them. To add a command, read one of
//! these and write the next:
//!
//! | file | commands | shows |
//! |---|---|---|
//! | `status.rs` | `query-status` `stop` `cont` `quit` | data under the Big QEMU Lock, events |
//! | `query.rs` | `query-version` `query-name` | the smallest commands there are |
//! | `iothreads.rs` | `query-iothreads` `object-add` `object-del` | blocking next to async |
//! | `sleep.rs` | `x-sleep` | waiting without holding anybody up |
//! | `checksum.rs` | `x-file-checksum` | files, an iothread, progress, cancellation |
//! | `tasks.rs` | `x-query-tasks` `x-task-cancel` `x-executor-stats` `x-watchdog` | out of band: works while the main loop hangs |
//!
//! What the commands share is in two places, because two rules apply: [`machine`] is under the Big QEMU
//! Lock, and [`executors`] and [`observers`] are for out-of-band commands, which never have that lock.
//!
//! Nothing here knows sockets or sessions. A standalone server serves everything; inside QEMU, which has
//! the commands without `x-` itself, [`register_with_jobs`] alone is called, on the same files.

use executor::Probe;
use executor::qmp::{EventSink, Jobs, Registry};

use files::Files;

pub(crate) mod checksum;
pub(crate) mod executors;
pub(crate) mod files;
pub(crate) mod iothreads;
pub(crate) mod machine;
pub(crate) mod observers;
pub(crate) mod query;
pub(crate) mod tasks;

mod sleep;
mod status;

/// Registers what QEMU has, too: for programs that are not QEMU.
pub(crate) fn register_machine(registry: &mut Registry, name: Option<String>, events: &EventSink) {
    query::register(registry, name);
    status::register(registry, events);
    iothreads::register(registry);
}

/// Registers what QEMU does not have, and what tells of it (`query-jobs`): for programs that are not QEMU. `main` is a
/// look at the main loop's executor; `files` are those that clients may have read.
pub(crate) fn register_extensions(
    registry: &mut Registry,
    main: Probe,
    events: &EventSink,
    files: Files,
) {
    let jobs = Jobs::new(events.clone());
    register_with_jobs(registry, main, events, files, &jobs);
    registry.add_query_jobs(&jobs);
}

/// Registers what QEMU does not have. The commands that take long are listed in `jobs` while they run.
pub(crate) fn register_with_jobs(
    registry: &mut Registry,
    main: Probe,
    events: &EventSink,
    files: Files,
    jobs: &Jobs,
) {
    executors::add("main", executors::Home::Main(main));
    sleep::register(registry);
    checksum::register(registry, events, files, jobs);
    tasks::register(registry, jobs);
}

//! QMP commands in async Rust, in QEMU's own tree.
//!
//! Two commands, one for each way to declare one:
//!
//! - `x-async-sleep` is in the schema, `qapi/async.json`, with `'coroutine': true`. The generated code reads its
//!   arguments and calls [`qmp_x_async_sleep`] in a C coroutine.
//! - `x-async-tasks` is not: it is a type here, and registered when QEMU starts, as the commands of a plugin are.
//!   `query-qmp-schema` does not know it.
//!
//! Threads: [`async_qmp_init`] in the main thread. The dispatcher's coroutine may run in any thread that holds
//! the BQL; the tasks are the main loop's.

use std::{
    panic::{catch_unwind, AssertUnwindSafe},
    sync::OnceLock,
    time::Duration,
};

use executor::{
    host::{self, Loading, Options, Refusal},
    qmp::{Command, Oob, Registry},
    time::sleep,
    InCoroutine, MainCx, MainHandle, OobContext, Probe, TaskInfo,
};
use serde::{Deserialize, Serialize};
use util::bindings;

/// The way to the main loop, for the functions that generated code calls.
static MAIN: OnceLock<MainHandle> = OnceLock::new();

/// Puts the executor into the main loop, and registers what the schema does not declare.
///
/// QEMU calls it once, while it starts. Without the executor QEMU goes on, and the commands are errors.
#[no_mangle]
pub extern "C" fn async_qmp_init() {
    let attached = host::attach(Options::default(), init).and_then(|registered| registered);
    if let Err(refusal) = attached {
        eprintln!("async-qmp: {refusal}");
    }
}

fn init(loading: &mut Loading<'_>) -> Result<(), Refusal> {
    let cx = loading.cx();
    MAIN.get_or_init(|| cx.main());
    let probe = cx.probe();
    let mut registry = Registry::new();
    registry.command::<Tasks, _>(move |_: &OobContext, (): ()| Ok(tasks(&probe)));
    loading.register(registry, None)
}

/// The command `x-async-sleep`.
///
/// # Safety
///
/// As the generated code calls it: in a coroutine, with `errp` as C's functions take it.
#[no_mangle]
pub unsafe extern "C" fn qmp_x_async_sleep(ms: u32, errp: *mut *mut bindings::Error) {
    let slept = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the generated code has called us in a coroutine of the dispatcher's, which it does not
        // enter while we wait.
        unsafe { InCoroutine::assume(|co| x_async_sleep(co, ms)) }
    }));
    let slept = slept.unwrap_or_else(|_| Err(util::Error::msg("the command has a bug")));
    // SAFETY: by this function's contract.
    let _ = unsafe { util::Error::ok_or_propagate(slept, errp) };
}

/// Starts the task, and waits for it in the coroutine.
fn x_async_sleep(co: &mut InCoroutine, ms: u32) -> util::Result<()> {
    let main = MAIN
        .get()
        .ok_or_else(|| util::Error::msg("QEMU has refused async commands"))?;
    let task = main.run(move |_: &MainCx| sleep_for(ms));
    // SAFETY: no frame between this one and C's has anything that is bound to a thread, and neither
    // has `catch_unwind`.
    let outcome = unsafe { co.wait(task) };
    outcome.map_err(|error| util::Error::msg(error.to_string()))
}

/// What the command does: while it waits nobody else does.
async fn sleep_for(ms: u32) {
    sleep(Duration::from_millis(ms.into())).await;
}

/// The command `x-async-tasks`.
struct Tasks;

impl Command for Tasks {
    const NAME: &'static str = "x-async-tasks";
    const HELP: &'static str = "show the tasks of the main loop's executor";
    type Mode = Oob;
    type Args = ();
    type Ret = Vec<Task>;
}

/// A task of the main loop.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Task {
    spawned_at: String,
    polls: u32,
}

fn tasks(probe: &Probe) -> Vec<Task> {
    let task = |task: TaskInfo| Task {
        spawned_at: task.label.spawned_at.to_string(),
        polls: task.polls,
    };
    probe.tasks().into_iter().map(task).collect()
}

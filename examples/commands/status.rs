//! Commands that run the machine: `query-status`, `stop`, `cont`, `quit`.
//!
//! They look at and change the [`MACHINE`] and need not wait, so their mode is `Blocking`; the
//! `&mut NoCoroutine` that they are lent is their proof of the lock. Events are sent before the reply, as QEMU
//! does: a client that has the reply to `stop` has seen `STOP`.
//!
//! Threads: the main loop's.

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Error, EventSink, Registry};
use serde::{Deserialize, Serialize};

use super::machine::{MACHINE, RunState, ShutdownCause, ShutdownInfo};

pub(super) fn register(registry: &mut Registry, events: &EventSink) {
    registry.event::<()>("STOP");
    registry.event::<()>("RESUME");
    registry.event::<ShutdownInfo>("SHUTDOWN");
    registry.command::<QueryStatus, _>(query_status);
    let sink = events.clone();
    registry.command::<Stop, _>(move |nc: &mut NoCoroutine, ()| {
        MACHINE.stop(nc, &sink);
        Ok(())
    });
    let sink = events.clone();
    registry.command::<Cont, _>(move |nc: &mut NoCoroutine, ()| {
        MACHINE.resume(nc, &sink);
        Ok(())
    });
    let sink = events.clone();
    registry.command::<Quit, _>(move |nc: &mut NoCoroutine, ()| {
        MACHINE.request_shutdown(nc, ShutdownCause::HostQmpQuit, &sink);
        Ok(())
    });
}

struct QueryStatus;

impl Command for QueryStatus {
    const NAME: &'static str = "query-status";
    const HELP: &'static str = "show whether the guest runs";
    type Mode = Blocking;
    type Args = ();
    type Ret = Status;
}

#[derive(Deserialize, Serialize)]
#[serde(rename = "StatusInfo")]
struct Status {
    status: RunState,
    running: bool,
}

fn query_status(nc: &mut NoCoroutine, (): ()) -> Result<Status, Error> {
    let status = MACHINE.run_state(nc);
    Ok(Status { status, running: status == RunState::Running })
}

struct Stop;

impl Command for Stop {
    const NAME: &'static str = "stop";
    const HELP: &'static str = "stop the guest";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

struct Cont;

impl Command for Cont {
    const NAME: &'static str = "cont";
    const HELP: &'static str = "let the guest run on";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

struct Quit;

impl Command for Quit {
    const NAME: &'static str = "quit";
    const HELP: &'static str = "end the program";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

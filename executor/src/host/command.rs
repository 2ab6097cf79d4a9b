//! Our commands in QEMU's own monitors.
//!
//! Owns the registry whose commands were handed to QEMU, and the C function that each of them needs: C
//! passes no pointer of ours along, so there is one function per command type.
//!
//! | mode | QEMU calls it | what happens |
//! |-|-|-|
//! | `Blocking` | in the main loop, outside of coroutines | it runs there and then |
//! | `Coroutine` | in a coroutine of the main context, in any thread that holds the lock | it runs as a task of the main loop; the coroutine waits |
//! | `Oob` | in the monitor's thread for `exec-oob`, in the main loop for `execute` | it runs there and then |
//!
//! While a coroutine waits, QEMU dispatches no other in-band command, in the whole process: that is QEMU's
//! rule, and why there is a [`Server`](crate::qmp::Server) that can listen inside QEMU.
//!
//! Threads: as above. The registry never leaves the main loop's thread; a command that arrives elsewhere
//! takes a bottom half of the iohandler context there.

use std::any::Any;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::OnceLock;

use aio_sys::host::{
    QCO_ALLOW_OOB, QCO_COROUTINE, QCO_NO_OPTIONS, QDict, QObject, QmpCommandFunc, QmpCommandOptions,
};

use super::{Loading, Refusal, object};
use crate::aio::bottom_half::run_oneshot;
use crate::aio::callback::no_unwind;
use crate::aio::context::Context;
use crate::cx::{MainCx, NoCoroutine, OobContext};
use crate::in_coroutine::InCoroutine;
use crate::main_loop::{is_home, main_core};
use crate::qmp::{Arguments, Call, Command, Error, OobCall, Outcome, Registry};
use crate::remote::{self, Errand};
use crate::task::{JoinError, drop_payload, message};

thread_local! {
    /// What was registered; filled in the main loop's thread only.
    static REGISTRY: OnceCell<Registry> = const { OnceCell::new() };
}

/// The out-of-band commands among them.
static OOB: OnceLock<HashMap<&'static str, OobCall>> = OnceLock::new();

impl Loading<'_> {
    /// Adds the commands of `registry` to QEMU's monitors: all, or those that are named.
    ///
    /// They are for good; QEMU has no way to take a command back.
    ///
    /// # Errors
    ///
    /// If a name is unknown or QEMU has a command of that name, or if this is the second time. Then none
    /// was added.
    pub fn register(
        &mut self,
        registry: Registry,
        names: Option<&[String]>,
    ) -> Result<(), Refusal> {
        let commands = choose(&registry, names)?;
        let oob = commands.iter().filter_map(|command| Some((command.name, command.oob.clone()?)));
        if OOB.set(oob.collect()).is_err() {
            return Err(Refusal::because("commands were registered with QEMU already"));
        }
        REGISTRY.with(|cell| cell.set(registry)).expect("set together with `OOB`");
        commands.into_iter().for_each(Chosen::register);
        Ok(())
    }
}

/// A command that QEMU is to have.
struct Chosen {
    name: &'static str,
    c_name: CString,
    marshal: QmpCommandFunc,
    options: QmpCommandOptions,
    oob: Option<OobCall>,
}

fn choose(registry: &Registry, names: Option<&[String]>) -> Result<Vec<Chosen>, Refusal> {
    let known = registry.names();
    let is_unknown = |name: &&String| !known.contains(&name.as_str());
    if let Some(unknown) = names.unwrap_or_default().iter().find(is_unknown) {
        let known = known.join(", ");
        return Err(Refusal::because(format!(
            "there is no command `{unknown}`; there are {known}"
        )));
    }
    let is_wanted = |name: &str| names.is_none_or(|names| names.iter().any(|it| it == name));
    known
        .into_iter()
        .filter(|name| is_wanted(name))
        .map(|name| Chosen::new(registry, name))
        .collect()
}

impl Chosen {
    fn new(registry: &Registry, name: &'static str) -> Result<Chosen, Refusal> {
        let c_name = CString::new(name)
            .map_err(|_| Refusal::because(format!("the command name {name:?} has a NUL")))?;
        if qemu_has(&c_name) {
            return Err(Refusal::because(format!("QEMU has a command `{name}` already")));
        }
        let call = registry.find(name, false).expect("it is one of its names");
        let marshal = registry.marshal(name).expect("each command has one");
        let (options, oob) = match call {
            Call::Blocking(_) => (QCO_NO_OPTIONS, None),
            Call::Coroutine(_) => (QCO_COROUTINE, None),
            Call::Oob(call) => (QCO_ALLOW_OOB, Some(call)),
        };
        Ok(Chosen { name, c_name, marshal, options, oob })
    }

    fn register(self) {
        let list = &raw mut aio_sys::host::qmp_commands;
        // QEMU keeps the name for as long as it lives.
        let name = self.c_name.into_raw();
        // SAFETY: [loading]: plugins are loaded while QEMU fills the list itself; the name lives for ever,
        // and so does the function, since the library stays loaded.
        unsafe {
            aio_sys::host::qmp_register_command(list, name, self.marshal, self.options, 0);
        }
    }
}

/// Whether QEMU has a command of that name.
pub(super) fn qemu_has(name: &CStr) -> bool {
    let list = &raw const aio_sys::host::qmp_commands;
    // SAFETY: the list lives for ever, and nothing is added to it meanwhile; the name is a C string.
    !unsafe { aio_sys::host::qmp_find_command(list, name.as_ptr()) }.is_null()
}

/// The C function of the command `C`.
///
/// # Safety
///
/// As QEMU calls it: `args` is a live object or null, `ret` and `errp` point to null pointers.
pub(crate) unsafe extern "C" fn marshal<C: Command>(
    args: *mut QDict,
    ret: *mut *mut QObject,
    errp: *mut *mut aio_sys::Error,
) {
    let failed = || Err(Error::generic("The arguments could not be read"));
    // SAFETY: by this function's contract.
    let arguments = no_unwind("reading arguments", failed(), || unsafe { object::arguments(args) });
    let outcome = match arguments {
        Ok(arguments) => run(C::NAME, arguments),
        Err(error) => Err(error),
    };
    no_unwind("returning a result", (), || match outcome {
        // SAFETY: by this function's contract.
        Ok(json) => unsafe { object::return_json(&json, ret, errp) },
        // SAFETY: by this function's contract.
        Err(error) => unsafe { object::return_error(&error, errp) },
    });
}

fn run(name: &'static str, arguments: Arguments) -> Outcome {
    if let Some(call) = OOB.get().and_then(|oob| oob.get(name)) {
        return catch(|| OobContext::lend(|cx| call(cx, arguments)));
    }
    if !aio_sys::host::qemu_in_coroutine() {
        return catch(|| run_blocking(name, arguments));
    }
    let (errand, remote) = remote::pair();
    start_at_home(move || start_task(name, arguments, errand));
    let wait = |co: &mut InCoroutine| {
        // SAFETY: [co-frames]: the frames between are `marshal`, `assume` and this one.
        unsafe { co.wait(remote) }
    };
    // SAFETY: QEMU's dispatcher has called us in a coroutine of its own, as just seen, which it does not enter
    // while we wait.
    let outcome = unsafe { InCoroutine::assume(wait) };
    outcome.unwrap_or_else(|error| Err(refused(error)))
}

fn run_blocking(name: &str, arguments: Arguments) -> Outcome {
    if !is_home() {
        return Err(Error::generic("This QEMU calls commands outside of the main loop's thread"));
    }
    match find(name)? {
        // SAFETY: QEMU calls such a command in a bottom half of the main loop, outside of coroutines.
        Call::Blocking(call) => unsafe { NoCoroutine::assume(|nc| call(nc, arguments)) },
        Call::Coroutine(_) | Call::Oob(_) => unreachable!("it was registered as what it is"),
    }
}

/// Runs `start` in the main loop's thread: now, or soon if this is another one.
#[inline(never)]
pub(super) fn start_at_home(start: impl FnOnce() + Send + 'static) {
    if is_home() {
        no_unwind("starting a command", (), start);
    } else {
        run_oneshot(&Context::iohandler(), start);
    }
}

/// In the main loop's thread.
fn start_task(name: &'static str, arguments: Arguments, errand: Errand<Outcome>) {
    let call = match find(name) {
        Ok(Call::Coroutine(call)) => call,
        Ok(Call::Blocking(_) | Call::Oob(_)) => unreachable!("it was registered as what it is"),
        Err(error) => return errand.call(Location::caller(), || Err(error)),
    };
    let task = |cx: MainCx| async move {
        errand.run(async { call(&cx, arguments).await }).await;
    };
    MainCx::new(main_core()).spawn_owning(format!("qmp:{name}"), task).detach();
}

fn find(name: &str) -> Result<Call, Error> {
    // The thread is ending if there is none, and QEMU with it.
    let find = |registry: &OnceCell<Registry>| registry.get().map(|it| it.find(name, false));
    let found = REGISTRY.try_with(find).ok().flatten();
    found.unwrap_or_else(|| Err(Error::generic("The command's registry is gone")))
}

/// Makes a panic an error.
fn catch(call: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(panicked(payload)))
}

/// The error of a command that has no outcome.
pub(super) fn refused(error: JoinError) -> Error {
    match error.into_panic() {
        Ok(payload) => panicked(payload),
        Err(_cancelled) => Error::generic("The command was cancelled"),
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> Error {
    let error = Error::generic(format!("The command panicked: {}", message(&*payload)));
    drop_payload(payload);
    error
}

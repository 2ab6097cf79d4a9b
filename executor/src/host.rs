//! Inside QEMU: how a plugin gets in, what it may add, and how it goes.
//!
//! QEMU loads a plugin while it starts, in the main loop's thread and under the Big QEMU Lock. That is where
//! [`attach`] belongs: it finds the functions that differ between releases, checks that the event loop calls
//! back as it should, puts the executor into the main loop and lends the program a [`Loading`]. Whatever
//! goes wrong is a sentence, said before anything was registered.
//!
//! When QEMU ends (`quit`, a signal, a guest that shuts down) the tasks of the main loop are cancelled before
//! QEMU takes anything down: a monitor command that waits for one gets its error, and QEMU, which waits for
//! that command, ends.
//!
//! Threads: [`attach`] in the main loop's. QEMU runs coroutine commands in any thread that holds the lock;
//! `command` brings them home.
//!
//! C coroutines are for [`coroutine`]: futures in them, and futures of what they return.
//!
//! Its examples run inside QEMU: `examples/qemu_plugin/lib.rs` is a plugin that attaches, registers commands and is
//! told of QEMU's end; `examples/qemu_plugin/server.rs` forwards QEMU's events, and `examples/qemu_plugin/trace.rs`
//! watches whether the guest runs.
//!
//! Data flows one way: `coroutine`, `events`, `object` → `command` → `builtin` → here; `events` → `jobs` → here;
//! `block` → `shutdown` → here; `run_state`, `self_test` → here.

use std::fmt;

use crate::bql;
use crate::current;
use crate::cx::{MainCx, NoCoroutine};
use crate::main_loop;

pub mod block;
#[cfg(feature = "qmp")]
mod builtin;
#[cfg(feature = "qmp")]
pub(crate) mod command;
pub mod coroutine;
#[cfg(feature = "qmp")]
mod events;
#[cfg(feature = "qmp")]
mod jobs;
#[cfg(feature = "qmp")]
mod object;
#[cfg(feature = "plugin")]
pub mod plugin;
mod run_state;
mod self_test;
mod shutdown;

pub use run_state::{GuestWatch, guest_runs};

#[cfg(feature = "qmp")]
pub use builtin::{builtin_names, find_builtin};

/// How the executor sits in QEMU's main loop.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Whether nested event loops run the tasks, too: the executor is then in the main context instead of
    /// the iohandler context. Tasks must expect to be polled wherever C code waits. While another thread
    /// (a vCPU's) waits in the main context, file descriptors of ours that are ready make its loop spin.
    pub nested: bool,
}

impl Options {
    /// Sets [`nested`](Self::nested).
    #[must_use]
    pub fn nested(mut self, nested: bool) -> Options {
        self.nested = nested;
        self
    }
}

/// Why the program cannot run inside this QEMU, as one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(String);

impl Refusal {
    /// A refusal for a reason of the program's own, as one sentence.
    pub fn because(reason: impl Into<String>) -> Refusal {
        Refusal(reason.into())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// What a program may do while QEMU loads it. Lent by [`attach`].
#[derive(Debug)]
pub struct Loading<'n> {
    nc: &'n mut NoCoroutine,
    cx: MainCx,
}

impl Loading<'_> {
    /// The right to run event loops, and with it to spawn tasks. The main loop itself does not run yet.
    pub fn no_coroutine(&mut self) -> &mut NoCoroutine {
        self.nc
    }

    /// What tasks of the main loop are lent: for code that prepares them.
    pub fn cx(&mut self) -> &MainCx {
        &self.cx
    }
}

/// Puts the executor into the main loop of the QEMU that is loading the calling program, and lets
/// `program` do what can only be done now. Call it in `qemu_plugin_install`, once; in QEMU's own source tree
/// (the feature `in-tree`), when the main loop and its clocks were initialised and no monitor is there yet.
///
/// # Errors
///
/// If this is no QEMU that the program can run in: a function is missing, the event loop does not call
/// back, or this is not the place. Then nothing was changed.
pub fn attach<R>(
    options: Options,
    program: impl for<'n> FnOnce(&mut Loading<'n>) -> R,
) -> Result<R, Refusal> {
    aio_sys::host::resolve().map_err(Refusal)?;
    if !aio_sys::host::stay_loaded() {
        return Err(Refusal::because(
            "the plugin cannot be kept in memory for as long as QEMU runs",
        ));
    }
    check_place()?;
    self_test::run()?;
    if !main_loop::adopt(options.nested) {
        return Err(Refusal::because("the executor is in QEMU's main loop already"));
    }
    shutdown::expect();
    let cx = MainCx::new(main_loop::main_core());
    // SAFETY: QEMU's loader is plain C code outside of coroutines, as just checked, and nobody has a
    // capability before the executor was attached, which happens once.
    Ok(unsafe { NoCoroutine::assume(|nc| program(&mut Loading { nc, cx })) })
}

/// The release of the QEMU around us, such as 10.0.2.
///
/// # Panics
///
/// If [`attach`] returns an error.
#[cfg(feature = "qmp")]
pub fn qemu_version() -> crate::qmp::VersionNumber {
    let version = aio_sys::host::version();
    let number = |number| u32::try_from(number).unwrap_or(0);
    crate::qmp::VersionNumber {
        micro: number(version.micro),
        minor: number(version.minor),
        major: number(version.major),
    }
}

/// Checks that this is where QEMU loads plugins.
fn check_place() -> Result<(), Refusal> {
    let main_thread = nix::unistd::gettid() == nix::unistd::getpid();
    if !main_thread || !bql::is_locked() {
        return Err(Refusal::because("this is not QEMU's main thread under the Big QEMU Lock"));
    }
    if aio_sys::host::qemu_in_coroutine() || current::in_poll() {
        return Err(Refusal::because("QEMU loads plugins outside of coroutines, but this is one"));
    }
    Ok(())
}

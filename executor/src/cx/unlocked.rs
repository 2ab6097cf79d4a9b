//! The capabilities of code that runs without the Big QEMU Lock: in iothreads, and out of band.
//!
//! Neither waits for the main loop, which may be waiting for them, or hang; what they want of it they send.
//!
//! Threads: each is bound to the one that was lent it.

#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;

use super::{BoundToThisThread, Bql, NoCoroutine};
use crate::bql;
use crate::local_executor::Core;
use crate::main_loop::MainHandle;
use crate::task::JoinHandle;
use crate::task_fn::TaskFn;

/// What a task of an iothread is lent: it is polled in the iothread, without the Big QEMU Lock.
///
/// # Examples
///
/// ```
/// use executor::{BqlCell, IoCx, IoThread, MainCx, block_on, run_main};
///
/// static DONE: BqlCell<u32> = BqlCell::new(0);
///
/// async fn half(_: &IoCx) -> u32 {
///     21
/// }
///
/// async fn job(io: &IoCx) -> u32 {
///     assert!(!executor::bql::is_locked());
///     let answer = 2 * io.spawn(half).await.unwrap();
///     io.lock_bql(|bql| DONE.set(bql, answer));
///     answer
/// }
///
/// run_main(|nc| {
///     let thread = IoThread::create(nc, "io0").unwrap();
///     let remote = thread.io().run(job);
///     let answer = block_on(nc, async move |_: &MainCx| remote.await.unwrap());
///     assert_eq!((answer, DONE.get(nc)), (42, 42));
///     thread.destroy(nc).unwrap();
/// });
/// ```
pub struct IoCx {
    core: Rc<Core>,
}

impl IoCx {
    pub(crate) fn new(core: Rc<Core>) -> IoCx {
        IoCx { core }
    }

    /// Takes the Big QEMU Lock, waiting for it, and lets `f` look at what it protects.
    ///
    /// Beware: the main loop may be waiting for this iothread, with the lock held. Prefer awaiting
    /// [`MainHandle::call`].
    ///
    /// # Panics
    ///
    /// As [`with_bql`](crate::bql::with_bql): if the lock is held already, or `f` leaves a borrow behind.
    #[track_caller]
    pub fn lock_bql<R>(&self, f: impl for<'b> FnOnce(&'b Bql) -> R) -> R {
        bql::with_bql(f)
    }

    /// Spawns another task on this iothread.
    #[track_caller]
    pub fn spawn<F, T>(&self, task: F) -> JoinHandle<T>
    where
        F: for<'a> TaskFn<&'a IoCx, T> + 'static,
        T: 'static,
    {
        let cx = IoCx::new(Rc::clone(&self.core));
        self.core.spawn(None, Location::caller(), async move { task(&cx).await })
    }
}

impl fmt::Debug for IoCx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IoCx")
    }
}

/// What an out-of-band command is lent: it runs at once, in the monitor's thread, without the Big QEMU Lock,
/// and must not wait.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "qmp")] {
/// use executor::qmp::{Call, Command, Error, Oob, Registry};
/// use executor::{BqlCell, MainCx, OobContext, block_on, run_main};
///
/// static STOP: BqlCell<bool> = BqlCell::new(false);
///
/// struct Interrupt;
///
/// impl Command for Interrupt {
///     const NAME: &'static str = "x-interrupt";
///     type Mode = Oob;
///     type Args = ();
///     type Ret = ();
/// }
///
/// /// It cannot touch the cell, and must not wait for the main loop, which may be stuck.
/// fn interrupt(cx: &OobContext, (): ()) -> Result<(), Error> {
///     cx.schedule(|nc| STOP.set(nc, true));
///     Ok(())
/// }
///
/// let mut registry = Registry::new();
/// registry.command::<Interrupt, _>(interrupt);
/// registry.add_human_monitor();
///
/// // A client asks with `exec-oob`; here somebody types the command's name.
/// let Ok(Call::Coroutine(type_line)) = registry.find("human-monitor-command", false) else { panic!() };
/// let line = serde_json::from_str(r#"{"command-line": "x-interrupt"}"#).unwrap();
/// run_main(|nc| {
///     let said = block_on(nc, async move |cx: &MainCx| type_line(cx, line).await);
///     assert_eq!(said.unwrap().as_str(), r#""""#);
///     // One turn of the main loop.
///     block_on(nc, async |cx: &MainCx| cx.run_in_bh(|_nc| ()).await.unwrap());
///     assert!(STOP.get(nc));
/// });
/// # }
/// ```
pub struct OobContext {
    thread: PhantomData<Rc<BoundToThisThread>>,
}

impl OobContext {
    /// Lends the context to `f`. For a monitor's driver.
    #[allow(dead_code, reason = "used by the `qmp` feature")]
    pub(crate) fn lend<R>(f: impl for<'o> FnOnce(&'o OobContext) -> R) -> R {
        f(&OobContext { thread: PhantomData })
    }

    /// Lets the main loop call `f` soon, outside of any task. Does not wait. Several calls need not keep their
    /// order, as with [`MainHandle::call`].
    #[track_caller]
    pub fn schedule(&self, f: impl FnOnce(&mut NoCoroutine) + Send + 'static) {
        MainHandle::new().call(f).detach();
    }
}

impl fmt::Debug for OobContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OobContext")
    }
}

//! The main loop in a program whose own loop sleeps.
//!
//! Owns the right to run the main loop, for the thread that made the [`MainLoop`]. `main_loop_wait` releases the Big
//! QEMU Lock to sleep; here the sleep is the program's, so the lock is not held between two calls, and each call takes
//! it and ends with a look at what there is to wait for.
//!
//! That look announces the sleep, as [`embedding::prepare`] does it. So the announcement stands whenever code of the
//! program's runs, and a ring makes the descriptor readable, whether the program has called [`MainLoop::prepare`], is
//! about to sleep, or does something else first.
//!
//! Threads: the main loop's.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::Running;
use crate::aio::main_loop::embedding;
use crate::bql;
use crate::current;
use crate::cx::{BoundToThisThread, NoCoroutine};

/// The main loop, for a program that has an event loop of its own: `GLib`, calloop, rust-vmm's `event-manager`, `poll()`.
///
/// The program's loop sleeps, and the main loop lives below it. The whole contract: **watch the descriptor
/// ([`AsFd`]) for reading, level-triggered, and call [`dispatch`](Self::dispatch) when it is readable.** It becomes
/// readable for everything: fds of tasks, wakes from other threads, timers. So a loop need not know how long it may
/// sleep; one that asks before it does gets the answer from [`prepare`](Self::prepare). Nothing that happens between
/// two calls is lost, in whichever order they come, and a call too many does no harm.
///
/// The program enters the main loop with [`enter`](Self::enter), to spawn tasks and to look at what the Big QEMU Lock
/// protects. The lock is held in `enter` and `dispatch` only, so other threads can take it whenever the program does
/// something else, also while its loop sleeps.
///
/// One at a time, instead of a [`run_main`](crate::run_main), and not inside QEMU, whose main loop is QEMU's own. The
/// main loop belongs to the thread for good: after the drop the same thread may make another. In QEMU's terms it is
/// `main_loop_wait` in two halves, and the descriptor and `prepare` are what its `GSource`s tell `GLib`.
///
/// # Examples
///
/// ```
/// use std::os::fd::AsFd;
/// use std::time::Duration;
///
/// use executor::time::sleep;
/// use executor::{block_on, MainCx, MainLoop};
/// use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
///
/// async fn answer(_: &MainCx) -> u32 {
///     sleep(Duration::from_millis(5)).await;
///     42
/// }
///
/// let mut main = MainLoop::new()?;
/// let task = main.enter(|nc| nc.spawn(answer));
/// while !task.is_finished() {
///     let mut fds = [PollFd::new(main.as_fd(), PollFlags::POLLIN)];
///     poll(&mut fds, PollTimeout::NONE)?;
///     main.dispatch();
/// }
/// let answer = main.enter(|nc| block_on(nc, async move |_: &MainCx| task.await))?;
/// assert_eq!(answer, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the main loop's tasks are cancelled when it is dropped"]
pub struct MainLoop {
    /// `None` only in `drop`.
    running: Option<Running>,
    fd: BorrowedFd<'static>,
    /// When something is due that nobody rings for.
    due: Option<Instant>,
    thread: PhantomData<Rc<BoundToThisThread>>,
}

impl MainLoop {
    /// Makes the main loop ready to be driven, and initialises it if this is the first time in the process.
    ///
    /// # Errors
    ///
    /// What the system says if there are no more file descriptors.
    ///
    /// # Panics
    ///
    /// Inside a task, in a [`run_main`](crate::run_main), while another `MainLoop` is alive, in a thread that holds the
    /// Big QEMU Lock or is not the main loop's, in a simulation, and inside QEMU.
    ///
    /// # Examples
    ///
    /// ```
    /// let main = executor::MainLoop::new()?;
    /// // There are no tasks yet, so it may sleep until somebody rings.
    /// assert_eq!(main.prepare(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn new() -> io::Result<MainLoop> {
        super::assert_may_run("`MainLoop::new`");
        super::claim_main_loop()?;
        let lock = bql::Held::new();
        let fd = embedding::embed()?;
        let running = Some(Running::begin("a `MainLoop`"));
        let mut main = MainLoop { running, fd, due: None, thread: PhantomData };
        main.look_ahead();
        drop(lock);
        Ok(main)
    }

    /// Takes the Big QEMU Lock, waiting for it, and lends `f` the right to run event loops: the way in for the
    /// program's own code, to spawn tasks, to look at what the lock protects, to [`block_on`](crate::block_on).
    ///
    /// Whatever `f` starts goes on in the next [`dispatch`](Self::dispatch). `block_on` runs the main loop, and sleeps,
    /// here and now; the program's own events wait meanwhile.
    ///
    /// # Panics
    ///
    /// While a future is being polled, in a thread that holds the lock already, and if `f` leaves a `BqlRefCell`
    /// borrowed. What `f` panics with goes through, and the main loop is as good as before.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{BqlCell, MainLoop};
    ///
    /// static COUNTER: BqlCell<u32> = BqlCell::new(0);
    ///
    /// let mut main = MainLoop::new()?;
    /// main.enter(|nc| COUNTER.set(nc, COUNTER.get(nc) + 1));
    /// assert!(!executor::bql::is_locked());
    /// assert_eq!(main.enter(|nc| COUNTER.get(nc)), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn enter<R>(&mut self, f: impl for<'n> FnOnce(&'n mut NoCoroutine) -> R) -> R {
        let turn = self.begin_turn("`MainLoop::enter`");
        // SAFETY: no capability exists on this thread, which just took the lock, so that it is in no callback of the
        // main loop's.
        let result = unsafe { NoCoroutine::assume(f) };
        bql::assert_nothing_borrowed("`MainLoop::enter` would release the Big QEMU Lock");
        drop(turn);
        result
    }

    /// Says how long the program's loop may sleep, as far as the main loop is concerned: `None` for ever, `ZERO` not at
    /// all. For loops that ask before each sleep (`GSource`'s prepare, the time-out of `poll()`).
    ///
    /// The descriptor becomes readable when that time is over, too, so a loop that rounds it up, or ignores it, is not
    /// late. It may be shorter than need be, if timers were cancelled. No system call, no lock.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use executor::time::sleep;
    /// use executor::{MainCx, MainLoop};
    ///
    /// async fn doze(_: &MainCx) {
    ///     sleep(Duration::from_secs(3600)).await;
    /// }
    ///
    /// let mut main = MainLoop::new()?;
    /// main.enter(|nc| nc.spawn(doze)).detach();
    /// // The task waits for its first poll.
    /// assert_eq!(main.prepare(), Some(Duration::ZERO));
    /// main.dispatch();
    /// // Now it sleeps.
    /// assert!(main.prepare() > Some(Duration::from_secs(3599)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn prepare(&self) -> Option<Duration> {
        if embedding::is_rung() {
            return Some(Duration::ZERO);
        }
        self.due.map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// Takes the Big QEMU Lock, waiting for it, and runs what is ready, without waiting for more: bottom halves, fds,
    /// timers, and with them the tasks, each executor up to its [budget](crate::Budget). If something is left, the
    /// descriptor is readable when this returns, and the program's own events have their turn first.
    ///
    /// # Panics
    ///
    /// While a future is being polled, and in a thread that holds the lock already. Panics of tasks go to their handles.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor::{MainCx, MainLoop};
    ///
    /// async fn hello(_: &MainCx) {
    ///     println!("hello");
    /// }
    ///
    /// let mut main = MainLoop::new()?;
    /// let task = main.enter(|nc| nc.spawn(hello));
    /// main.dispatch();
    /// assert!(task.is_finished());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn dispatch(&mut self) {
        let _turn = self.begin_turn("`MainLoop::dispatch`");
        super::dispatch(embedding::dispatch);
    }

    #[track_caller]
    fn begin_turn(&mut self, what: &str) -> Turn<'_> {
        assert!(!current::in_poll(), "{what} inside {}", current::describe_task());
        assert!(
            !bql::is_locked(),
            "{what} takes the Big QEMU Lock, which this thread holds already"
        );
        let lock = bql::Held::new();
        Turn { main: self, _lock: lock }
    }

    /// Announces the program's sleep and looks for what is due. Lock held.
    fn look_ahead(&mut self) {
        let now = Instant::now();
        self.due = embedding::prepare().and_then(|timeout| now.checked_add(timeout));
    }
}

/// The lock; before it goes, what there is to wait for is looked at, also after a panic.
struct Turn<'a> {
    main: &'a mut MainLoop,
    _lock: bql::Held,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.main.look_ahead();
    }
}

impl AsFd for MainLoop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd
    }
}

impl AsRawFd for MainLoop {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Cancels the main loop's tasks and drops their futures, with the lock held.
impl Drop for MainLoop {
    fn drop(&mut self) {
        let _lock = (!bql::is_locked()).then(bql::Held::new);
        embedding::unembed();
        drop(self.running.take());
    }
}

impl fmt::Debug for MainLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainLoop").field("fd", &self.fd).field("due", &self.due).finish()
    }
}

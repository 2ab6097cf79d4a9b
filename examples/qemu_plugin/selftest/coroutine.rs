//! Commands about C coroutines, and about tasks that move, inside QEMU: `selftest=on`.
//!
//! Each checks on the spot what can only be seen there (the thread, the context, whether this is a coroutine) and
//! panics if it is wrong, which the client reads as an error.
//!
//! Threads: they begin as tasks of the main loop; what follows is said at each.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aio_sys::QEMU_CLOCK_REALTIME;
use aio_sys::host::{self, QemuCoSleep};
use executor::bql::BqlRefCell;
use executor::clock::Clock;
use executor::host::coroutine::{call, spawn_migratable};
use executor::qmp::{Command, Coroutine, Error, Registry};
use executor::time::sleep_on;
use executor::{InCoroutine, IoContext, IoCx, IoThread, MainCx, MainHandle, Migratable, Remote};
use nix::unistd::{Pid, getpid, gettid};
use serde::{Deserialize, Serialize};

pub(super) fn register(registry: &mut Registry) {
    registry.command::<Hops, _>(hops);
    registry.command::<BorrowAcrossAwait, _>(borrow_across_await);
    registry.command::<CallCoroutine, _>(call_coroutine);
    registry.command::<PanicInCoroutine, _>(panic_in_coroutine);
    registry.command::<DropCoroutine, _>(drop_coroutine);
    registry.command::<WaitInCoroutine, _>(wait_in_coroutine);
    registry.command::<MigrateCoroutine, _>(migrate_coroutine);
}

/// A short time, for sleeps that must take it.
const SHORT: Duration = Duration::from_millis(20);

fn failed(error: impl ToString) -> Error {
    Error::generic(error.to_string())
}

/// An iothread, and the thread that it is.
struct Stop {
    /// Kept while a coroutine is there.
    _thread: IoThread,
    io: IoContext,
    tid: Pid,
}

impl Stop {
    async fn find(cx: &MainCx, id: &str) -> Result<Self, Error> {
        let thread = cx.bql(|bql| IoThread::by_id(bql, id));
        let thread = thread.ok_or_else(|| failed(format!("there is no iothread {id}")))?;
        let io = thread.io();
        let tid = io.run(async |_: &IoCx| gettid()).await.map_err(failed)?;
        Ok(Self { _thread: thread, io, tid })
    }
}

struct Hops;

impl Command for Hops {
    const NAME: &'static str = "x-selftest-hops";
    type Mode = Coroutine;
    type Args = HopsArgs;
    type Ret = HopsRet;
}

#[derive(Deserialize)]
struct HopsArgs {
    iothreads: [String; 2],
    hops: u32,
    driver: Driver,
}

/// Who is the root of the migratable task.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Driver {
    Task,
    Coroutine,
}

async fn hops(cx: &MainCx, args: HopsArgs) -> Result<HopsRet, Error> {
    let [first, second] = &args.iothreads;
    let stops = [Stop::find(cx, first).await?, Stop::find(cx, second).await?];
    let start = Instant::now();
    let body = async move |m: &mut Migratable| hop_around(m, stops, args.hops).await;
    let travelling = match args.driver {
        Driver::Task => cx.spawn_migratable(body),
        Driver::Coroutine => spawn_migratable(cx, body),
    };
    let hops = travelling.await.map_err(failed)?;
    Ok(HopsRet { hops, ns_per_hop: start.elapsed().as_nanos() / u128::from(hops.max(1)) })
}

#[derive(Deserialize, Serialize)]
struct HopsRet {
    hops: u32,
    ns_per_hop: u128,
}

/// Main loop, one iothread, the other, and again; checks at each stop where it is. In between it sleeps once at
/// each, with the timers of that place.
async fn hop_around(m: &mut Migratable, stops: [Stop; 2], hops: u32) -> u32 {
    let mut made = 0;
    while made < hops {
        let slow = made == 0;
        check(m, getpid(), slow).await;
        for stop in &stops {
            m.reschedule_to(&stop.io).await;
            check(m, stop.tid, slow).await;
        }
        m.to_main().await;
        made += 3;
    }
    assert_eq!(gettid(), getpid(), "the last stop");
    made
}

async fn check(_: &mut Migratable, tid: Pid, slow: bool) {
    assert_eq!(gettid(), tid, "where it is");
    assert_eq!(executor::bql::is_locked(), tid == getpid(), "the lock goes with the main loop");
    if slow {
        sleep_on(Clock::Realtime, Duration::from_millis(1)).await;
        assert_eq!(gettid(), tid, "where it is after a sleep");
    }
}

struct BorrowAcrossAwait;

impl Command for BorrowAcrossAwait {
    const NAME: &'static str = "x-selftest-borrow-across-await";
    type Mode = Coroutine;
    type Args = ();
    type Ret = BorrowRet;
}

#[derive(Deserialize, Serialize)]
struct BorrowRet {
    message: String,
    spawned_at_line: u32,
    borrowed_at_line: u32,
}

/// Returns how a task fails that keeps a borrow without a witness across an `.await`.
#[allow(clippy::await_holding_invalid_type, reason = "the lint is right")]
async fn borrow_across_await(cx: &MainCx, (): ()) -> Result<BorrowRet, Error> {
    static CELL: BqlRefCell<u32> = BqlRefCell::new(0);
    let spawned_at_line = line!() + 1;
    let task = cx.spawn_named("careless", async |_: &MainCx| {
        let borrowed = CELL.borrow_ambient();
        sleep_on(Clock::Realtime, SHORT).await;
        *borrowed
    });
    let borrowed_at_line = spawned_at_line + 1;
    let message = task.await.expect_err("the task fails").to_string();
    Ok(BorrowRet { message, spawned_at_line, borrowed_at_line })
}

/// Sleeps as C code does.
fn co_sleep(_: &mut InCoroutine, time: Duration) {
    let mut sleep = QemuCoSleep { to_wake: ptr::null_mut() };
    let ns = i64::try_from(time.as_nanos()).expect("it is a short time");
    // SAFETY: in a coroutine, says the capability; the callers keep nothing that depends on the thread.
    unsafe { host::qemu_co_sleep_ns_wakeable(&raw mut sleep, QEMU_CLOCK_REALTIME, ns) };
}

struct CallCoroutine;

impl Command for CallCoroutine {
    const NAME: &'static str = "x-selftest-call-coroutine";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// Awaits a `coroutine_fn` of C's: twenty at a time, which take as long as one.
async fn call_coroutine(cx: &MainCx, (): ()) -> Result<(), Error> {
    let start = Instant::now();
    let sleep = |number: u32| {
        call(cx, move |co: &mut InCoroutine| {
            assert!(host::qemu_in_coroutine() && executor::bql::is_locked());
            co_sleep(co, SHORT);
            number
        })
    };
    let sleeps: Vec<_> = (0..20).map(sleep).collect();
    for (number, sleep) in (0..).zip(sleeps) {
        assert_eq!(sleep.await.map_err(failed)?, number);
    }
    assert!(!host::qemu_in_coroutine(), "a task is in no coroutine");
    let elapsed = start.elapsed();
    assert!(elapsed >= SHORT && elapsed < SHORT * 19, "it took {elapsed:?}");
    Ok(())
}

struct PanicInCoroutine;

impl Command for PanicInCoroutine {
    const NAME: &'static str = "x-selftest-panic-in-coroutine";
    type Mode = Coroutine;
    type Args = ();
    type Ret = Vec<String>;
}

/// Returns the errors of coroutines that panic: after a sleep, in a task that they drive, elsewhere, and because they
/// would yield with a borrow.
async fn panic_in_coroutine(cx: &MainCx, (): ()) -> Result<Vec<String>, Error> {
    let called: Remote<()> = call(cx, |co| {
        co_sleep(co, SHORT);
        panic!("a panic in a coroutine")
    });
    let stop = Stop::find(cx, "io0").await?;
    let driven: Remote<()> = spawn_migratable(cx, async move |m: &mut Migratable| {
        m.reschedule_to(&stop.io).await;
        panic!("a panic far from home")
    });
    let borrowing = call(cx, |co| {
        static CELL: BqlRefCell<()> = BqlRefCell::new(());
        let _borrowed = CELL.borrow_ambient();
        // SAFETY: the frames keep nothing that depends on the thread but for the borrow, which is what is tested.
        unsafe { co.wait(std::future::pending()) }
    });
    let mut messages = Vec::new();
    for remote in [called, driven, borrowing] {
        messages.push(remote.await.expect_err("it panics").to_string());
    }
    Ok(messages)
}

struct DropCoroutine;

impl Command for DropCoroutine {
    const NAME: &'static str = "x-selftest-drop-coroutine";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// Drops the handles of coroutines: one that has not begun does not, one that has runs to its end, and one that
/// drives a task drops the future where it is.
async fn drop_coroutine(cx: &MainCx, (): ()) -> Result<(), Error> {
    let (begun, ended) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let start = || {
        let (begun, ended) = (Arc::clone(&begun), Arc::clone(&ended));
        call(cx, move |co: &mut InCoroutine| {
            begun.fetch_add(1, Ordering::Relaxed);
            co_sleep(co, SHORT);
            ended.fetch_add(1, Ordering::Relaxed);
        })
    };
    drop(start());
    let second = start();
    until(|| begun.load(Ordering::Relaxed) == 1).await;
    drop(second);
    until(|| ended.load(Ordering::Relaxed) == 1).await;
    assert_eq!(begun.load(Ordering::Relaxed), 1, "what is dropped before it begins does not");
    until(|| Arc::strong_count(&begun) == 1).await;

    let stop = Stop::find(cx, "io0").await?;
    let (there, tid) = (Arc::new(AtomicU32::new(0)), stop.tid);
    let guard = DroppedIn { there: Arc::clone(&there), tid };
    let driven = spawn_migratable(cx, async move |m: &mut Migratable| {
        let guard = guard;
        m.reschedule_to(&stop.io).await;
        guard.there.store(1, Ordering::Relaxed);
        std::future::pending::<()>().await;
    });
    until(|| there.load(Ordering::Relaxed) == 1).await;
    drop(driven);
    until(|| there.load(Ordering::Relaxed) == 2).await;
    Ok(())
}

/// Says whether it is dropped in its thread.
struct DroppedIn {
    there: Arc<AtomicU32>,
    tid: Pid,
}

impl Drop for DroppedIn {
    fn drop(&mut self) {
        let right = gettid() == self.tid;
        self.there.store(if right { 2 } else { 3 }, Ordering::Relaxed);
    }
}

/// Waits until a condition holds that nobody announces.
async fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30), "it takes too long");
        sleep_on(Clock::Realtime, Duration::from_millis(1)).await;
    }
}

struct WaitInCoroutine;

impl Command for WaitInCoroutine {
    const NAME: &'static str = "x-selftest-wait-in-coroutine";
    type Mode = Coroutine;
    type Args = ();
    type Ret = u32;
}

/// Awaits futures in a coroutine, as a driver's callback would: tasks of the main loop, wakes from a thread, and
/// one that wakes itself without end, beside which the loop goes on.
async fn wait_in_coroutine(cx: &MainCx, (): ()) -> Result<u32, Error> {
    let main = cx.main();
    call(cx, move |co| coroutine_fn(co, &main)).await.map_err(failed)
}

fn coroutine_fn(co: &mut InCoroutine, main: &MainHandle) -> u32 {
    // SAFETY: this function and its caller keep nothing that depends on the thread.
    unsafe { co.wait(sum(main)) }
}

async fn sum(main: &MainHandle) -> u32 {
    let mut sum = 0;
    for number in 1..=10 {
        let slept = main.run(async move |_: &MainCx| {
            sleep_on(Clock::Realtime, Duration::from_millis(1)).await;
            number
        });
        sum += slept.await.expect("it does not panic");
    }
    let (sender, receiver) = futures::channel::oneshot::channel();
    let thread = thread::spawn(move || sender.send(45));
    sum += receiver.await.expect("the thread sends");
    assert_eq!(thread.join().expect("the thread ends"), Ok(()));
    let mut slept = main.run(async |_: &MainCx| sleep_on(Clock::Realtime, SHORT).await);
    let mut spins = 0;
    while !slept.is_finished() {
        spins += 1;
        yield_now().await;
    }
    assert!(spins > 1, "it was polled while the task slept");
    (&mut slept).await.expect("it does not panic");
    sum
}

/// Lets others have their turn.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

struct MigrateCoroutine;

impl Command for MigrateCoroutine {
    const NAME: &'static str = "x-selftest-migrate-coroutine";
    type Mode = Coroutine;
    type Args = ();
    type Ret = ();
}

/// Drives a migratable task in coroutines of somebody else's, one on the main loop and one in an iothread, which are
/// then where they were.
async fn migrate_coroutine(cx: &MainCx, (): ()) -> Result<(), Error> {
    let (stop, other) = (Stop::find(cx, "io0").await?, Stop::find(cx, "io1").await?);
    let at_home = call(cx, move |co| {
        there_and_back(co, stop);
        co_sleep(co, SHORT);
        assert_eq!(gettid(), getpid(), "the thread of the main loop");
    });
    at_home.await.map_err(failed)?;
    let stop = Stop::find(cx, "io0").await?;
    let in_iothread = call(cx, move |co| {
        // SAFETY: in a coroutine that nobody else enters; the frames keep nothing that depends on the thread.
        unsafe { host::aio_co_reschedule_self(other.io.context().as_raw()) };
        there_and_back(co, stop);
        // SAFETY: as above.
        unsafe { co.wait(yield_now()) };
        assert_eq!(gettid(), other.tid, "the thread of the iothread");
    });
    in_iothread.await.map_err(failed)
}

fn there_and_back(co: &mut InCoroutine, stop: Stop) {
    let before = (gettid(), entered_in());
    // SAFETY: this function and its callers keep nothing that depends on the thread.
    let there = unsafe {
        co.migrate(async move |m: &mut Migratable| {
            check(m, getpid(), true).await;
            m.reschedule_to(&stop.io).await;
            check(m, stop.tid, true).await;
            (gettid(), entered_in())
        })
    };
    assert_ne!(there.expect("it does not panic"), before, "it was elsewhere");
    assert_eq!((gettid(), entered_in()), before, "it came back");
}

/// The context that this coroutine was entered in, by its address.
fn entered_in() -> usize {
    let coroutine = host::qemu_coroutine_self();
    // SAFETY: it is alive, since it runs.
    unsafe { host::qemu_coroutine_get_aio_context(coroutine) }.addr()
}

//! Commands that put the plugin to the test: `selftest=on`.
//!
//! They do what no user wants done: panic in each mode, start nested event loops, sleep in an iothread, and
//! run QEMU's main context in a thread that is not the main loop's, as a vCPU's thread does when it waits for
//! a disk.
//!
//! Threads: said at each.

mod coroutine;
mod figures;

use std::ffi::{CStr, CString, c_void};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use std::{io, ptr};

use aio_sys::{aio_poll, host, qemu_get_aio_context};
use executor::blocking::blocking;
use executor::bql::with_bql;
use executor::clock::Clock;
use executor::net::EventFd;
use executor::qmp::{Blocking, Command, Coroutine, Error, Mode, Oob, Registry};
use executor::time::{sleep, sleep_on};
use executor::{IoCx, IoThread, MainCx, NoCoroutine, OobContext, block_on};
use serde::Deserialize;

mod bridges;
mod conformance;
mod ends;
mod fairness;
mod guest;

pub(super) fn register(registry: &mut Registry) {
    bridges::register(registry);
    conformance::register(registry);
    ends::register(registry);
    fairness::register(registry);
    guest::register(registry);
    registry.command::<Panic<Blocking>, _>(|_: &mut NoCoroutine, ()| panic!("a blocking panic"));
    registry.command::<Panic<Coroutine>, _>(panic_in_task);
    registry.command::<Panic<Oob>, _>(|_: &OobContext, ()| panic!("an out-of-band panic"));
    registry.command::<NestedSleep, _>(nested_sleep);
    registry.command::<IothreadSleep, _>(iothread_sleep);
    registry.command::<IothreadStorm, _>(iothread_storm);
    registry.command::<ForeignDispatch, _>(foreign_dispatch);
    coroutine::register(registry);
    figures::register(registry);
}

/// A short time, for clocks that must be seen to go on.
const SHORT: Duration = Duration::from_millis(20);

struct Panic<M>(std::marker::PhantomData<M>);

/// The name of the panicking command of a mode.
trait Named: Mode {
    const NAME: &'static str;
}

impl Named for Blocking {
    const NAME: &'static str = "x-selftest-panic-blocking";
}

impl Named for Coroutine {
    const NAME: &'static str = "x-selftest-panic-coroutine";
}

impl Named for Oob {
    const NAME: &'static str = "x-selftest-panic-oob";
}

impl<M: Named + 'static> Command for Panic<M> {
    const NAME: &'static str = M::NAME;
    type Mode = M;
    type Args = ();
    type Ret = ();
}

async fn panic_in_task(_: &MainCx, (): ()) -> Result<(), Error> {
    panic!("a panic in a task");
}

struct NestedSleep;

impl Command for NestedSleep {
    const NAME: &'static str = "x-selftest-nested-sleep";
    type Mode = Blocking;
    type Args = ();
    type Ret = ();
}

/// Sleeps in a nested event loop, in which QEMU runs no timers.
fn nested_sleep(nc: &mut NoCoroutine, (): ()) -> Result<(), Error> {
    block_on(nc, async |cx: &MainCx| {
        let task = cx.spawn(async |_: &MainCx| sleep_on(Clock::Realtime, SHORT).await);
        task.await.map_err(|error| Error::generic(error.to_string()))
    })
}

struct IothreadSleep;

impl Command for IothreadSleep {
    const NAME: &'static str = "x-selftest-iothread-sleep";
    type Mode = Coroutine;
    type Args = IothreadArgs;
    type Ret = ();
}

#[derive(Deserialize)]
struct IothreadArgs {
    iothread: String,
}

fn find_iothread(cx: &MainCx, args: &IothreadArgs) -> Result<IoThread, Error> {
    let thread = cx.bql(|bql| IoThread::by_id(bql, &args.iothread));
    thread.ok_or_else(|| Error::generic("there is no such iothread"))
}

/// Sleeps on every clock in an iothread, whose timers of QEMU's cannot be reached.
async fn iothread_sleep(cx: &MainCx, args: IothreadArgs) -> Result<(), Error> {
    let slept = find_iothread(cx, &args)?.io().run(async |_: &IoCx| {
        for clock in Clock::ALL {
            sleep_on(clock, SHORT).await;
        }
    });
    slept.await.map_err(|error| Error::generic(error.to_string()))
}

struct IothreadStorm;

impl Command for IothreadStorm {
    const NAME: &'static str = "x-selftest-iothread-storm";
    type Mode = Coroutine;
    type Args = IothreadArgs;
    type Ret = ();
}

/// Waits for a timer and an fd in an iothread that never sleeps: QEMU asks the kernel about neither.
async fn iothread_storm(cx: &MainCx, args: IothreadArgs) -> Result<(), Error> {
    let waited = find_iothread(cx, &args)?.io().run(async |io: &IoCx| {
        let storm = io.spawn(async |_: &IoCx| {
            poll_fn(|cx| {
                cx.waker().wake_by_ref();
                Poll::<()>::Pending
            })
            .await;
        });
        let event = Rc::new(EventFd::new()?);
        let writer = Rc::clone(&event);
        let notified = io.spawn(async move |_: &IoCx| {
            sleep(SHORT).await;
            writer.notify()
        });
        event.wait().await?;
        storm.abort();
        notified.await.map_err(io::Error::other)??;
        Ok::<_, io::Error>(())
    });
    let waited = waited.await.map_err(|error| Error::generic(error.to_string()))?;
    waited.map_err(|error| Error::generic(error.to_string()))
}

struct ForeignDispatch;

impl Command for ForeignDispatch {
    const NAME: &'static str = "x-selftest-foreign-dispatch";
    type Mode = Coroutine;
    type Args = ForeignDispatchArgs;
    type Ret = serde_json::Value;
}

#[derive(Deserialize)]
struct ForeignDispatchArgs {
    request: serde_json::Value,
}

/// Lets QEMU run a request in a thread of the pool, which runs the main context meanwhile.
async fn foreign_dispatch(
    _: &MainCx,
    args: ForeignDispatchArgs,
) -> Result<serde_json::Value, Error> {
    let request = CString::new(args.request.to_string()).expect("JSON has no NUL");
    let reply = blocking(move || Dispatch::run(request)).await;
    let reply = reply.map_err(|error| Error::generic(error.to_string()))?;
    serde_json::from_str(&reply).map_err(|error| Error::generic(error.to_string()))
}

/// Passes of the main context in which a command begins; one or two are enough.
const PASSES: usize = 8;

/// A request in a coroutine of this thread's.
struct Dispatch {
    request: CString,
    reply: Mutex<Option<String>>,
}

impl Dispatch {
    fn run(request: CString) -> String {
        let this = Self { request, reply: Mutex::new(None) };
        with_bql(|_| {
            let opaque = (&raw const this).cast_mut().cast::<c_void>();
            // SAFETY: `this` stays until the coroutine has replied, which is the last it does.
            let coroutine = unsafe { host::qemu_coroutine_create(Self::coroutine, opaque) };
            // SAFETY: it is new, and this thread is in no coroutine.
            unsafe { host::qemu_coroutine_enter(coroutine) };
            // Now, before the main loop's thread has the lock, the command begins here.
            for _ in 0..PASSES {
                poll_main_context();
            }
        });
        loop {
            let reply = with_bql(|_| {
                poll_main_context();
                this.reply.lock().unwrap_or_else(PoisonError::into_inner).take()
            });
            if let Some(reply) = reply {
                return reply;
            }
        }
    }

    extern "C" fn coroutine(opaque: *mut c_void) {
        // SAFETY: from `run`, which waits for the reply.
        let this = unsafe { &*opaque.cast::<Self>() };
        // SAFETY: a C string; without a place for an error there is none to free.
        let request = unsafe { host::qobject_from_json(this.request.as_ptr(), ptr::null_mut()) };
        let commands = &raw const host::qmp_commands;
        // SAFETY: in a coroutine, under the lock; no monitor.
        let reply = unsafe { host::qmp_dispatch(commands, request, false, ptr::null_mut()) };
        // SAFETY: ours.
        unsafe { host::qdict_unref(request.cast()) };
        // SAFETY: alive.
        let text = unsafe { host::qobject_to_json(host::qobject(reply)) };
        // SAFETY: a new buffer.
        let text = unsafe { (*text).text };
        // SAFETY: NUL-terminated. The test leaks it, and the reply.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
        *this.reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

/// Runs the main context as C code does that waits in a vCPU's thread. Under the lock.
fn poll_main_context() {
    // SAFETY: who holds the lock may run the main context.
    unsafe { aio_poll(qemu_get_aio_context(), false) };
}

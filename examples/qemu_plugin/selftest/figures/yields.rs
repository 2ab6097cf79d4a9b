//! Giving way: a task of ours that yields, beside C coroutines that do.
//!
//! C has two ways. The bare one, `qemu_coroutine_enter` and `qemu_coroutine_yield`, has no scheduler: somebody has to
//! know whom to enter. The other is `aio_co_schedule` and a yield, which asks the event loop; that is what a yield of
//! a task is, too, and both include the passes of QEMU's main loop that there are in between.

use std::ffi::c_void;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use aio_sys::{host, qemu_get_aio_context};
use executor::MainCx;
use executor::host::coroutine::call;
use executor::qmp::Error;

use super::{Contender, Row, per_operation, play};

pub(super) async fn compare(cx: &MainCx) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let names = [
        (1, "yield of 1 task", "enter + yield", "aio_co_schedule + yield"),
        (1000, "yield of 1000 tasks", "enter + yield, 1000", "aio_co_schedule + yield, 1000"),
    ];
    for (many, task, bare, scheduled) in names {
        let mut contenders = [
            Contender::new(task, || tasks(cx, many)),
            Contender::new(bare, || entered(cx, many)),
            Contender::new(scheduled, || scheduled_coroutines(cx, many)),
        ];
        play(&mut contenders).await;
        let [ours, bare, scheduled] = &contenders;
        rows.extend([ours.against(bare), ours.against(scheduled)]);
    }
    Ok(rows)
}

/// The time in which all of many are there: from the last that begins to the last that ends.
#[derive(Default)]
struct Window {
    begun: AtomicU32,
    ended: AtomicU32,
    span: Mutex<Option<(Instant, Instant)>>,
}

impl Window {
    fn note(&self) {
        let now = Instant::now();
        let mut span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        let start = span.map_or(now, |(start, _)| start);
        // Nobody has ended when the last begins.
        let start = if self.ended.load(Ordering::Relaxed) == 0 { now } else { start };
        *span = Some((start, now));
    }

    fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.note();
    }

    fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.note();
    }

    fn span(&self, many: u32) -> Duration {
        assert_eq!(self.begun.load(Ordering::Relaxed), many);
        assert_eq!(self.ended.load(Ordering::Relaxed), many);
        let span = self.span.lock().unwrap_or_else(PoisonError::into_inner);
        span.map(|(start, end)| end - start).expect("it is noted")
    }
}

/// How often each yields, if `all` is how many yields there are to be.
fn each(all: u32, many: u32) -> u32 {
    all / many
}

async fn tasks(cx: &MainCx, many: u32) -> f64 {
    let (window, yields) = (Arc::new(Window::default()), each(200_000, many));
    let task = |_| {
        let window = Arc::clone(&window);
        cx.spawn_future(async move {
            window.begin();
            for _ in 0..yields {
                yield_now().await;
            }
            window.end();
        })
    };
    let tasks: Vec<_> = (0..many).map(task).collect();
    for task in tasks {
        task.await.expect("it does not panic");
    }
    per_operation(window.span(many), yields * many)
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

async fn entered(cx: &MainCx, many: u32) -> f64 {
    // Outside of any poll, as C code would.
    let time = cx.run_in_bh(move |_| enter_and_yield(many, each(200_000, many))).await;
    per_operation(time.expect("it does not panic"), each(200_000, many) * many)
}

/// What coroutines that are entered by hand share.
#[derive(Default)]
struct Shared {
    end: AtomicBool,
    yielded: AtomicU32,
}

fn enter_and_yield(many: u32, yields: u32) -> Duration {
    let shared = Shared::default();
    let opaque = (&raw const shared).cast_mut().cast::<c_void>();
    let create = |_| {
        // SAFETY: `shared` outlives the coroutines, which all end below.
        unsafe { host::qemu_coroutine_create(yield_until_told, opaque) }
    };
    let coroutines: Vec<_> = (0..many).map(create).collect();
    let enter_all = || {
        for coroutine in &coroutines {
            // SAFETY: it has not ended and is not entered; only this function enters it.
            unsafe { host::qemu_coroutine_enter(*coroutine) };
        }
    };
    enter_all();
    let start = Instant::now();
    for _ in 0..yields {
        enter_all();
    }
    let time = start.elapsed();
    assert_eq!(shared.yielded.load(Ordering::Relaxed), (yields + 1) * many);
    shared.end.store(true, Ordering::Relaxed);
    enter_all();
    time
}

extern "C" fn yield_until_told(opaque: *mut c_void) {
    // SAFETY: from `enter_and_yield`, which waits for the end of this.
    let shared = unsafe { &*opaque.cast::<Shared>() };
    while !shared.end.load(Ordering::Relaxed) {
        shared.yielded.store(shared.yielded.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // SAFETY: in a coroutine, whose one frame is this.
        unsafe { host::qemu_coroutine_yield() };
    }
}

async fn scheduled_coroutines(cx: &MainCx, many: u32) -> f64 {
    let all = if many == 1 { 20_000 } else { 100_000 };
    let (window, yields) = (Arc::new(Window::default()), each(all, many));
    let coroutine = |_| {
        let window = Arc::clone(&window);
        call(cx, move |_| {
            window.begin();
            for _ in 0..yields {
                schedule_and_yield();
            }
            window.end();
        })
    };
    let coroutines: Vec<_> = (0..many).map(coroutine).collect();
    for coroutine in coroutines {
        coroutine.await.expect("it does not panic");
    }
    per_operation(window.span(many), yields * many)
}

/// In a coroutine of the main context.
fn schedule_and_yield() {
    // SAFETY: in the home thread of the context, which has the lock until the coroutine has left.
    unsafe { host::aio_co_schedule(qemu_get_aio_context(), host::qemu_coroutine_self()) };
    // SAFETY: in a coroutine; the frames keep nothing that depends on the thread.
    unsafe { host::qemu_coroutine_yield() };
}

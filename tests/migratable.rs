//! Tasks that move themselves between the main loop and iothreads.

use std::future::{Future, pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::{self, ThreadId};

use executor::{
    BqlCell, IoContext, IoThread, MainCx, Migratable, NoCoroutine, Probe, block_on, run_main,
};
use futures_util::stream::{FuturesUnordered, StreamExt};

static CELL: BqlCell<u32> = BqlCell::new(0);

struct Threads {
    main: ThreadId,
    io: [(IoThread, ThreadId); 2],
}

impl Threads {
    fn start(nc: &mut NoCoroutine, case: &str) -> Threads {
        let mut start = |index: usize| {
            let thread = IoThread::create(nc, &format!("{case}-{index}")).unwrap();
            let io = thread.io();
            let id = block_on(nc, async |_: &MainCx| {
                io.run(async |_: &executor::IoCx| thread::current().id()).await.unwrap()
            });
            (thread, id)
        };
        Threads { main: thread::current().id(), io: [start(0), start(1)] }
    }

    fn io(&self, index: usize) -> IoContext {
        self.io[index].0.io()
    }

    fn end(self, nc: &mut NoCoroutine) {
        for (thread, _) in self.io {
            thread.destroy(nc).unwrap();
        }
    }
}

fn here() -> ThreadId {
    thread::current().id()
}

fn a_task_hops_around_and_is_always_where_it_says(nc: &mut NoCoroutine) {
    // Of three hops each.
    const ROUNDS: usize = 33_334;
    let threads = Threads::start(nc, "hop");
    let (main, id0, id1) = (threads.main, threads.io[0].1, threads.io[1].1);
    let (io0, io1) = (threads.io(0), threads.io(1));

    let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
        let mut rounds = 0;
        for _ in 0..ROUNDS {
            assert_eq!(here(), main);
            m.reschedule_to(&io0).await;
            assert_eq!(here(), id0);
            m.reschedule_to(&io0).await;
            assert_eq!(here(), id0);
            m.reschedule_to(&io1).await;
            assert_eq!(here(), id1);
            m.to_main().await;
            rounds += 1;
        }
        rounds
    });
    let rounds = block_on(nc, async move |_: &MainCx| remote.await.unwrap());

    assert_eq!(rounds, ROUNDS);
    threads.end(nc);
}

async fn count_on_main(m: &mut Migratable, io: IoContext) -> (u32, ThreadId) {
    m.reschedule_to(&io).await;
    let count = m
        .on_main(|bql| {
            CELL.set(bql, CELL.get(bql) + 1);
            CELL.get(bql)
        })
        .await;
    (count, here())
}

fn on_main_looks_at_the_lock_and_goes_back(nc: &mut NoCoroutine) {
    let threads = Threads::start(nc, "back");
    let (io0, id0) = (threads.io(0), threads.io[0].1);
    CELL.set(nc, 41);

    let remote = nc.spawn_migratable(async move |m: &mut Migratable| count_on_main(m, io0).await);
    let result = block_on(nc, async move |_: &MainCx| remote.await.unwrap());

    assert_eq!(result, (42, id0));
    threads.end(nc);
}

/// The mover is in a combinator that polls only who was woken.
fn siblings_ride_along(nc: &mut NoCoroutine) {
    let threads = Threads::start(nc, "siblings");
    let (io0, id0) = (threads.io(0), threads.io[0].1);

    let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
        let children =
            FuturesUnordered::<std::pin::Pin<Box<dyn Future<Output = ThreadId> + Send>>>::new();
        let (wake, woken) = futures_channel_like();
        children.push(Box::pin(async move {
            woken.await;
            here()
        }));
        children.push(Box::pin(async move {
            m.reschedule_to(&io0).await;
            wake();
            here()
        }));
        children.collect::<Vec<_>>().await
    });
    let seen = block_on(nc, async move |_: &MainCx| remote.await.unwrap());

    assert_eq!(seen, [id0, id0]);
    threads.end(nc);
}

/// A flag that wakes.
fn futures_channel_like() -> (impl FnOnce() + Send, impl Future<Output = ()> + Send) {
    let flag = Arc::new((AtomicBool::new(false), futures_util::task::AtomicWaker::new()));
    let setter = Arc::clone(&flag);
    let set = move || {
        setter.0.store(true, Ordering::SeqCst);
        setter.1.wake();
    };
    let wait = poll_fn(move |cx| {
        flag.1.register(cx.waker());
        if flag.0.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    });
    (set, wait)
}

fn a_wish_that_is_dropped_before_the_poll_ends_is_revoked(nc: &mut NoCoroutine) {
    let threads = Threads::start(nc, "revoke");
    let (io0, main) = (threads.io(0), threads.main);

    let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                let mut wish = std::pin::pin!(m.reschedule_to(&io0));
                assert!(wish.as_mut().poll(cx).is_pending());
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(here())
        })
        .await
    });
    let seen = block_on(nc, async move |_: &MainCx| remote.await.unwrap());

    assert_eq!(seen, main);
    threads.end(nc);
}

fn the_end_of_the_iothread_cancels_the_task(nc: &mut NoCoroutine) {
    struct CountDrop(Arc<AtomicUsize>);
    impl Drop for CountDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let threads = Threads::start(nc, "end");
    let io0 = threads.io(0);
    let drops = Arc::new(AtomicUsize::new(0));
    let guard = CountDrop(Arc::clone(&drops));
    let (arrived, arrival) = futures_channel_like();

    let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
        let _guard = guard;
        m.reschedule_to(&io0).await;
        arrived();
        pending::<()>().await;
    });
    block_on(nc, async move |_: &MainCx| arrival.await);
    threads.end(nc);
    let error = block_on(nc, async move |_: &MainCx| remote.await.unwrap_err());

    assert!(error.is_cancelled());
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

fn a_panic_elsewhere_comes_back(nc: &mut NoCoroutine) {
    let threads = Threads::start(nc, "panic");
    let io0 = threads.io(0);

    let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
        m.reschedule_to(&io0).await;
        panic!("far away");
    });
    let error: executor::JoinError =
        block_on(nc, async move |_: &MainCx| remote.await.unwrap_err());

    assert!(error.to_string().ends_with("panicked: far away"), "{error}");
    threads.end(nc);
}

fn a_dropped_handle_cancels_wherever_the_task_is(nc: &mut NoCoroutine) {
    let threads = Threads::start(nc, "drop");
    let io0 = threads.io(0);
    let (arrived, arrival) = futures_channel_like();
    let (dropped, drop_seen) = futures_channel_like();
    struct OnDrop<F: FnOnce()>(Option<F>);
    impl<F: FnOnce()> Drop for OnDrop<F> {
        fn drop(&mut self) {
            self.0.take().unwrap()();
        }
    }
    let guard = OnDrop(Some(dropped));

    let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
        let _guard = guard;
        m.reschedule_to(&io0).await;
        arrived();
        pending::<()>().await;
    });
    block_on(nc, async move |_: &MainCx| arrival.await);
    drop(remote);
    block_on(nc, async move |_: &MainCx| drop_seen.await);
    threads.end(nc);
}

fn a_listing_shows_where_the_task_is(nc: &mut NoCoroutine) {
    let threads = Threads::start(nc, "listing");
    let (io0, there) = (threads.io(0), threads.io(0));
    let main = nc.spawn(async |cx: &MainCx| cx.probe());
    let main = block_on(nc, async move |_: &MainCx| main.await.unwrap());
    let (arrived, arrival) = futures_channel_like();

    let line = line!() + 1;
    let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
        m.reschedule_to(&io0).await;
        arrived();
        pending::<()>().await;
    });
    let ids = |probe: &Probe| -> Vec<u64> {
        let tasks = probe.tasks().into_iter();
        let mine = tasks.filter(|task| task.label.spawned_at.line() == line);
        mine.map(|task| task.label.id).collect()
    };
    let before = ids(&main);
    assert_eq!(before.len(), 1);
    block_on(nc, async move |_: &MainCx| arrival.await);

    assert_eq!(ids(&there.probe().unwrap()), before, "it keeps its id");
    assert!(ids(&main).is_empty());
    drop(remote);
    threads.end(nc);
}

/// The main loop belongs to one thread, so the cases run one after the other.
#[test]
fn migratable_tasks() {
    type Case = fn(&mut NoCoroutine);
    let cases: [(&str, Case); 8] = [
        ("hop", a_task_hops_around_and_is_always_where_it_says),
        ("on_main", on_main_looks_at_the_lock_and_goes_back),
        ("siblings", siblings_ride_along),
        ("revoke", a_wish_that_is_dropped_before_the_poll_ends_is_revoked),
        ("end", the_end_of_the_iothread_cancels_the_task),
        ("panic", a_panic_elsewhere_comes_back),
        ("listing", a_listing_shows_where_the_task_is),
        ("drop", a_dropped_handle_cancels_wherever_the_task_is),
    ];
    for (name, case) in cases {
        println!("case {name}");
        run_main(case);
    }
}

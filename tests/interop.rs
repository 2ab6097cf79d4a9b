//! Foreign primitives run on this executor: channels, locks, events and combinators that know no runtime.
//!
//! Each is used between tasks of the main loop, and between them and a thread that has no executor, which is where a
//! primitive that relied on its own runtime would never wake anybody.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use event_listener::{Event, Listener};
use executor::time::{sleep, timeout};
use executor::{IoThread, MainCx, NoCoroutine, block_on, reschedule_to, run_main};
use futures::future::{join_all, select_ok};
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{SinkExt, channel, lock};
use futures_util::select;
use tokio::sync;

/// Runs a task on a main loop, in the process's one test.
fn run<F, T>(nc: &mut NoCoroutine, task: F) -> T
where
    F: AsyncFnOnce(&MainCx) -> T + 'static,
    T: 'static,
{
    let mut task = Some(task);
    block_on(nc, async move |cx: &MainCx| {
        let task = task.take().expect("called once");
        timeout(Duration::from_secs(30), task(cx)).await.expect("it takes no half minute")
    })
}

/// A thread that does something with a foreign primitive, without any executor.
fn elsewhere(what: impl FnOnce() + Send + 'static) {
    thread::spawn(what);
}

async fn tokio_sync(cx: &MainCx) {
    let (send, mut receive) = sync::mpsc::channel(1);
    let producer = cx.spawn_future(async move {
        for number in 0..10 {
            send.send(number).await.expect("somebody listens");
        }
    });
    let mut sum = 0;
    while let Some(number) = receive.recv().await {
        sum += number;
    }
    producer.await.expect("it does not panic");
    assert_eq!(sum, 45);

    let (tell, told) = sync::oneshot::channel();
    elsewhere(move || tell.send("from a thread").expect("somebody listens"));
    assert_eq!(told.await, Ok("from a thread"));

    let (lock, notify) = (Arc::new(sync::Mutex::new(0)), Arc::new(sync::Notify::new()));
    let guard = lock.lock().await;
    let (other, heard) = (Arc::clone(&lock), Arc::clone(&notify));
    let waiter = cx.spawn_future(async move {
        *other.lock().await += 1;
        heard.notify_one();
    });
    drop(guard);
    notify.notified().await;
    waiter.await.expect("it does not panic");
    assert_eq!(*lock.lock().await, 1);

    let (set, mut watch) = sync::watch::channel(0);
    elsewhere(move || set.send(7).expect("somebody listens"));
    watch.changed().await.expect("the sender has said something");
    assert_eq!(*watch.borrow(), 7);
}

async fn between_threads(io: executor::IoContext) {
    let semaphore = Arc::new(sync::Semaphore::new(0));
    let (ask, asked) = async_channel::bounded::<u32>(1);
    let permits = Arc::clone(&semaphore);
    // The other end is a task of an iothread.
    let remote = reschedule_to(&io, async move {
        let mut sum = 0;
        while let Ok(number) = asked.recv().await {
            sum += number;
            permits.add_permits(1);
        }
        sum
    });
    for number in 0..100 {
        ask.send(number).await.expect("somebody listens");
        semaphore.acquire().await.expect("it is open").forget();
    }
    drop(ask);
    assert_eq!(remote.await.expect("it does not panic"), 4950);
}

async fn events_and_channels(cx: &MainCx) {
    let (event, flag) = (Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
    let (ring, set) = (Arc::clone(&event), Arc::clone(&flag));
    let listener = event.listen();
    elsewhere(move || {
        set.store(true, Ordering::SeqCst);
        ring.notify(usize::MAX);
    });
    listener.await;
    assert!(flag.load(Ordering::SeqCst));

    // And the other way: a thread blocks until a task of ours says something.
    let listener = event.listen();
    let (tell, told) = async_channel::unbounded();
    elsewhere(move || {
        listener.wait();
        tell.send_blocking("woken").expect("somebody listens");
    });
    event.notify(1);
    assert_eq!(told.recv().await, Ok("woken"));

    let (mut sink, stream) = channel::mpsc::channel(2);
    let producer = cx.spawn_future(async move {
        for number in 0..5 {
            sink.send(number).await.expect("somebody listens");
        }
    });
    assert_eq!(stream.collect::<Vec<_>>().await, [0, 1, 2, 3, 4]);
    producer.await.expect("it does not panic");
}

async fn combinators(cx: &MainCx) {
    let after = |millis: u64| async move {
        sleep(Duration::from_millis(millis)).await;
        millis
    };
    assert_eq!(join_all([after(3), after(1), after(2)]).await, [3, 1, 2]);

    let mut order: Vec<u64> = [after(30), after(1), after(15)]
        .into_iter()
        .collect::<FuturesUnordered<_>>()
        .collect()
        .await;
    assert_eq!(order.pop(), Some(30));

    let first = select_ok([
        Box::pin(async { Err("no") }) as std::pin::Pin<Box<dyn Future<Output = Result<u64, &str>>>>,
        Box::pin(async move { Ok(after(1).await) }),
    ]);
    assert_eq!(first.await.map(|(value, _)| value), Ok(1));

    let (mut slow, mut fast) = (Box::pin(after(10_000)), cx.spawn_future(after(1)));
    let mut fast = std::pin::pin!(futures::FutureExt::fuse(&mut fast));
    let mut slow = futures::FutureExt::fuse(&mut slow);
    let won = select! { _ = slow => "slow", _ = fast => "fast" };
    assert_eq!(won, "fast");

    let shared = Arc::new(lock::Mutex::new(Vec::new()));
    let push = |number| {
        let shared = Arc::clone(&shared);
        cx.spawn_future(async move { shared.lock().await.push(number) })
    };
    join_all([push(1), push(2)]).await;
    assert_eq!(*shared.lock().await, [1, 2]);
}

#[test]
fn primitives_that_know_no_runtime_run_on_this_one() {
    run_main(|nc| {
        run(nc, tokio_sync);
        run(nc, events_and_channels);
        run(nc, combinators);
        let io0 = IoThread::create(nc, "io0").expect("there are threads left");
        let io = io0.io();
        run(nc, async move |_: &MainCx| between_threads(io).await);
        io0.destroy(nc).expect("it was not destroyed before");
    });
}

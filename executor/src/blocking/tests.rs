//! Tests of the blocking pool, each on a pool of its own.

use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use super::job::Call;
use super::pool::{Pool, spawn_thread};
use super::{Blocking, File, blocking, submit};

const LONG: Duration = Duration::from_secs(3600);

fn pool(most: usize, linger: Duration) -> &'static Pool {
    Box::leak(Box::new(Pool::new(most, linger, spawn_thread)))
}

fn start<T: Send + 'static>(
    pool: &'static Pool,
    f: impl FnOnce() -> T + Send + 'static,
) -> Blocking<T> {
    submit(pool, Call::new(f)).map_err(|(_, error)| error).expect("there are threads")
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn results_come_back_from_another_thread() {
    let here = thread::current().id();

    let there = wait(blocking(|| thread::current().id())).unwrap();

    assert_ne!(here, there);
}

#[test]
fn a_panic_is_handed_to_the_future_and_the_thread_goes_on() {
    let pool = pool(1, LONG);

    let error = wait(start(pool, || -> u32 { panic!("no disk") })).unwrap_err();
    assert!(error.is_panic());
    assert_eq!(error.to_string(), "blocking work panicked: no disk");
    assert_eq!(*error.try_into_panic().unwrap().downcast::<&str>().unwrap(), "no disk");

    assert_eq!(wait(start(pool, || 5)).unwrap(), 5);
    assert_eq!(pool.threads(), 1);
}

/// Panics when it is dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_result_nobody_wants_is_dropped_on_the_thread_even_if_it_panics() {
    let pool = pool(1, LONG);
    let (begin, begun) = mpsc::channel();
    let (release, released) = mpsc::channel();
    let unwanted = start(pool, move || {
        begin.send(()).unwrap();
        released.recv().unwrap();
        Grenade
    });
    begun.recv().unwrap();

    drop(unwanted);
    release.send(()).unwrap();

    assert_eq!(wait(start(pool, || 5)).unwrap(), 5);
}

#[test]
fn a_burst_finds_as_many_threads_as_the_bound_allows_and_no_more() {
    let pool = pool(3, LONG);
    wait(start(pool, || ())).unwrap();
    let meeting = Arc::new(Barrier::new(3));
    let meet = |_| {
        let meeting = Arc::clone(&meeting);
        start(pool, move || meeting.wait().is_leader())
    };

    // Each round can only end if three of them run at once.
    let rounds: Vec<_> = (0..12).map(meet).collect();
    let leaders = rounds.into_iter().map(|work| wait(work).unwrap());

    assert_eq!(leaders.filter(|&leader| leader).count(), 4);
    assert_eq!(pool.threads(), 3);
}

#[test]
fn queued_work_runs_in_order_and_leaves_when_its_future_is_dropped() {
    let pool = pool(1, LONG);
    let (release, released) = mpsc::channel();
    let (log, logged) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let first = start(pool, move || {
        begin.send(()).unwrap();
        released.recv().unwrap();
    });
    begun.recv().unwrap();
    let alive = Arc::new(());
    let mut queued: Vec<_> = (0..4)
        .map(|number| {
            let (log, alive) = (log.clone(), Arc::clone(&alive));
            start(pool, move || {
                log.send(number).unwrap();
                drop(alive);
            })
        })
        .collect();

    drop(queued.remove(1));
    assert_eq!(Arc::strong_count(&alive), 4, "its closure was dropped at once");
    assert_eq!(pool.queued(), 3);
    release.send(()).unwrap();
    wait(first).unwrap();
    queued.into_iter().for_each(|work| wait(work).unwrap());

    drop(log);
    assert_eq!(logged.iter().collect::<Vec<_>>(), [0, 2, 3]);
}

#[test]
fn idle_threads_end() {
    let pool = pool(4, Duration::ZERO);

    wait(start(pool, || ())).unwrap();

    while pool.threads() > 0 {
        thread::yield_now();
    }
    assert_eq!(wait(start(pool, || 5)).unwrap(), 5, "and come back");
}

#[test]
fn without_any_thread_the_task_is_given_back() {
    let no_threads = |_: &'static Pool| Err(io::Error::from(io::ErrorKind::WouldBlock));
    let pool = Box::leak(Box::new(Pool::new(4, LONG, no_threads)));

    let Err((call, error)) = submit(pool, Call::new(|| 5)) else { panic!("it cannot run") };

    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(super::job::Task::run(call), 5);
    assert_eq!((pool.threads(), pool.queued()), (0, 0));
}

#[test]
fn with_fewer_threads_than_wished_the_work_waits() {
    static CREATED: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: the pool's lock orders the calls.
    let one_thread = |pool: &'static Pool| match CREATED.fetch_add(1, Ordering::Relaxed) {
        0 => spawn_thread(pool),
        _ => Err(io::Error::from(io::ErrorKind::WouldBlock)),
    };
    let pool = Box::leak(Box::new(Pool::new(4, LONG, one_thread)));
    let (release, released) = mpsc::channel();
    let first = start(pool, move || released.recv().unwrap());
    let second = start(pool, || 5);

    release.send(()).unwrap();

    wait(first).unwrap();
    assert_eq!(wait(second).unwrap(), 5);
    assert_eq!(pool.threads(), 1);
}

#[test]
fn threads_take_no_signals() {
    let blocked = wait(blocking(SigSet::thread_get_mask)).unwrap().unwrap();

    assert!(blocked.contains(Signal::SIGTERM) && blocked.contains(Signal::SIGUSR1));
    assert!(!SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM), "ours are as before");
}

#[test]
fn a_file_is_read_and_written_at_offsets() {
    let path = std::env::temp_dir().join(format!("executor-blocking-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all_at(b"0123456789", 0).unwrap();
    let file = File::from(file);

    let (buffer, result) = wait(file.write_at(b"xyz".to_vec(), 4));
    assert_eq!((buffer.as_slice(), result.unwrap()), (&b"xyz"[..], 3));
    wait(file.sync_data()).unwrap();
    let (buffer, result) = wait(file.read_at(vec![0; 4], 3));
    assert_eq!((buffer.as_slice(), result.unwrap()), (&b"3xyz"[..], 4));
    let (buffer, result) = wait(file.read_at(vec![0; 4], 8));
    assert_eq!((buffer.as_slice(), result.unwrap()), (&b"89\0\0"[..], 2), "the end of the file");
}

#[test]
fn opening_a_file_that_is_not_there_fails() {
    let error = wait(File::open("/nonexistent/file")).unwrap_err();

    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

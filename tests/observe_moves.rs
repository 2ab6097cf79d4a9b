//! What observers get to see of work that moves between threads, and of the Big QEMU Lock.

mod common;

use std::future::pending;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex, Once};

use common::{chrome, on_main};
use executor::bql::with_bql;
use executor::observe::{
    Accounts, ChromeTrace, Departure, Event, Observer, Outcome, TaskState, What, observe,
};
use executor::{
    Context, IoCx, IoThread, MainCx, Migratable, NoCoroutine, TaskLabel, block_on, reschedule_to,
};

/// An event, without what it borrows.
#[derive(Clone, Debug, PartialEq)]
struct Note {
    task: u64,
    by: u64,
    thread: u32,
    what: Happened,
}

#[derive(Clone, Debug, PartialEq)]
enum Happened {
    Spawned(Context),
    Sent(u64),
    Moved(Context, Departure),
    Dropped(u64),
    Ended(Outcome),
}

#[derive(Default)]
struct Notes(Mutex<Vec<Note>>);

impl Observer for Notes {
    fn observe(&self, event: &Event<'_>) {
        let Event { task, by, thread, .. } = *event;
        let what = match event.what {
            What::Spawned { context, .. } => Happened::Spawned(context.clone()),
            What::Sent { number } => Happened::Sent(number),
            What::Moved { context, from, .. } => Happened::Moved(context.clone(), from),
            What::Dropped { number } => Happened::Dropped(number),
            What::PollEnds { outcome } if outcome != Outcome::Pending => Happened::Ended(outcome),
            _ => return,
        };
        // A task that has moved may have ended there by now.
        if !matches!(what, Happened::Sent(_) | Happened::Ended(Outcome::Moved)) {
            assert_eq!(event.label().is_some(), task != 0, "it has a name to the end");
        }
        self.0.lock().unwrap().push(Note { task, by, thread, what });
    }
}

static NOTES: LazyLock<Notes> = LazyLock::new(Notes::default);
static ACCOUNTS: LazyLock<Accounts> = LazyLock::new(Accounts::new);

/// Runs `test` on the main loop, where it has the observers and an iothread, which it ends, to itself.
fn observed(name: &str, test: impl FnOnce(&mut NoCoroutine, IoThread) + Send + 'static) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        observe(&*NOTES);
        observe(&*ACCOUNTS);
    });
    let name = name.to_owned();
    on_main(move |nc| {
        let io0 = IoThread::create(nc, &name).expect("there are threads left");
        NOTES.0.lock().unwrap().clear();
        test(nc, io0);
    });
}

fn notes() -> Vec<Note> {
    NOTES.0.lock().unwrap().clone()
}

/// The notes on one task, with what it sent.
fn notes_of(task: u64) -> Vec<Note> {
    notes().into_iter().filter(|note| note.task == task).collect()
}

/// Every move: who sent it, the note of its departure, and that of its arrival.
fn moves() -> Vec<(Note, Option<Note>)> {
    let arrival = |number: u64| {
        notes().into_iter().find(|note| match note.what {
            Happened::Moved(_, from) => from.number == number,
            _ => false,
        })
    };
    let departures = notes().into_iter().filter_map(|note| match note.what {
        Happened::Sent(number) => Some((arrival(number), note)),
        _ => None,
    });
    departures.map(|(arrival, note)| (note, arrival)).collect()
}

fn me() -> u64 {
    TaskLabel::current().expect("a task runs").id
}

#[test]
fn a_future_that_is_rescheduled_leaves_here_and_comes_there_as_a_task() {
    observed("sent", |nc, io0| {
        let io = io0.io();
        let context = io.context().clone();
        let (sender, there, parent) = block_on(nc, async |cx: &MainCx| {
            let task = cx.spawn(async move |_: &MainCx| {
                let there = reschedule_to(&io, async {
                    let account = ACCOUNTS.task(me()).expect("it was seen being spawned");
                    (me(), account.parent)
                });
                (me(), there.await.unwrap())
            });
            let (sender, (there, parent)) = task.await.unwrap();
            (sender, there, parent)
        });
        // Then all that happens there has been seen.
        io0.destroy(nc).expect("it was not destroyed before");
        let departed = moves();
        let [(sent, Some(moved))] = &departed[..] else { panic!("{departed:?}") };
        assert_eq!((sent.task, sent.by), (0, sender), "it is no task yet");
        assert_eq!((moved.task, moved.by), (there, sender));
        assert_ne!(moved.thread, sent.thread);
        let Happened::Moved(at, from) = &moved.what else { panic!("{moved:?}") };
        assert_eq!((at, from.thread, from.task), (&context, sent.thread, sender));
        assert_eq!(parent, sender, "who sends a future is the parent of its task");
        let steps = notes_of(there);
        assert!(matches!(steps[0].what, Happened::Spawned(_)), "{steps:?}");
        assert_eq!(steps.last().map(|note| &note.what), Some(&Happened::Ended(Outcome::Completed)));
    });
}

#[test]
fn a_migratable_task_is_spawned_once_moves_under_its_id_and_ends_once() {
    observed("hops", |nc, io0| {
        let io = io0.io();
        let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
            let id = me();
            m.reschedule_to(&io).await;
            let account = ACCOUNTS.task(id).expect("it goes on");
            m.to_main().await;
            (id, me(), account)
        });
        let (id, after, account) = block_on(nc, async |_: &MainCx| remote.await.unwrap());
        io0.destroy(nc).expect("it was not destroyed before");
        assert_eq!(id, after);
        assert!(matches!(account.state, TaskState::Polled(_)), "{account:?}");
        let steps: Vec<_> = notes_of(id).into_iter().map(|note| (note.thread, note.what)).collect();
        let ends: Vec<_> =
            steps.iter().filter(|(_, what)| matches!(what, Happened::Ended(_))).collect();
        let (main, io) = (steps[0].0, moves()[0].1.as_ref().expect("it came").thread);
        let ended = |thread, outcome| (thread, Happened::Ended(outcome));
        let expected = [
            ended(main, Outcome::Moved),
            ended(io, Outcome::Moved),
            ended(main, Outcome::Completed),
        ];
        // The first leg may end after the second has begun, and even ended.
        assert_eq!(ends.len(), 3, "{ends:?}");
        assert!(expected.iter().all(|end| ends.contains(&end)), "{ends:?}");
        let spawned = steps.iter().filter(|(_, what)| matches!(what, Happened::Spawned(_)));
        assert_eq!(spawned.count(), 1, "{steps:?}");
        let hops: Vec<_> = moves().into_iter().filter(|(sent, _)| sent.task == id).collect();
        assert_eq!(hops.len(), 2);
        for (sent, moved) in &hops {
            let Some(Note { task, what: Happened::Moved(_, from), .. }) = moved else {
                panic!("{moved:?}")
            };
            assert_eq!((*task, from.task, from.thread), (id, id, sent.thread));
        }
        assert!(ACCOUNTS.task(id).is_none(), "who has ended has no account");
    });
}

#[test]
fn what_is_sent_to_an_iothread_that_has_ended_is_dropped_and_its_task_ends() {
    observed("gone", |nc, io0| {
        let io = io0.io();
        io0.destroy(nc).expect("it was not destroyed before");
        let there = io.clone();
        let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
            m.reschedule_to(&there).await;
        });
        let sent = block_on(nc, async |_: &MainCx| {
            assert!(remote.await.unwrap_err().is_cancelled());
            reschedule_to(&io, async {}).await.unwrap_err()
        });
        assert!(sent.is_cancelled());
        let departed = moves();
        let [(migratable, None), (future, None)] = &departed[..] else { panic!("{departed:?}") };
        for sent in [migratable, future] {
            let Happened::Sent(number) = sent.what else { panic!("{sent:?}") };
            let dropped = Happened::Dropped(number);
            assert!(notes_of(sent.task).iter().any(|note| note.what == dropped), "{number}");
        }
        assert_ne!(migratable.task, 0);
        assert!(ACCOUNTS.task(migratable.task).is_none(), "who has ended has no account");
        let ends = notes_of(migratable.task);
        assert!(ends.iter().any(|note| note.what == Happened::Ended(Outcome::Cancelled)));
    });
}

#[test]
fn a_future_that_fails_elsewhere_is_reported_as_what_its_handle_says() {
    observed("fails", |nc, io0| {
        let io = io0.io();
        block_on(nc, async |_: &MainCx| {
            let panics = reschedule_to(&io, async { panic!("as planned") });
            assert!(panics.await.unwrap_err().is_panic());
            let waits = reschedule_to(&io, pending::<()>());
            assert!(waits.cancel().await.is_none());
            let panics = io.run(async |_: &IoCx| panic!("as planned"));
            assert!(panics.await.unwrap_err().is_panic());
        });
        io0.destroy(nc).expect("it was not destroyed before");
        let came: Vec<u64> = moves().iter().map(|(_, moved)| moved.clone().unwrap().task).collect();
        let ends: Vec<_> = came.iter().map(|task| notes_of(*task).pop().unwrap().what).collect();
        let expected = [Outcome::Panicked, Outcome::Cancelled, Outcome::Panicked];
        assert_eq!(ends, expected.map(Happened::Ended));
    });
}

#[test]
fn each_hold_of_the_lock_is_counted_for_the_thread_that_holds_it() {
    observed("locks", |nc, io0| {
        let io = io0.io();
        let held = |thread: u32| -> u64 {
            let times = ACCOUNTS.times(thread).expect("it has run");
            times.bql.counts().iter().sum()
        };
        block_on(nc, async |cx: &MainCx| {
            let main = cx.probe().thread();
            let before = held(main);
            let there = io.run(async |io: &IoCx| {
                io.lock_bql(|_| ());
                with_bql(|_| ());
            });
            there.await.unwrap();
            let thread = io.probe().expect("it has run").thread();
            assert_eq!(held(thread), 2, "this iothread took the lock twice");
            assert!(held(main) > before, "the main loop slept meanwhile, without the lock");
        });
        io0.destroy(nc).expect("it was not destroyed before");
    });
}

#[test]
fn a_trace_has_an_arrow_for_each_move_and_a_lane_for_the_lock() {
    let path: PathBuf =
        std::env::temp_dir().join(format!("trace-moves-{}.json", std::process::id()));
    let file = path.clone();
    observed("drawn", move |nc, io0| {
        let trace: &ChromeTrace = Box::leak(Box::new(ChromeTrace::create(&file).expect("a file")));
        observe(trace);
        let io = io0.io();
        block_on(nc, async |_: &MainCx| {
            // What is drawn begins with each thread's next run.
            common::yield_now().await;
            io.run(async |io: &IoCx| io.lock_bql(|_| ())).await.unwrap();
        });
        let there = io.clone();
        let remote = nc.spawn_migratable(async move |m: &mut Migratable| {
            m.reschedule_to(&there).await;
            m.to_main().await;
        });
        block_on(nc, async |_: &MainCx| remote.await.unwrap());
        io0.destroy(nc).expect("it was not destroyed before");
        trace.flush().expect("there is space left");
    });
    let events = chrome::read(&path);
    let io = chrome::lane(&events, "IO drawn");
    let arrows = chrome::arrows(&events, "move");
    let ends =
        arrows.iter().map(|(s, f)| (s["tid"] == io, f.expect("it leads to a poll")["tid"] == io));
    assert_eq!(ends.collect::<Vec<_>>(), [(false, true), (false, true), (true, false)]);
    let lock = chrome::lane(&events, "Big QEMU Lock");
    let held = chrome::select(&events, "B", "IO drawn");
    assert_eq!(held.iter().filter(|event| event["tid"] == lock).count(), 1);
}

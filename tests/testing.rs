//! The test kit: a paused clock, single steps, and what is said when a test is wrong. `testing_qmp.rs` has the clients.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{panic_of, yield_now};
use executor::blocking::blocking;
use executor::clock::{Clock, pause_virtual, resume_virtual};
use executor::observe::Outcome;
use executor::qmp::Registry;
use executor::testing::{self, Kit, on_main_thread, paused};
use executor::time::{interval, sleep, sleep_on, sleep_until, timeout};
use executor::{
    IoCx, IoThread, LocalExecutor, MainCx, NoCoroutine, block_on, label, reschedule_to, run_main,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A list that tasks write to.
type Notes = Rc<RefCell<Vec<String>>>;

fn note(notes: &Notes, text: impl Into<String>) {
    notes.borrow_mut().push(text.into());
}

#[test]
fn time_stands_still_until_it_is_advanced_and_starts_at_the_same_point() {
    testing::run(|kit| {
        let before = Clock::ALL.map(Clock::now);
        kit.run_until_idle();
        assert_eq!(Clock::ALL.map(Clock::now), before);
        assert_eq!(before, [1_000_000_000, 0, 1_700_000_001_000_000_000, 0]);

        kit.advance(HOUR);
        let passed = Clock::ALL.map(|clock| clock.now() - before[clock as usize]);
        assert_eq!(passed, [3_600_000_000_000; 4]);
        assert_eq!(kit.clock().elapsed(), HOUR);
    });
}

#[test]
fn a_sleep_on_any_clock_ends_at_its_deadline_to_the_nanosecond() {
    testing::run(|kit| {
        for clock in Clock::ALL {
            let task = kit.spawn(async move |_: &MainCx| sleep_on(clock, HOUR).await);
            kit.advance(HOUR - Duration::from_micros(1));
            assert!(!task.is_finished(), "{clock:?}");
            kit.advance(Duration::from_micros(1));
            assert!(task.is_finished(), "{clock:?}");
        }
    });
}

#[test]
fn advancing_stops_at_each_deadline_on_the_way() {
    let notes = testing::run(|kit| {
        let notes = Notes::default();
        for (name, seconds) in [("b", 2), ("a", 1), ("b again", 2), ("never", 5)] {
            let notes = Rc::clone(&notes);
            kit.spawn(async move |_: &MainCx| {
                sleep(seconds * SECOND).await;
                note(&notes, format!("{name} at {}", Clock::Realtime.now()));
            })
            .detach();
        }
        kit.advance(4 * SECOND);
        notes.take()
    });
    assert_eq!(notes, ["a at 2000000000", "b at 3000000000", "b again at 3000000000"]);
}

#[test]
fn timers_close_together_are_exact() {
    testing::run(|kit| {
        let ends = Notes::default();
        for us in 1..=20 {
            let ends = Rc::clone(&ends);
            let deadline = Clock::Realtime.now() + us * 1_000;
            kit.spawn(async move |_: &MainCx| {
                sleep_until(Clock::Realtime, deadline).await;
                note(&ends, (Clock::Realtime.now() - deadline).to_string());
            })
            .detach();
        }
        kit.advance(SECOND);
        assert_eq!(*ends.borrow(), ["0"; 20]);
    });
}

#[test]
fn the_guests_clock_stands_still_with_the_guest() {
    testing::run(|kit| {
        let task = kit.spawn(async |_: &MainCx| sleep_on(Clock::Virtual, SECOND).await);
        kit.run_until_idle();
        pause_virtual(kit);
        kit.advance(HOUR);
        assert!(!task.is_finished());
        assert_eq!(Clock::Virtual.now(), 0);
        resume_virtual(kit);
        kit.advance(SECOND);
        assert!(task.is_finished());
    });
}

#[test]
fn with_auto_advance_whoever_waits_for_time_has_it_at_once() {
    let began = Instant::now();
    testing::run(|kit| {
        kit.clock().set_auto_advance(true);
        let result = kit.block_on(async |_: &MainCx| timeout(HOUR, sleep(1_000 * HOUR)).await);
        assert!(result.is_err());
        assert_eq!(kit.clock().elapsed(), HOUR);
        // The others do not let it go on by themselves.
        let task = kit.spawn(async |_: &MainCx| sleep(HOUR).await);
        kit.run_until_idle();
        assert!(!task.is_finished());
    });
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn a_local_executor_needs_no_main_loop() {
    paused(|clock| {
        let executor = LocalExecutor::new().unwrap();
        let ticks = Rc::new(RefCell::new(0));
        let counted = Rc::clone(&ticks);
        let ticking = executor.spawn(async move {
            let mut every = interval(SECOND);
            loop {
                every.tick().await;
                *counted.borrow_mut() += 1;
            }
        });
        executor.run(async move {
            clock.idle().await;
            clock.advance(HOUR).await;
        });
        assert_eq!(*ticks.borrow(), 3600);
        drop(ticking);
    });
}

#[test]
fn iothreads_share_the_clock_and_take_turns() {
    let notes = testing::run(|kit| {
        let (one, other) = (IoThread::create(kit, "one"), IoThread::create(kit, "other"));
        let (one, other) = (one.unwrap(), other.unwrap());
        let (send, receive) = mpsc::channel();
        for (io, name) in [(one.io(), "one"), (other.io(), "other"), (one.io(), "one again")] {
            let send = send.clone();
            io.run(async move |_: &IoCx| {
                for round in 0..3 {
                    send.send(format!("{name} {round} {}", Clock::Realtime.now())).unwrap();
                    sleep(HOUR).await;
                }
            })
            .detach();
        }
        kit.advance(HOUR);
        one.destroy(kit).unwrap();
        other.destroy(kit).unwrap();
        receive.try_iter().collect::<Vec<_>>()
    });
    assert_eq!(
        notes,
        [
            "one 0 1000000000",
            "one again 0 1000000000",
            "other 0 1000000000",
            "one 1 3601000000000",
            "one again 1 3601000000000",
            "other 1 3601000000000",
        ]
    );
}

#[test]
fn what_comes_back_from_an_iothread_is_there_when_the_test_is_idle() {
    testing::run(|kit| {
        let thread = IoThread::create(kit, "io").unwrap();
        let io = thread.io();
        let task = kit.spawn(async move |cx: &MainCx| {
            let main = cx.main();
            let there = async move { main.call(|_: &mut NoCoroutine| 20).await.unwrap() + 1 };
            2 * reschedule_to(&io, there).await.unwrap()
        });
        kit.run_until_idle();
        assert!(task.is_finished());
        assert_eq!(kit.block_on(async move |_: &MainCx| task.await.unwrap()), 42);
        thread.destroy(kit).unwrap();
    });
}

#[test]
fn an_iothread_that_wants_the_lock_has_it_when_the_nested_loop_has_had_its_time() {
    testing::run(|kit| {
        let thread = IoThread::create(kit, "io").unwrap();
        let remote = thread.io().run(async |io: &IoCx| {
            sleep(SECOND / 2).await;
            io.lock_bql(|_| Clock::Realtime.now())
        });
        kit.main().call(|nc| block_on(nc, async |_: &MainCx| sleep(SECOND).await)).detach();
        kit.advance(SECOND);
        assert_eq!(kit.block_on(async move |_: &MainCx| remote.await.unwrap()), 2_000_000_000);
        thread.destroy(kit).unwrap();
    });
}

#[test]
fn the_pool_is_waited_for_before_time_goes_on() {
    testing::run(|kit| {
        let task = kit.spawn(async move |_: &MainCx| {
            // Work that takes its time, in real time.
            let work = || std::thread::sleep(Duration::from_millis(30));
            timeout(HOUR, blocking(work)).await.is_ok()
        });
        kit.advance(2 * HOUR);
        assert!(kit.block_on(async move |_: &MainCx| task.await.unwrap()), "it is in time");
    });
}

#[test]
fn a_thread_of_the_tests_own_is_waited_for_if_it_says_so() {
    testing::run(|kit| {
        let outside = kit.clock().outside();
        let (send, receive) = futures::channel::oneshot::channel();
        let main = kit.main();
        let thread = std::thread::spawn(move || {
            main.call(move |_: &mut NoCoroutine| send.send(7)).detach();
            drop(outside);
        });
        let task = kit.spawn(async move |_: &MainCx| receive.await.unwrap());
        kit.run_until_idle();
        assert!(task.is_finished());
        thread.join().unwrap();
    });
}

#[test]
fn steps_poll_one_task_each_first_in_first_out() {
    let steps = || {
        testing::run(|kit| {
            for name in ["a", "b", "c"] {
                let task = async move |cx: &MainCx| {
                    yield_now().await;
                    if name == "a" {
                        cx.spawn_named("d", async |_: &MainCx| {}).detach();
                    }
                    sleep(SECOND).await;
                };
                kit.block_on(async |cx: &MainCx| cx.spawn_named(name, task).detach());
            }
            assert_eq!(names(kit), ["a", "b", "c"]);
            let mut said = Vec::new();
            loop {
                let step = kit.step();
                assert!(step.polled.len() <= 1, "{step:?}");
                said.extend(step.polled.iter().map(ToString::to_string));
                if step.is_idle {
                    assert_eq!(step.next_deadline, Some(SECOND));
                    return said;
                }
            }
        })
    };
    let pending = |name| format!("main loop: {name} Pending");
    let mut expected: Vec<_> = ["a", "b", "c", "a", "b", "c"].map(pending).into();
    expected.push("main loop: d Completed".into());
    assert_eq!(steps(), expected);
    assert_eq!(steps(), expected, "the same every time");
}

fn names(kit: &Kit<'_>) -> Vec<String> {
    kit.ready().into_iter().map(|task| task.name.as_deref().unwrap_or("?").to_owned()).collect()
}

#[test]
fn a_step_tells_of_iothreads_and_of_ends() {
    testing::run(|kit| {
        let thread = IoThread::create(kit, "io").unwrap();
        let io = thread.io();
        kit.run_until_idle();
        kit.spawn(async move |_: &MainCx| io.run(async |_: &IoCx| {}).await).detach();
        let failing = kit.spawn(async |_: &MainCx| panic!("as planned"));
        let mut polled = Vec::new();
        loop {
            let step = kit.step();
            polled.extend(step.polled.iter().map(|poll| (poll.thread.clone(), poll.outcome)));
            if step.is_idle {
                break;
            }
        }
        let of = |thread: &str, outcome| (thread.to_owned(), outcome);
        assert_eq!(
            polled,
            [
                of("main loop", Outcome::Pending),
                of("main loop", Outcome::Panicked),
                of("IO io", Outcome::Completed),
                of("main loop", Outcome::Completed),
            ]
        );
        drop(failing);
        thread.destroy(kit).unwrap();
    });
}

#[test]
fn a_deadline_that_was_given_up_is_none() {
    testing::run(|kit| {
        kit.spawn(async |_: &MainCx| timeout(HOUR, yield_now()).await.unwrap()).detach();
        kit.run_until_idle();
        assert_eq!(kit.next_deadline(), None);
    });
}

#[test]
fn a_test_that_waits_in_vain_is_told_what_its_tasks_wait_for() {
    let text = panic_of(|| {
        testing::run(|kit| {
            let waiting = async |_: &MainCx| label("the disk", sleep(HOUR)).await;
            let task = kit.block_on(async |cx: &MainCx| cx.spawn_named("x-settle", waiting));
            kit.block_on(async move |_: &MainCx| task.await.unwrap());
        });
    });
    assert!(text.contains("cannot come while the clock is paused"), "{text}");
    assert!(text.contains("The next deadline is in 3600s"), "{text}");
    assert!(text.starts_with("tests/testing.rs:"), "{text}");
    assert!(text.contains("`x-settle` spawned at tests/testing.rs:"), "{text}");
    assert!(text.contains(", which waits for the disk"), "{text}");
}

#[test]
fn a_test_that_waits_for_ever_is_told_so() {
    let never =
        || testing::run(|kit| kit.block_on(async |_: &MainCx| std::future::pending::<()>().await));
    let text = panic_of(never);
    assert!(text.contains("nobody can go on, and nobody has a deadline"), "{text}");

    let text = panic_of(|| testing::run(|kit| kit.wait_while(|_| true)));
    assert!(text.contains("nobody can go on, and nobody has a deadline"), "{text}");

    let text = panic_of(|| {
        paused(|_| LocalExecutor::new().unwrap().run(std::future::pending::<()>()));
    });
    assert!(text.contains("nobody can go on, and nobody has a deadline"), "{text}");
}

#[test]
fn work_in_the_pool_that_does_not_end_is_reported() {
    let (release, wait) = mpsc::channel::<()>();
    let text = panic_of(move || {
        testing::run(move |kit| {
            kit.clock().set_patience(Duration::from_millis(1));
            kit.spawn(async move |_: &MainCx| blocking(move || wait.recv()).await).detach();
            kit.run_until_idle();
        });
    });
    assert!(text.contains("does not end"), "{text}");
    drop(release);
}

#[test]
fn a_clock_that_is_not_paused_says_where_it_belongs() {
    let clock = paused(|clock| clock);
    let text = panic_of(|| clock.elapsed());
    assert!(text.contains("the clock of this thread is not paused"), "{text}");
    let text = panic_of(|| paused(|_| paused(|_| ())));
    assert!(text.contains("paused already"), "{text}");
    let text = panic_of(|| testing::run(|_| testing::run(|_| ())));
    assert!(text.contains("paused already"), "{text}");
}

#[test]
fn an_iothread_that_is_left_is_the_tests_mistake() {
    let text = panic_of(|| {
        testing::run(|kit| drop(IoThread::create(kit, "left").unwrap()));
    });
    assert!(text.contains("the thread `IO left` is still there: destroy the iothread"), "{text}");
}

#[test]
fn only_one_may_let_time_go_on() {
    let text = panic_of(|| {
        testing::run(|kit| {
            let clock = kit.clock();
            let task = kit.spawn(async move |_: &MainCx| clock.advance(SECOND).await);
            kit.run_until_idle();
            kit.block_on(async move |_: &MainCx| task.await.unwrap());
        });
    });
    assert!(text.contains("somebody else in this test waits for time to pass"), "{text}");
}

#[test]
fn a_test_after_one_that_has_panicked_is_not_disturbed() {
    let text = panic_of(|| {
        testing::run(|kit| {
            let _client = kit.client(Registry::new());
            panic!("as planned");
        });
    });
    assert!(text.starts_with("as planned\n(at tests/testing.rs:"), "{text}");
    testing::run(|kit| {
        assert!(kit.tasks().is_empty());
        kit.advance(HOUR);
    });
    // In real time, which goes on.
    on_main_thread(|| {
        run_main(|_| {
            let now = Clock::Realtime.now();
            while Clock::Realtime.now() == now {}
        });
    });
}

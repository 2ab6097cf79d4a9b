//! The main loop in a program that has a `GLib` main loop, as desktop programs and QEMU itself do.
//!
//! `GLib` watches the descriptor of the `MainLoop`, and dispatches when it is readable. Three things go on beside each
//! other: a source of the program's own that ticks every 5 ms, a task that sleeps and has a number worked out on an
//! iothread, and a thread that asks the main loop something. When the tasks have ended, they end `GLib`'s loop. Prints,
//! with another number of ticks:
//!
//! ```text
//! the thread asked: the main loop is thread 4711
//! 20! = 2432902008176640000, from the iothread
//! the program ticked 8 times meanwhile
//! ```

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use executor::time::sleep;
use executor::{IoContext, IoThread, MainCx, MainHandle, MainLoop, block_on, reschedule_to};
use glib::{ControlFlow, IOCondition, SourceId};
use nix::unistd::{Pid, gettid};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Lets `GLib` run the main loop: that is all.
fn attach(main: &Rc<RefCell<MainLoop>>) -> SourceId {
    let (fd, main) = (main.borrow().as_raw_fd(), Rc::clone(main));
    glib::unix_fd_add_local(fd, IOCondition::IN, move |_, _| {
        main.borrow_mut().dispatch();
        ControlFlow::Continue
    })
}

async fn factorial(io: &IoContext, of: u64) -> u64 {
    sleep(ms(40)).await;
    reschedule_to(io, async move { (1..=of).product() }).await.expect("it does not overflow")
}

/// A source of the program's own.
fn tick(ticks: &Rc<Cell<u32>>) -> SourceId {
    let ticks = Rc::clone(ticks);
    glib::timeout_add_local(ms(5), move || {
        ticks.set(ticks.get() + 1);
        ControlFlow::Continue
    })
}

/// A thread that knows no loop. Its question wakes `GLib` up.
fn ask(main: &MainHandle) -> Pid {
    let answer = main.run(async |_: &MainCx| {
        sleep(ms(10)).await;
        gettid()
    });
    futures::executor::block_on(answer).expect("answering does not panic")
}

fn main() -> Result<(), Box<dyn Error>> {
    let (host, ticks) = (glib::MainLoop::new(None, false), Rc::new(Cell::new(0)));
    let main = Rc::new(RefCell::new(MainLoop::new()?));
    let sources = [attach(&main), tick(&ticks)];
    let (io0, handle) = main.borrow_mut().enter(|nc| (IoThread::create(nc, "io0"), nc.main()));
    let (io0, asking) = (io0?, thread::spawn(move || ask(&handle)));

    let (io, quit) = (io0.io(), host.clone());
    let task = async move |_: &MainCx| {
        let result = factorial(&io, 20).await;
        quit.quit();
        result
    };
    let task = main.borrow_mut().enter(|nc| nc.spawn(task));
    host.run();

    let answer = asking.join().expect("asking does not panic");
    assert_eq!(answer, gettid());
    println!("the thread asked: the main loop is thread {answer}");
    let result = main.borrow_mut().enter(|nc| block_on(nc, async |_: &MainCx| task.await))?;
    assert_eq!(result, 2_432_902_008_176_640_000);
    println!("20! = {result}, from the iothread");
    main.borrow_mut().enter(|nc| io0.destroy(nc))?;
    assert!(ticks.get() > 0, "the tasks left the program no turn");
    println!("the program ticked {} times meanwhile", ticks.get());
    sources.into_iter().for_each(SourceId::remove);
    Ok(())
}

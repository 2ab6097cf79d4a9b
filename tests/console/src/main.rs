//! A program to be looked at with tokio-console: a main loop, an iothread, and tasks that do what tasks do.
//!
//! ```text
//! (cd tests/console && cargo run)
//! tokio-console
//! ```
//!
//! With an argument, the path of a UNIX socket, it listens there; `tokio-console file://localhost/PATH`. It runs until it
//! is killed.
//!
//! Threads: the main loop's, an iothread, and console-subscriber's own, which serves the clients.

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use console_subscriber::ConsoleLayer;
use executor::net::EventFd;
use executor::observe::{Tracing, observe};
use executor::time::sleep;
use executor::{IoContext, IoCx, IoThread, MainCx, Migratable, block_on, label, run_main};
use tracing_subscriber::prelude::*;

const TICK: Duration = Duration::from_millis(50);

fn main() -> io::Result<()> {
    let layer = ConsoleLayer::builder().publish_interval(Duration::from_millis(100));
    let layer = match std::env::args_os().nth(1).map(PathBuf::from) {
        Some(path) => layer.server_addr(path),
        None => layer,
    };
    // The subscriber first: it must hear of each task's spawn.
    tracing_subscriber::registry().with(layer.spawn()).init();
    observe(Box::leak(Box::new(Tracing::default())));
    run_main(|nc| {
        let io0 = IoThread::create(nc, "io0")?;
        let io = io0.io();
        nc.spawn_migratable(async move |m: &mut Migratable| travel(m, &io).await).detach();
        let io = io0.io();
        block_on(nc, async |cx: &MainCx| work(cx, &io).await)
    })
}

/// Spawns what there is to see.
async fn work(cx: &MainCx, io: &IoContext) -> io::Result<()> {
    let bell = Rc::new(EventFd::new()?);
    let rung = Rc::clone(&bell);
    cx.spawn_named("ticker", async move |_: &MainCx| tick(&bell).await).detach();
    cx.spawn_named("listener", async move |_: &MainCx| listen(&rung).await).detach();
    cx.spawn_named("idler", async |_: &MainCx| {
        label("the end of the world", pending::<()>()).await
    })
    .detach();
    io.run(async |_: &IoCx| compute().await).detach();
    println!("tokio-console can connect");
    pending().await
}

/// Wakes the listener, time and again.
async fn tick(bell: &EventFd) -> io::Result<()> {
    loop {
        sleep(TICK).await;
        bell.notify()?;
    }
}

async fn listen(bell: &EventFd) -> io::Result<()> {
    loop {
        bell.wait().await?;
    }
}

/// Keeps the iothread busy, a millisecond at a time.
async fn compute() {
    loop {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        sleep(TICK).await;
    }
}

/// Goes to the iothread and back.
async fn travel(m: &mut Migratable, io: &IoContext) {
    loop {
        m.reschedule_to(io).await;
        sleep(TICK).await;
        m.to_main().await;
        sleep(TICK).await;
    }
}

//! What Rust 1.83, without async closures, has to write: named async functions, and `boxed` for captures.
//!
//! `.ci/run msrv` compiles it with that release and runs it.

use executor::qmp::{Command, Coroutine, Error, Registry};
use executor::{
    IoThread, MainCx, Migratable, block_on, boxed, boxed_send, reschedule_to, run_main,
};

struct Double;

impl Command for Double {
    const NAME: &'static str = "x-double";
    type Mode = Coroutine;
    type Args = DoubleArgs;
    type Ret = u64;
}

#[derive(serde::Deserialize)]
struct DoubleArgs {
    n: u64,
}

async fn double(_: &MainCx, args: DoubleArgs) -> Result<u64, Error> {
    Ok(2 * args.n)
}

async fn outer(cx: &MainCx) -> u64 {
    cx.spawn(inner).await.expect("it does not panic")
}

async fn inner(_: &MainCx) -> u64 {
    21
}

async fn stays(m: &mut Migratable) -> u64 {
    m.to_main().await;
    4
}

fn main() {
    Registry::new().command::<Double, _>(double);
    run_main(|nc| {
        let thread = IoThread::create(nc, "io0").expect("there are threads left");
        let io = thread.io();
        assert_eq!(block_on(nc, outer), 21);
        let stays = nc.spawn_migratable(stays);
        let there = io.clone();
        let goes = nc.spawn_migratable(boxed_send(move |m: &mut Migratable| {
            Box::pin(async move {
                m.reschedule_to(&there).await;
                5_u64
            })
        }));
        let sum = block_on(
            nc,
            boxed(move |_: &MainCx| {
                Box::pin(async move {
                    let far = reschedule_to(&io, async { 2_u64 });
                    let parts = [stays.await, goes.await, far.await];
                    parts.map(|part| part.expect("it does not panic")).iter().sum::<u64>()
                })
            }),
        );
        assert_eq!(sum, 11);
        thread.destroy(nc).expect("it was not destroyed before");
    });
}

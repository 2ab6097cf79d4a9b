//! Tasks are named functions, methods, closures with captures and without annotations where a type is known.

use executor::{IoCx, IoThread, JoinHandle, MainCx, TaskFn, block_on, run_main};

async fn named(cx: &MainCx) -> u32 {
    cx.bql(|_bql| 1)
}

async fn ignores_its_argument(_: &MainCx) -> u32 {
    2
}

struct Device {
    number: u32,
}

impl Device {
    async fn work(cx: &MainCx) -> u32 {
        named(cx).await + 2
    }

    async fn owned(self, _cx: &MainCx) -> u32 {
        self.number
    }
}

fn generic<F>(cx: &MainCx, task: F) -> JoinHandle<u32>
where
    F: for<'a> TaskFn<&'a MainCx, u32> + 'static,
{
    cx.spawn(task)
}

async fn on_io(_io: &IoCx) -> u32 {
    5
}

fn main() {
    run_main(|nc| {
        let iothread = IoThread::create(nc, "io0").unwrap();
        let io = iothread.io();
        block_on(nc, async |cx: &MainCx| {
            assert_eq!(cx.spawn(named).await.unwrap(), 1);
            assert_eq!(generic(cx, ignores_its_argument).await.unwrap(), 2);
            assert_eq!(cx.spawn(Device::work).await.unwrap(), 3);
            let device = Device { number: 4 };
            let task = async move |cx: &MainCx| device.owned(cx).await;
            assert_eq!(cx.spawn_named("device", task).await.unwrap(), 4);
            assert_eq!(io.run(on_io).await.unwrap(), 5);
            assert_eq!(cx.spawn_future(async { 6 }).await.unwrap(), 6);
        });
        assert_eq!(block_on(nc, named), 1);
        iothread.destroy(nc).unwrap();
    });
}

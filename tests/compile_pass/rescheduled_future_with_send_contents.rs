//! What a future that moves may keep: values, shared handles, remotes and the way back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use executor::time::sleep;
use executor::{IoCx, IoThread, MainCx, block_on, reschedule_to, run_main};

fn main() {
    run_main(|nc| {
        let iothread = IoThread::create(nc, "io0").unwrap();
        let io = iothread.io();
        let log = Arc::new(Mutex::new(Vec::new()));
        block_on(nc, async |cx: &MainCx| {
            let (main, inner, its_log) = (cx.main(), io.clone(), Arc::clone(&log));
            let other = io.run(async |_io: &IoCx| 1);
            reschedule_to(&io, async move {
                let first = other.await.unwrap();
                its_log.lock().unwrap().push(first);
                sleep(Duration::ZERO).await;
                let second = main.call(|_nc| 2).await.unwrap();
                its_log.lock().unwrap().push(second);
                let third = inner.run(async |_io: &IoCx| 3).await.unwrap();
                its_log.lock().unwrap().push(third);
            })
            .await
            .unwrap();
        });
        assert_eq!(*log.lock().unwrap(), [1, 2, 3]);
        iothread.destroy(nc).unwrap();
    });
}

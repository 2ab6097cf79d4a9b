//! The future of `io.run` is made in the iothread: only what goes over must be `Send`.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use executor::time::sleep;
use executor::{IoCx, IoThread, MainCx, block_on, run_main};

fn main() {
    run_main(|nc| {
        let iothread = IoThread::create(nc, "io0").unwrap();
        let io = iothread.io();
        let buffer = vec![1, 2, 3];
        let (buffer, sum) = block_on(nc, async |_cx: &MainCx| {
            io.run(async move |io: &IoCx| {
                let sum = Rc::new(Cell::new(0));
                let adding = Rc::clone(&sum);
                let terms = buffer.clone();
                io.spawn(async move |_io: &IoCx| {
                    for term in terms {
                        adding.set(adding.get() + term);
                        sleep(Duration::ZERO).await;
                    }
                })
                .await
                .unwrap();
                (buffer, sum.get())
            })
            .await
            .unwrap()
        });
        assert_eq!((buffer.len(), sum), (3, 6));
        iothread.destroy(nc).unwrap();
    });
}

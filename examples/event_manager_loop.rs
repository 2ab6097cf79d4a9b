//! The main loop in a virtual machine monitor that has rust-vmm's `event-manager`.
//!
//! Two subscribers. The device is the program's own: vCPUs (threads) put requests into its queue, under the Big QEMU
//! Lock, and ring its doorbell; for each request the device spawns a task. `Tasks` is the main loop, and all of its
//! contract: watch the descriptor, and dispatch. A task waits for its request's disk, has the data checked on an
//! iothread, and comes back to count it as done. Prints:
//!
//! ```text
//! 2 vCPUs had 100 requests each, and all 200 are done
//! ```

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use executor::bql::with_bql;
use executor::time::sleep;
use executor::{BqlCell, BqlRefCell, IoContext, IoThread, MainCx, MainLoop, reschedule_to};
use nix::sys::eventfd::EventFd;

const VCPUS: usize = 2;
const REQUESTS: usize = 100;

static QUEUE: BqlRefCell<Vec<usize>> = BqlRefCell::new(Vec::new());
static DONE: BqlCell<usize> = BqlCell::new(0);

/// The main loop, as a subscriber.
struct Tasks(Rc<RefCell<MainLoop>>);

impl MutEventSubscriber for Tasks {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        ops.add(Events::new(&*self.0.borrow(), EventSet::IN)).expect("it can be watched");
    }

    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        self.0.borrow_mut().dispatch();
    }
}

/// A device of the program's.
struct Device {
    doorbell: Arc<EventFd>,
    main: Rc<RefCell<MainLoop>>,
    io: IoContext,
}

impl MutEventSubscriber for Device {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        ops.add(Events::new(&*self.doorbell, EventSet::IN)).expect("as above");
    }

    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        self.doorbell.read().expect("somebody has rung");
        self.main.borrow_mut().enter(|nc| {
            for request in QUEUE.take(nc) {
                let io = self.io.clone();
                nc.spawn(async move |cx: &MainCx| serve(cx, &io, request).await).detach();
            }
        });
    }
}

async fn serve(cx: &MainCx, io: &IoContext, request: usize) {
    sleep(Duration::from_millis(1)).await;
    let check = async move { assert!(request < REQUESTS) };
    reschedule_to(io, check).await.expect("it is a request");
    cx.bql(|bql| DONE.set(bql, DONE.get(bql) + 1));
}

fn be_vcpu(doorbell: &EventFd) {
    for request in 0..REQUESTS {
        // The lock is free while the program's loop sleeps.
        with_bql(|bql| QUEUE.borrow_mut(bql).push(request));
        doorbell.write(1).expect("a doorbell can be rung");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let main = Rc::new(RefCell::new(MainLoop::new()?));
    let io0 = main.borrow_mut().enter(|nc| IoThread::create(nc, "io0"))?;
    let doorbell = Arc::new(EventFd::new()?);
    let mut events = EventManager::<Box<dyn MutEventSubscriber>>::new()?;
    let device = Device { doorbell: Arc::clone(&doorbell), main: Rc::clone(&main), io: io0.io() };
    events.add_subscriber(Box::new(device));
    events.add_subscriber(Box::new(Tasks(Rc::clone(&main))));
    let vcpus = [(); VCPUS].map(|()| Arc::clone(&doorbell));
    let vcpus = vcpus.map(|doorbell| thread::spawn(move || be_vcpu(&doorbell)));
    while with_bql(|bql| DONE.get(bql)) < VCPUS * REQUESTS {
        events.run()?;
    }
    vcpus.into_iter().for_each(|vcpu| vcpu.join().expect("a vCPU does not panic"));
    main.borrow_mut().enter(|nc| io0.destroy(nc))?;
    println!("{VCPUS} vCPUs had {REQUESTS} requests each, and all {} are done", VCPUS * REQUESTS);
    Ok(())
}

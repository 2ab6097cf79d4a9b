//! Panics of tasks, destructors, wakers and hooks: each reaches its reader, and the executor goes on.

use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use executor::LocalExecutor;

/// Panics when it is dropped, as its first and only drop.
struct PanicOnDrop {
    drops: Rc<Cell<u32>>,
    /// Freed twice if the future is dropped twice.
    _memory: Vec<u8>,
}

impl PanicOnDrop {
    fn new(drops: &Rc<Cell<u32>>) -> PanicOnDrop {
        PanicOnDrop { drops: Rc::clone(drops), _memory: vec![7; 100] }
    }
}

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
        panic!("a destructor panicked");
    }
}

struct ReadyAtOnce(#[expect(dead_code, reason = "for its destructor")] PanicOnDrop);

impl Future for ReadyAtOnce {
    type Output = String;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<String> {
        Poll::Ready(String::from("output"))
    }
}

#[test]
fn a_future_whose_destructor_panics_after_completion_is_dropped_once() {
    let executor = LocalExecutor::new().unwrap();
    let drops = Rc::default();

    let handle = executor.spawn(ReadyAtOnce(PanicOnDrop::new(&drops)));
    let error = executor.run(handle).unwrap_err();

    assert!(error.to_string().ends_with("panicked: a destructor panicked"), "{error}");
    assert_eq!(drops.get(), 1);
}

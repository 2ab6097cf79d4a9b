//! Being one of those who wait for a condition (`AIO_WAIT_WHILE`).

/// Makes `aio_wait_kick` wake the main context until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting(());

impl Waiting {
    pub(crate) fn begin() -> Waiting {
        aio_sys::aio_wait_begin();
        Waiting(())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        aio_sys::aio_wait_end();
    }
}

/// Makes those who wait check their condition again (`aio_wait_kick`): whoever changes from another thread
/// what a [`wait_while`](crate::NoCoroutine::wait_while) looks at calls this afterwards. Any thread.
///
/// # Examples
///
/// ```
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::thread;
///
/// use executor::{run_main, wait_kick};
///
/// static STOPPED: AtomicBool = AtomicBool::new(false);
///
/// run_main(|nc| {
///     let vcpu = thread::spawn(|| {
///         STOPPED.store(true, Ordering::Release);
///         wait_kick();
///     });
///     nc.wait_while(|_bql| !STOPPED.load(Ordering::Acquire));
///     vcpu.join().unwrap();
///     assert!(STOPPED.load(Ordering::Relaxed));
/// });
/// ```
pub fn wait_kick() {
    aio_sys::aio_wait_kick();
}

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
pub fn wait_kick() {
    aio_sys::aio_wait_kick();
}

//! Sending work to an executor from any thread.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::Arc;

use futures_util::task::{FutureObj, Spawn, SpawnError};

use crate::home::Home;
use crate::local_executor::LocalExecutor;
use crate::remote::{Remote, parcel};

/// Spawns on an executor from any thread.
///
/// When the executor is gone, what it is given is dropped, and its [`Remote`] says "cancelled".
///
/// # Examples
///
/// ```
/// use std::rc::Rc;
/// use std::thread;
///
/// use executor::LocalExecutor;
///
/// let executor = LocalExecutor::new()?;
/// let remote = executor.remote();
/// let client = thread::spawn(move || {
///     let sum = remote.spawn(async { 1 + 2 }); // `Send`, and moved over;
///     let text = remote.spawn_with(|| async {
///         Rc::new("made there").to_string() // made there, so it need not be.
///     });
///     (sum, text)
/// });
/// let (sum, text) = client.join().expect("it does not panic");
/// assert_eq!(executor.run(sum).expect("it does not panic"), 3);
/// assert_eq!(executor.run(text).expect("it does not panic"), "made there");
///
/// let remote = executor.remote();
/// drop(executor);
/// let refused = LocalExecutor::new()?.run(remote.spawn(async {}));
/// assert!(refused.unwrap_err().is_cancelled());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct RemoteSpawner {
    home: Arc<Home>,
}

impl LocalExecutor {
    /// A handle on this executor for other threads.
    pub fn remote(&self) -> RemoteSpawner {
        RemoteSpawner { home: Arc::clone(self.core().home()) }
    }
}

impl RemoteSpawner {
    /// Spawns a future that was made here and is polled there.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> Remote<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.spawn_with(move || future)
    }

    /// Spawns a future that is made there, so that only the function and the output need be `Send`.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    /// use std::thread;
    /// use std::time::Duration;
    ///
    /// use executor::LocalExecutor;
    /// use executor::time::sleep;
    ///
    /// thread_local! {
    ///     /// What belongs to the executor's thread, and must not leave it.
    ///     static DEVICES: RefCell<Vec<Rc<str>>> = RefCell::default();
    /// }
    ///
    /// async fn plug(name: String) -> usize {
    ///     let device: Rc<str> = name.into(); // Not `Send`, and neither is this future.
    ///     DEVICES.with_borrow_mut(|devices| devices.push(Rc::clone(&device)));
    ///     sleep(Duration::from_micros(1)).await; // It takes its time.
    ///     device.len()
    /// }
    ///
    /// let executor = LocalExecutor::new()?;
    /// let remote = executor.remote();
    /// let client = thread::spawn(move || {
    ///     let name = "net0".to_owned(); // Moved over, so it is `Send`.
    ///     remote.spawn_with(move || plug(name))
    /// });
    /// let plugged = executor.run(client.join().expect("it does not panic"));
    /// assert_eq!(plugged.expect("it does not panic"), 4);
    /// assert_eq!(DEVICES.take(), [Rc::from("net0")]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[track_caller]
    pub fn spawn_with<M, F>(&self, make: M) -> Remote<F::Output>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let (job, remote) = parcel(Location::caller(), move |_| make());
        // A refused job is dropped, which ends the wait for it.
        drop(self.home.send(job));
        remote
    }
}

impl Spawn for RemoteSpawner {
    #[track_caller]
    fn spawn_obj(&self, future: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.spawn(future).detach();
        Ok(())
    }
}

impl fmt::Debug for RemoteSpawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSpawner").field("home", &self.home).finish()
    }
}

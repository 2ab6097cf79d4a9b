//! Event counters.
//!
//! Owns an eventfd, the doorbell that KVM, vhost and other processes ring. It is registered for
//! reading alone: reading makes room for writing, and nobody wants to be woken for that.
//!
//! Threads: any; creating one takes an executor on the thread.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{self, EfdFlags};

use crate::async_fd::AsyncFd;

/// A counter that tasks can wait for and that other threads, processes and the kernel can raise.
///
/// # Examples
///
/// ```
/// use std::os::fd::AsFd;
/// use std::sync::Arc;
/// use std::thread;
///
/// use executor::LocalExecutor;
/// use executor::net::EventFd;
///
/// let executor = LocalExecutor::new()?;
/// executor.run(async {
///     let kick = Arc::new(EventFd::new()?);
///     let guest = Arc::clone(&kick);
///     let vcpu = thread::spawn(move || guest.notify());
///     assert_eq!(kick.wait().await?, 1);
///     vcpu.join().expect("it does not panic")?;
///
///     kick.notify()?;
///     kick.notify()?;
///     assert_eq!(kick.wait().await?, 2, "they are counted");
///
///     // KVM, or another process, takes the fd.
///     let _for_the_kernel = kick.as_fd().try_clone_to_owned()?;
///     let _fd = Arc::into_inner(kick).expect("nobody else has it").into_inner();
///     Ok::<_, std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventFd {
    fd: AsyncFd<eventfd::EventFd>,
}

impl EventFd {
    /// Creates a counter that is zero.
    ///
    /// # Errors
    ///
    /// If the process is out of fds, or the fd cannot be watched.
    ///
    /// # Panics
    ///
    /// Outside any executor.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self { fd: AsyncFd::read_only(eventfd::EventFd::from_flags(flags)?)? })
    }

    /// Raises the counter by one. Never waits; callable from any thread.
    ///
    /// # Errors
    ///
    /// Only if the kernel has lost the fd. A counter at its limit stays there, which is as loud.
    pub fn notify(&self) -> io::Result<()> {
        match self.fd.get_ref().write(1) {
            Ok(_) | Err(Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the counter is not zero, sets it to zero and returns what it was.
    ///
    /// Dropping the future loses nothing. If several tasks wait, one of them gets the count.
    ///
    /// # Errors
    ///
    /// Fails once the executor has been shut down.
    pub async fn wait(&self) -> io::Result<u64> {
        loop {
            let ready = self.fd.readable().await?;
            match self.fd.get_ref().read() {
                Ok(count) => {
                    // Reading takes everything, so the fd is drained.
                    self.fd.drained(ready);
                    return Ok(count);
                }
                Err(Errno::EAGAIN) => self.fd.clear_ready(ready),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Ends the watch and returns the fd, to be handed to somebody else.
    #[must_use = "dropping the fd closes it"]
    pub fn into_inner(self) -> OwnedFd {
        self.fd.into_inner().into()
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

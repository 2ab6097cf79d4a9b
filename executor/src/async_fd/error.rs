//! Why an fd is not watched.
//!
//! Threads: any.

#![forbid(unsafe_code)]

use std::error;
use std::fmt;
use std::io;

/// The error of a registration that failed, with the fd that was to be registered.
///
/// # Examples
///
/// ```
/// use std::fs::File;
/// use std::io;
///
/// use executor::LocalExecutor;
/// use executor::async_fd::AsyncFd;
///
/// let executor = LocalExecutor::new()?;
/// let regular = File::open(std::env::current_exe()?)?;
/// let refused = executor.run(async { AsyncFd::read_only(regular) }).unwrap_err();
/// assert_eq!(refused.error().kind(), io::ErrorKind::Unsupported);
/// let (file, _error) = refused.into_parts(); // Not lost: `executor::blocking` can read it.
/// let file = executor::blocking::File::from(file);
/// assert!(file.get_ref().metadata()?.len() > 0);
/// # Ok::<(), io::Error>(())
/// ```
#[derive(Debug)]
pub struct RegisterError<T> {
    pub(super) source: T,
    pub(super) error: io::Error,
}

impl<T> RegisterError<T> {
    /// Returns the fd, and why it could not be registered.
    pub fn into_parts(self) -> (T, io::Error) {
        (self.source, self.error)
    }

    /// Returns why the fd could not be registered.
    pub fn error(&self) -> &io::Error {
        &self.error
    }
}

impl<T> From<RegisterError<T>> for io::Error {
    fn from(error: RegisterError<T>) -> Self {
        error.error
    }
}

impl<T> fmt::Display for RegisterError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot wait for this fd: {}", self.error)
    }
}

impl<T: fmt::Debug> error::Error for RegisterError<T> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

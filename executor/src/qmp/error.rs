//! The error of a QMP command: a class that programs read and a description that people read.
//!
//! [`Error`] is exactly what goes over the wire. The constructors with fixed texts are those that
//! clients match on or that people search for, so their wording is QEMU's, to the letter.
//!
//! Any thread; knows nothing of JSON. Relies on `task` for what became of a command that has no outcome.

#![forbid(unsafe_code)]

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::task::{JoinError, drop_payload, message};

/// The class of an [`Error`].
///
/// QEMU froze this list: new errors are [`GenericError`](Self::GenericError) and clients
/// tell nothing else apart.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Error, ErrorClass};
///
/// let error = Error::new(ErrorClass::DeviceNotFound, "Device 'vda' not found");
///
/// // Programs look at the class, people at the description.
/// assert_eq!(error.class(), ErrorClass::DeviceNotFound);
/// assert_eq!(error.class().as_str(), "DeviceNotFound");
/// assert_eq!(error.description(), "Device 'vda' not found");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Everything that has no class of its own.
    GenericError,
    /// There is no such command, or not in this state of the monitor.
    CommandNotFound,
    /// The device is not active.
    DeviceNotActive,
    /// The device does not exist.
    DeviceNotFound,
    /// A feature of KVM is needed and missing.
    KvmMissingCap,
}

impl ErrorClass {
    /// Returns the name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GenericError => "GenericError",
            Self::CommandNotFound => "CommandNotFound",
            Self::DeviceNotActive => "DeviceNotActive",
            Self::DeviceNotFound => "DeviceNotFound",
            Self::KvmMissingCap => "KVMMissingCap",
        }
    }

    /// Returns the class of that name on the wire.
    #[cfg(feature = "testing")]
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [
            Self::GenericError,
            Self::CommandNotFound,
            Self::DeviceNotActive,
            Self::DeviceNotFound,
            Self::KvmMissingCap,
        ];
        all.into_iter().find(|class| class.as_str() == name)
    }
}

/// Why a command failed, as its client sees it. Stands for QEMU's `Error`.
///
/// # Examples
///
/// ```
/// use executor::qmp::{Error, ErrorClass};
///
/// let error = Error::generic(format!("Device '{}' is in use", "disk0"));
///
/// assert_eq!(error.class(), ErrorClass::GenericError);
/// assert_eq!(error.to_string(), "Device 'disk0' is in use");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    class: ErrorClass,
    description: Cow<'static, str>,
}

impl Error {
    /// Returns an error of the given class.
    pub fn new(class: ErrorClass, description: impl Into<Cow<'static, str>>) -> Self {
        Self { class, description: description.into() }
    }

    /// Returns a [`GenericError`](ErrorClass::GenericError), which is right for nearly all errors.
    ///
    /// Stands for `error_setg()`.
    pub fn generic(description: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorClass::GenericError, description)
    }

    /// Returns the class.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// Returns the text for people. Its wording may change between versions.
    pub fn description(&self) -> &str {
        &self.description
    }

    pub(super) fn parse(problem: impl fmt::Display) -> Self {
        /// QEMU formats the problem into a buffer of 1024 bytes.
        const SHOWN: usize = 1023;

        let mut problem = problem.to_string();
        if problem.len() > SHOWN {
            let end = (0..=SHOWN).rev().find(|&end| problem.is_char_boundary(end));
            problem.truncate(end.unwrap_or(0));
        }
        Self::generic(format!("JSON parse error, {problem}"))
    }

    pub(super) fn stray(token: &str) -> Self {
        Self::generic(format!("JSON parse error, stray '{token}'"))
    }

    pub(super) fn command_not_found(name: &str) -> Self {
        let description = format!("The command {name} has not been found");
        Self::new(ErrorClass::CommandNotFound, description)
    }

    pub(super) fn no_oob(name: &str) -> Self {
        Self::generic(format!("The command {name} does not support OOB"))
    }

    pub(super) fn expecting_negotiation() -> Self {
        let description = "Expecting capabilities negotiation with 'qmp_capabilities'";
        Self::new(ErrorClass::CommandNotFound, description)
    }

    pub(super) fn negotiation_complete() -> Self {
        let description = "Capabilities negotiation is already complete, command ignored";
        Self::new(ErrorClass::CommandNotFound, description)
    }

    /// A command that has no outcome.
    pub(crate) fn without_outcome(error: JoinError) -> Self {
        match error.into_panic() {
            Ok(payload) => Self::panicked(payload),
            Err(_cancelled) => Self::cancelled(),
        }
    }

    pub(crate) fn cancelled() -> Self {
        Self::generic("The command was cancelled")
    }

    /// A command that took longer than it may.
    pub(super) fn timed_out(limit: Duration) -> Self {
        Self::generic(format!("The command timed out after {limit:?}"))
    }

    pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> Self {
        let error = Self::generic(format!("The command panicked: {}", message(&*payload)));
        drop_payload(payload);
        error
    }

    /// A request that could not be told from others.
    pub(super) fn lacks_id() -> Self {
        Self::generic("QMP input lacks member 'id', which 'x-concurrent' requires")
    }

    pub(super) fn missing(parameter: &str) -> Self {
        Self::generic(format!("Parameter '{parameter}' is missing"))
    }

    pub(super) fn unexpected(parameter: &str) -> Self {
        Self::generic(format!("Parameter '{parameter}' is unexpected"))
    }

    pub(super) fn wrong_type(parameter: &str, expected: &str) -> Self {
        Self::generic(format!("Invalid parameter type for '{parameter}', expected: {expected}"))
    }

    pub(super) fn wrong_value(parameter: &str, expected: &str) -> Self {
        Self::generic(format!("Parameter '{parameter}' expects {expected}"))
    }

    pub(super) fn refused_value(parameter: &str, value: &str) -> Self {
        Self::generic(format!("Parameter '{parameter}' does not accept value '{value}'"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

impl std::error::Error for Error {}

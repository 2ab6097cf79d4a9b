//! Which QEMU this is.
//!
//! Owns the number of a release, and how QEMU is asked for its own.
//!
//! Threads: any.

use std::ffi::c_char;
use std::fmt;
use std::ptr;

use crate::types::Error;

/// A release of QEMU. Development versions count as 10.2.50 after 10.2 and before 11.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Version {
    /// The first number.
    pub major: i64,
    /// The second number.
    pub minor: i64,
    /// The third number.
    pub micro: i64,
}

impl Version {
    pub(super) const fn new(major: i64, minor: i64, micro: i64) -> Self {
        Self { major, minor, micro }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// QEMU's `VersionInfo`, as far as it matters.
#[repr(C)]
pub(super) struct VersionInfo {
    qemu: *const Version,
    package: *const c_char,
}

/// `qmp_query_version`.
pub(super) type QueryVersion = unsafe extern "C" fn(errp: *mut *mut Error) -> *mut VersionInfo;
/// `qapi_free_VersionInfo`.
pub(super) type FreeVersion = unsafe extern "C" fn(info: *mut VersionInfo);

/// Asks QEMU for its version.
///
/// # Safety
///
/// The functions are QEMU's.
pub(super) unsafe fn ask(query: QueryVersion, free: FreeVersion) -> Version {
    // SAFETY: the function cannot fail and needs no lock.
    let info = unsafe { query(ptr::null_mut()) };
    // SAFETY: [layout]: QEMU returns a pointer to a struct that begins so.
    let version = unsafe { (*info).qemu };
    // SAFETY: as above.
    let version = unsafe { *version };
    // SAFETY: it is used no more.
    unsafe { free(info) };
    version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_development_version_comes_after_the_release_it_grew_from() {
        let [old, development, new] = [(10, 2, 9), (10, 2, 50), (11, 0, 0)]
            .map(|(major, minor, micro)| Version::new(major, minor, micro));
        assert!(old < development && development < new);
    }
}

//! What the block layer answers instead.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::io;

/// Why a node cannot be used or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockError {
    reason: Cow<'static, str>,
    errno: Option<i32>,
}

impl BlockError {
    /// A sentence, of QEMU's in general.
    pub(super) fn refused(sentence: impl fmt::Display) -> BlockError {
        BlockError { reason: sentence.to_string().into(), errno: None }
    }

    /// What C returns, a negative error number.
    pub(super) fn from_negative(result: i64) -> BlockError {
        let errno = i32::try_from(result.saturating_neg()).unwrap_or(nix::libc::EIO);
        BlockError { reason: strerror(errno).into(), errno: Some(errno) }
    }

    /// The error number, if QEMU gave one instead of a sentence.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

/// The words for an error number in C, which QEMU uses.
fn strerror(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    let number = format!(" (os error {errno})");
    text.strip_suffix(&number).map(str::to_owned).unwrap_or(text)
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for BlockError {}

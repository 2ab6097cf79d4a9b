//! The checksums that can be computed.
//!
//! Owns the choice between the algorithms, each of which is a crate of its own. Pure computation.
//!
//! Threads: any; a [`Hasher`] may move between two blocks.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha512};

/// Which checksum.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Algorithm {
    #[default]
    Sha256,
    Sha512,
    Blake3,
    Crc32c,
}

/// A checksum that is being computed.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
    Blake3(Box<blake3::Hasher>),
    Crc32c(u32),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
            Algorithm::Blake3 => Self::Blake3(Box::new(blake3::Hasher::new())),
            Algorithm::Crc32c => Self::Crc32c(0),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Crc32c(checksum) => *checksum = crc32c::crc32c_append(*checksum, bytes),
        }
    }

    /// Returns the checksum in hexadecimal.
    pub(crate) fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Sha512(hasher) => hex(&hasher.finalize()),
            Self::Blake3(hasher) => hasher.finalize().to_hex().to_string(),
            Self::Crc32c(checksum) => hex(&checksum.to_be_bytes()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

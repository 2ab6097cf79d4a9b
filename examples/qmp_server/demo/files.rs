//! The temporary folder, and the file in it whose checksums are known.
//!
//! Owns the folder, which goes with it, also when the program panics. The checksums are computed from the
//! bytes on their way to the file, in one thread, by nothing of the server's.
//!
//! Threads: any.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256, Sha512};

/// Enough to take a while with every algorithm.
const SIZE: usize = 256 << 20;

/// A folder that is removed with everything in it.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(super) fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("qmp_server-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{} is left: {error}", self.path.display());
        }
    }
}

/// What the server is to find out.
pub(super) struct Expected {
    pub(super) bytes: usize,
    /// Algorithms and digests.
    pub(super) digests: [(&'static str, String); 4],
}

/// Fills a file with bytes that are no pattern.
pub(super) fn write_data(path: &Path) -> io::Result<Expected> {
    let mut file = File::create_new(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0; 1 << 20];
    let (mut sha256, mut sha512) = (Sha256::new(), Sha512::new());
    let (mut blake3, mut crc32c) = (blake3::Hasher::new(), 0);
    for _ in 0..SIZE / block.len() {
        fill(&mut block, &mut state);
        file.write_all(&block)?;
        sha256.update(&block);
        sha512.update(&block);
        blake3.update(&block);
        crc32c = crc32c::crc32c_append(crc32c, &block);
    }
    let digests = [
        ("sha256", hex(&sha256.finalize())),
        ("sha512", hex(&sha512.finalize())),
        ("blake3", hex(blake3.finalize().as_bytes())),
        ("crc32c", format!("{crc32c:08x}")),
    ];
    Ok(Expected { bytes: SIZE, digests })
}

/// Marsaglia's generator of 64 bits: xorshift.
fn fill(block: &mut [u8], state: &mut u64) {
    for word in block.chunks_exact_mut(8) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

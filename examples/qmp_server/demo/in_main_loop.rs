//! How not to do it: a checksum in the main loop, `x-demo-checksum-in-main-loop`.
//!
//! A handler that cannot await has no other choice. It is correct, it is even a bit faster for the one who
//! asks, and nobody else gets an answer before it is done.
//!
//! Threads: the main loop's, for all the time that it takes.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Error, Registry};
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub(super) fn register(registry: &mut Registry) {
    registry.command::<ChecksumInMainLoop, _>(checksum);
}

pub(super) struct ChecksumInMainLoop;

impl Command for ChecksumInMainLoop {
    const NAME: &'static str = "x-demo-checksum-in-main-loop";
    type Mode = Blocking;
    type Args = Args;
    type Ret = String;
}

#[derive(Deserialize)]
pub(super) struct Args {
    filename: PathBuf,
}

fn checksum(_: &mut NoCoroutine, args: Args) -> Result<String, Error> {
    hash(&args.filename).map_err(|error| Error::generic(error.to_string()))
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut block = vec![0; 1 << 20];
    let mut hasher = Sha256::new();
    loop {
        match file.read(&mut block)? {
            0 => break,
            count => hasher.update(&block[..count]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

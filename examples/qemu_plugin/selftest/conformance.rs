//! The conformance cases, on the event loop of the QEMU around us.
//!
//! The cases are those of the emulation (`tests/conformance`), so whoever compares the two replies learns
//! where the emulation is wrong.
//!
//! Threads: a case runs in a thread of its own, while the main loop goes on. Cases of two clients would be in
//! each other's way; nobody should ask twice.

use executor::MainCx;
use executor::blocking::blocking;
use executor::qmp::{Command, Coroutine, Error, Registry};
use serde::Deserialize;

#[path = "../../../tests/conformance/cases.rs"]
#[allow(unreachable_pub, reason = "it is a module of tests, too")]
mod cases;

pub(super) fn register(registry: &mut Registry) {
    registry.command::<Conformance, _>(conformance);
}

struct Conformance;

impl Command for Conformance {
    const NAME: &'static str = "x-selftest-conformance";
    type Mode = Coroutine;
    type Args = ConformanceArgs;
    /// The transcript, line by line.
    type Ret = Vec<String>;
}

#[derive(Deserialize)]
struct ConformanceArgs {
    /// Which cases; those whose sentence has these words in it.
    #[serde(default)]
    words: String,
}

async fn conformance(_: &MainCx, args: ConformanceArgs) -> Result<Vec<String>, Error> {
    let transcript = blocking(move || cases::transcript(&args.words)).await;
    transcript.map_err(|error| Error::generic(error.to_string()))
}

//! The smallest plugin for QEMU: one QMP command, in async Rust.
//!
//! ```text
//! cargo build --release --manifest-path examples/first_command/Cargo.toml
//! qemu-system-x86_64 -accel tcg -plugin examples/first_command/target/release/libfirst_command.so …
//! ```
//!
//! Threads: QEMU's main thread, under the Big QEMU Lock.

use std::ffi::{c_char, c_int, c_void};
use std::time::Duration;

use executor::MainCx;
use executor::host::{self, Loading, Options, Refusal, plugin};
use executor::qmp::{Command, Coroutine, Error, Registry};
use executor::time::sleep;

/// What clients send: `{"execute": "x-greet", "arguments": {"name": "QEMU", "seconds": 2}}`.
#[derive(serde::Deserialize)]
struct GreetArgs {
    name: String,
    /// None unless said otherwise.
    seconds: Option<u32>,
}

struct Greet;

impl Command for Greet {
    const NAME: &'static str = "x-greet";
    const HELP: &'static str = "greet somebody, after a while";
    type Mode = Coroutine;
    type Args = GreetArgs;
    type Ret = String;
}

/// Runs as a task of QEMU's main loop. While it waits, nobody else does.
async fn greet(_cx: &MainCx, args: GreetArgs) -> Result<String, Error> {
    if args.name.is_empty() {
        return Err(Error::generic("Parameter 'name' is empty"));
    }
    sleep(Duration::from_secs(args.seconds.unwrap_or(0).into())).await;
    Ok(format!("Hello, {}!", args.name))
}

fn register(loading: &mut Loading<'_>) -> Result<(), Refusal> {
    let mut registry = Registry::new();
    registry.command::<Greet, _>(greet);
    loading.register(registry, None)
}

/// What QEMU calls to install the plugin.
///
/// # Safety
///
/// As QEMU calls it: `argv` has `argc` strings.
#[unsafe(no_mangle)]
unsafe extern "C" fn qemu_plugin_install(
    _id: u64,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: by this function's contract.
    unsafe { plugin::install(argc, argv, |_arguments| host::attach(Options::default(), register)?) }
}

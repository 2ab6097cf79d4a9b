//! Other programs that this one needs: compilers, and what they make.
//!
//! Threads: main.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{about, say};

/// Has cargo build the plugin, in the profile that this program was built in.
pub(crate) fn build_plugin() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    // In `target/PROFILE/examples`.
    let folder = program.parent().ok_or_else(|| io::Error::other("this program is nowhere"))?;
    let plugin = folder.join("libqemu_plugin.so");
    if let Some(cargo) = env::var_os("CARGO") {
        say("building the plugin");
        let mut command = Command::new(cargo);
        command.args(["build", "--example", "qemu_plugin", "--features", "host"]);
        command.args(if cfg!(debug_assertions) { &[][..] } else { &["--release"] });
        if let Some(target) = folder.ancestors().nth(2) {
            command.arg("--target-dir").arg(target);
        }
        run(command.current_dir(env!("CARGO_MANIFEST_DIR")))?;
    }
    if plugin.is_file() {
        return Ok(plugin);
    }
    let how = "cargo build --release --example qemu_plugin --features host";
    Err(io::Error::other(format!("there is no {}; `{how}` makes it", plugin.display())))
}

/// Compiles the guest's program into `folder`. It is linked statically, since the guest has nothing else.
pub(crate) fn build_guest(folder: &Path) -> io::Result<PathBuf> {
    let (source, program) = (folder.join("guest.rs"), folder.join("guest"));
    std::fs::write(&source, include_str!("guest.rs")).map_err(about(&source))?;
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static"]);
    command.args(["-C", "panic=abort", "-C", "strip=symbols", "-o"]);
    run(command.arg(&program).arg(&source))?;
    Ok(program)
}

/// Runs a program, which must succeed. What it prints goes to standard error, since ours is a table.
pub(crate) fn run(command: &mut Command) -> io::Result<()> {
    let what = command.get_program().to_string_lossy().into_owned();
    let failed = |error: String| io::Error::other(format!("{what}: {error}"));
    let output = command.stdin(Stdio::null()).stdout(io::stderr());
    let status = output.status().map_err(|error| failed(error.to_string()))?;
    if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
}

/// What a program prints.
pub(crate) fn output(command: &mut Command) -> io::Result<String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| io::Error::other(format!("{what}: {error}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

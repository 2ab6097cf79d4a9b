//! What a running guest and a second monitor feel while a long command runs.
//!
//! ```text
//! cargo run --release --example responsiveness -- --fetch-kernel
//! ```
//!
//! Boots a kernel of Debian's in QEMU as the distribution ships it, with our plugin in it, and has SHA-256
//! computed in three ways, in turns: by a command of QEMU's own, in C; by a naive handler in Rust, which blocks; and
//! by our async one. Meanwhile a guest and two clients do something every 10 ms and measure how long
//! that takes:
//!
//! ```text
//!            guest: timer, disk, work ── virtio-serial ──► listener.rs ──┐
//!   QEMU ◄── a second client of its monitor ────────────── prober.rs ────┼─► felt.rs ─► figures.rs ─► table, JSON
//!      ▲ ◄── a client of our server ────────────────────── prober.rs ────┘                      plot.rs ─► SVG
//!      └──── the long command ──────────────────────────── ways.rs
//! ```
//!
//! `guest.rs` is the guest's only program; `kernel.rs` and `initrd.rs` make something of it that boots. It prints
//! a table in Markdown, and writes `responsiveness.json`, with every sample, and `responsiveness.svg`.
//! It takes a minute or two, and wants two processors that have nothing else to do.
//!
//! Threads: main asks for the long commands; one per prober, one that listens to the guest, one for signals.

#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

mod felt;
mod figures;
mod initrd;
mod kernel;
mod listener;
mod machine;
mod monitor;
mod plot;
mod prober;
mod programs;
mod publish;
mod report;
mod rounds;
mod ways;

use kernel::Kernel;
use machine::{Machine, Parts};

/// What a guest and a second monitor feel while a long command runs: in C, in naive Rust, and in async Rust.
#[derive(Debug, Parser)]
struct Options {
    /// The QEMU, which must be able to load plugins.
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-x86_64")]
    qemu: PathBuf,
    /// The plugin. Unless given, cargo builds it.
    #[arg(long, value_name = "FILE")]
    plugin: Option<PathBuf>,
    /// Where a kernel package of Debian's was unpacked with `dpkg -x`.
    #[arg(long, value_name = "FOLDER", default_value = "target/responsiveness/kernel")]
    kernel: PathBuf,
    /// Have apt-get fetch Debian's kernel for clouds into that folder, unless there is one. Installs nothing.
    #[arg(long)]
    fetch_kernel: bool,
    /// Where to write responsiveness.json and responsiveness.svg.
    #[arg(long, value_name = "FOLDER", default_value = "target/responsiveness")]
    out: PathBuf,
    /// Also put the plot into docs/ and the table into README.md, in the current folder.
    #[arg(long)]
    publish: bool,
    /// How long each long command is to take.
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,
    /// How often each way has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.5..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.5 to 60 is expected".into()),
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("responsiveness: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> io::Result<()> {
    if !cfg!(target_arch = "x86_64") {
        let why = "the guest is an x86-64 machine, and its program is compiled on one";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    }
    // Before there is any other thread, since threads inherit which signals are blocked.
    machine::clean_up_when_interrupted()?;
    let kernel = find_kernel(options)?;
    let plugin = options.plugin.clone().map_or_else(programs::build_plugin, Ok)?;
    let mut machine = Machine::new()?;
    say("building the guest's program");
    let initrd = machine.folder().join("initrd");
    initrd::write(&initrd, &programs::build_guest(machine.folder())?, &kernel)?;

    say("booting the guest");
    let parts =
        Parts { qemu: &options.qemu, plugin: &plugin, image: &kernel.image, initrd: &initrd };
    let started = machine.start(&parts);
    let rounds = started.and_then(|()| rounds::measure(&machine, options.rounds, options.seconds));
    let rounds = rounds.map_err(|error| machine.explain(&error))?;
    machine.end()?;
    publish(options, &report::Report::of(rounds, &kernel))
}

fn find_kernel(options: &Options) -> io::Result<Kernel> {
    if options.fetch_kernel && Kernel::find(&options.kernel).is_err() {
        say("fetching the kernel");
        kernel::fetch(&options.kernel)?;
    }
    Kernel::find(&options.kernel).map_err(|error| {
        let how = "--fetch-kernel gets one with apt-get; --kernel FOLDER takes one that `dpkg -x` unpacked";
        io::Error::new(error.kind(), format!("there is no kernel for the guest: {error}\n{how}"))
    })
}

fn publish(options: &Options, report: &report::Report) -> io::Result<()> {
    std::fs::create_dir_all(&options.out).map_err(about(&options.out))?;
    let file = |name: &str| options.out.join(name);
    report.write_json(&file("responsiveness.json"))?;
    plot::write(report, &file("responsiveness.svg"))?;
    let table = report.markdown();
    println!("{table}");
    if options.publish {
        publish::into_readme(Path::new("README.md"), &table)?;
        plot::write(report, Path::new("docs/responsiveness.svg"))?;
    }
    say(&format!("written to {}", options.out.display()));
    Ok(())
}

fn say(what: &str) {
    eprintln!("responsiveness: {what}");
}

/// Says which file an error is about.
fn about(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

//! Figures in one QEMU process: tasks beside C coroutines, our server beside QEMU's monitor.
//!
//! Starts the QEMU that `$QEMU` names, or the one on the path, with the plugin in it, asks the plugin for what it has
//! measured (`examples/qemu_plugin/selftest/figures.rs`), and times the monitors itself, as their client. Says so and
//! ends well if there is no QEMU, unless `REQUIRE_QEMU` is 1.

#[path = "../tests/common/qmp_server.rs"]
mod common;
#[path = "../tests/common/qemu.rs"]
mod qemu;

use std::env;
use std::path::PathBuf;
use std::time::Instant;

use common::wait_until;
use qemu::{Monitor, Qemu, on_path};
use serde_json::{Value, json};

fn main() {
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let given = env::var_os("QEMU").map(PathBuf::from);
    let Some(program) = given.or_else(|| on_path("qemu-system-x86_64")) else {
        let required = env::var("REQUIRE_QEMU").is_ok_and(|required| required == "1");
        assert!(!required, "QEMU is required and is neither at $QEMU nor on the path");
        println!("skipped: QEMU is neither at $QEMU nor on the path");
        return;
    };
    // The iothread of every QEMU here polls as QEMU wants it; this one does not.
    let sleepy = ["-object", "iothread,id=sleepy,poll-max-ns=0"];
    let qemu = Qemu::start(&program, ",selftest=on", &sleepy);
    let version = qemu.first().ok("query-version", &json!({}))["qemu"].clone();
    println!("in QEMU {}.{}.{}:\n", version["major"], version["minor"], version["micro"]);
    println!("| ours | C's | ours | C's | ours / C's |\n|---|---|---:|---:|---:|");
    // First, before memory is used again.
    ask(&qemu, &json!({ "what": "memory" }), "", bytes);
    ask(&qemu, &json!({ "what": "yields" }), "", time);
    ask(&qemu, &json!({ "what": "hops", "iothread": "io0" }), "", time);
    ask(&qemu, &json!({ "what": "hops", "iothread": "sleepy" }), ", poll-max-ns=0", time);
    head_of_line(&qemu);
    qemu.first().ok("quit", &json!({}));
    qemu.expect_success();
}

fn ask(qemu: &Qemu, what: &Value, remark: &str, unit: fn(f64) -> String) {
    let rows = qemu.ours().ok("x-selftest-figures", what);
    for row in rows.as_array().expect("it is a list") {
        let number = |name: &str| row[name].as_f64().expect("it is a number");
        let text = |name: &str| row[name].as_str().expect("it is a string");
        let names = (format!("{}{remark}", text("ours")), text("theirs"));
        print_row(
            &names.0,
            names.1,
            [number("our_figure"), number("their_figure")],
            unit,
            number("ratio"),
        );
    }
}

fn print_row(ours: &str, theirs: &str, figures: [f64; 2], unit: fn(f64) -> String, ratio: f64) {
    let [our_figure, their_figure] = figures.map(unit);
    // Three significant digits.
    let digits = (2.0 - ratio.log10().floor()).clamp(0.0, 6.0) as usize;
    println!("| {ours} | {theirs} | {our_figure} | {their_figure} | {ratio:.digits$} |");
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ..1e3 => format!("{nanoseconds:.1} ns"),
        1e3..1e6 => format!("{:.2} us", nanoseconds / 1e3),
        _ => format!("{:.1} ms", nanoseconds / 1e6),
    }
}

fn bytes(bytes: f64) -> String {
    format!("{bytes:.0} B")
}

const ROUNDS: usize = 21;

/// How long a command of QEMU's takes that has nothing to do, while another client's command waits.
fn head_of_line(qemu: &Qemu) {
    let mut ours = [qemu.ours(), qemu.ours()];
    let mut theirs = [qemu.first(), qemu.second()];
    let mut observer = qemu.ours();
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        our_times.push(beside_a_sleep(&mut ours, &mut observer));
        their_times.push(beside_a_sleep(&mut theirs, &mut observer));
    }
    let ratios = our_times.iter().zip(&their_times).map(|(ours, theirs)| ours / theirs);
    let (ratio, figures) =
        (median(ratios.collect()), [median(our_times.clone()), median(their_times)]);
    let what = "query-status beside a command that sleeps 50 ms";
    print_row(&format!("{what}, our server"), "QEMU's monitors", figures, time, ratio);
}

fn beside_a_sleep([sleeper, other]: &mut [Monitor; 2], observer: &mut Monitor) -> f64 {
    sleeper.send("x-sleep", &json!({ "seconds": 0.05 }));
    wait_until("the command runs", || observer.tasks_of("x-sleep").len() == 1);
    let start = Instant::now();
    other.ok("query-status", &json!({}));
    let took = start.elapsed();
    assert_eq!(sleeper.receive(), json!({ "return": {} }));
    took.as_secs_f64() * 1e9
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

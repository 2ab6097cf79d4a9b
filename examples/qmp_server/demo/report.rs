//! What the demonstration has shown, as two tables and a sentence.
//!
//! Threads: the main loop's, when everything else has ended.

use std::process::ExitCode;
use std::time::Duration;

use super::latency::Latencies;
use super::script::Played;

/// Prints the result; the exit status tells whether the digests were right.
pub(super) fn print(played: &Played) -> ExitCode {
    println!("\nHow long B waited for a reply      p50       p99       max   replies");
    row("while nothing else ran", &played.alone);
    row("while A's command was async", &played.beside_async);
    row("while A's command blocked", &played.beside_blocking);
    println!("\nExecutor     tasks     polls     wakes");
    for stats in played.stats.as_array().into_iter().flatten() {
        let count = |what: &str| stats[what].as_u64().unwrap_or(0);
        let name = stats["executor"].as_str().unwrap_or("?");
        println!(
            "{name:<8}{:>10}{:>10}{:>10}",
            count("spawned"),
            count("polls"),
            count("requests")
        );
    }
    println!("\n{}", conclusion(played));
    if played.is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(what: &str, latencies: &Latencies) {
    let [p50, p99] = [50, 99].map(|percent| time(latencies.percentile(percent)));
    let (max, count) = (time(latencies.max()), latencies.count());
    println!("  {what:<28}{p50:>8}{p99:>10}{max:>10}{count:>10}");
}

fn conclusion(played: &Played) -> String {
    let (asynchronous, blocking) = (played.beside_async.max(), played.beside_blocking.max());
    if !played.is_right {
        "A digest is wrong.".into()
    } else if asynchronous * 2 < blocking {
        let [asynchronous, blocking] = [asynchronous, blocking].map(time);
        format!(
            "All digests are right. The async commands never held B up: {asynchronous} at worst, \
             where the\nsame work in the main loop made B wait for {blocking}."
        )
    } else {
        "All digests are right. This machine was too busy to tell the two kinds of command apart."
            .into()
    }
}

fn time(duration: Duration) -> String {
    match duration.as_micros() {
        micros @ ..10_000 => format!("{micros} µs"),
        micros => format!("{} ms", micros / 1000),
    }
}

//! What the two clients do, and what is printed meanwhile.
//!
//! Owns nothing; what it finds out is for `report`. Threads: B is the thread that calls, A one of its own.

use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Client;
use super::files::{Expected, write_data};
use super::latency::Latencies;

/// How long B is alone with the server.
const ALONE: Duration = Duration::from_millis(500);

/// What has been found out.
pub(super) struct Played {
    pub(super) alone: Latencies,
    pub(super) beside_async: Latencies,
    pub(super) beside_blocking: Latencies,
    /// Whether all digests were right.
    pub(super) is_right: bool,
    /// The result of `x-executor-stats`.
    pub(super) stats: Value,
}

/// Plays both clients' parts.
pub(super) fn play(socket: &Path, data: &Path) -> io::Result<Played> {
    println!("One main loop, two iothreads, a QMP server, and two clients of it, A and B.\n");
    say(&format!("    {}: ", data.display()))?;
    let expected = write_data(data)?;
    println!("{} MiB, with digests noted on the way", expected.bytes >> 20);

    let (mut a, mut b) = (Client::connect(socket)?, Client::connect(socket)?);
    println!("B → query-status, once a millisecond from here on");
    let (alone, ()) = Latencies::during(&mut b, || thread::sleep(ALONE))?;
    let (beside_async, right) = Latencies::during(&mut b, || all_async(&mut a, data, &expected))?;
    let mut is_right = right?;
    let (beside_blocking, right) = Latencies::during(&mut b, || blocking(&mut a, data, &expected))?;
    is_right &= right?;
    let stats = a.call("x-executor-stats", &json!({}))?;
    Ok(Played { alone, beside_async, beside_blocking, is_right, stats })
}

/// A asks for every checksum, now in one iothread, now in the other.
fn all_async(a: &mut Client, data: &Path, expected: &Expected) -> io::Result<bool> {
    let mut is_right = true;
    for ((algorithm, digest), iothread) in
        expected.digests.iter().zip(["io0", "io1"].iter().cycle())
    {
        say(&format!("A → x-file-checksum {algorithm} in {iothread} ←"))?;
        let arguments = json!({"filename": data, "algorithm": algorithm, "iothread": iothread});
        let result = a.call_and_watch("x-file-checksum", &arguments, show_progress)?;
        let right = result["digest"] == **digest;
        let throughput = result["throughput"].as_u64().unwrap_or(0) >> 20;
        println!(" {}, {throughput} MiB/s", verdict(&result["digest"], right));
        is_right &= right;
    }
    Ok(is_right)
}

fn show_progress(event: &str, data: &Value) {
    if let ("X_FILE_CHECKSUM_PROGRESS", Some(done), Some(total)) =
        (event, data["done"].as_u64(), data["total"].as_u64())
    {
        // Only decoration.
        let _unseen = say(&format!(" {} %", done * 100 / total));
    }
}

/// A asks for the first checksum once more, from a handler that blocks.
fn blocking(a: &mut Client, data: &Path, expected: &Expected) -> io::Result<bool> {
    let (algorithm, digest) = &expected.digests[0];
    say(&format!("A → x-demo-checksum-in-main-loop {algorithm} ←"))?;
    let result = a.call("x-demo-checksum-in-main-loop", &json!({"filename": data}))?;
    let right = result == **digest;
    println!(" {}", verdict(&result, right));
    Ok(right)
}

/// The beginning of the digest, and whether it is right.
fn verdict(digest: &Value, right: bool) -> String {
    let digest = digest.as_str().unwrap_or_default();
    let shown = digest.get(..8).unwrap_or(digest);
    format!("{shown}… {}", if right { "as noted" } else { "is WRONG" })
}

/// Prints without ending the line.
fn say(text: &str) -> io::Result<()> {
    print!("{text}");
    io::stdout().flush()
}

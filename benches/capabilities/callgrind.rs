//! Instruction counts from callgrind: runs this program under it and reads what it writes.
//!
//! The format is line by line: `fl=`, `fi=` and `fe=` name the source file of the lines that follow, as
//! `(number) name` the first time and `(number)` later; `calls=` announces a line with the cost of a callee,
//! which is counted where it belongs; a line that begins with a number, `+`, `-` or `*` is a line of the source
//! and its cost.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What was executed inside one function.
pub(crate) struct Counts {
    pub(crate) total: u64,
    /// By the source file that the instructions come from, wherever they were inlined.
    pub(crate) files: HashMap<String, u64>,
}

pub(crate) fn is_there() -> bool {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Runs this program with `--measure argument`, and counts inside the function `name` of `measured`, in every
/// thread that calls it. No other function's name may begin with its path: it would end the count.
pub(crate) fn count(name: &str, argument: &str) -> Counts {
    let file = output_file(argument);
    let program = std::env::current_exe().expect("a benchmark has an executable");
    let status = Command::new("valgrind")
        .args(["-q", "--tool=callgrind", "--dump-line=yes", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*measured::{name}*"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(["--measure", argument])
        .stderr(Stdio::null())
        .status()
        .expect("valgrind starts");
    assert!(status.success(), "{argument} under callgrind: {status}");
    let text = std::fs::read_to_string(&file).expect("callgrind has written its file");
    let _left_behind = std::fs::remove_file(&file);
    parse(&text)
}

fn output_file(argument: &str) -> PathBuf {
    std::env::temp_dir().join(format!("callgrind.{argument}.{}", std::process::id()))
}

fn parse(text: &str) -> Counts {
    let mut counts = Counts { total: 0, files: HashMap::new() };
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut file, mut callee) = ("", false);
    for line in text.lines() {
        if let Some(named) = ["fl=", "fi=", "fe="].iter().find_map(|key| line.strip_prefix(key)) {
            file = resolve(&mut names, named);
        } else if let Some(named) = line.strip_prefix("cfi=").or_else(|| line.strip_prefix("cfl="))
        {
            resolve(&mut names, named);
        } else if line.starts_with("calls=") {
            callee = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c))
            && !std::mem::take(&mut callee)
        {
            add(&mut counts, file, line);
        }
    }
    assert!(counts.total > 0, "nothing was measured");
    counts
}

/// `(number) name` or `(number)`.
fn resolve<'t>(names: &mut HashMap<&'t str, &'t str>, named: &'t str) -> &'t str {
    let (number, name) = named.split_once(' ').unwrap_or((named, ""));
    if !name.is_empty() {
        names.insert(number, name);
    }
    names[number]
}

fn add(counts: &mut Counts, file: &str, line: &str) {
    let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok()).unwrap_or(0);
    counts.total += cost;
    *counts.files.entry(file.to_owned()).or_default() += cost;
}

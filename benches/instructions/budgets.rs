//! The file of budgets, and how counts compare with it.
//!
//! A line is the name of a row and its instructions per operation; lines that begin with `#` are for people.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

/// How far a count may be from its budget.
const TOLERANCE: f64 = 0.05;

/// What a count is to its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Within,
    /// So cheap that the budget should be lowered, or the gain can be lost again without a word.
    Below,
    Above,
    /// There is no budget.
    Unknown,
}

/// The budgets by the names of their rows.
pub(crate) struct Budgets(BTreeMap<String, f64>);

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/budgets.txt"))
}

impl Budgets {
    /// Reads the file. None, if it does not exist yet.
    pub(crate) fn read() -> Budgets {
        let text = fs::read_to_string(path()).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Budgets(lines.map(parse).collect())
    }

    pub(crate) fn of(&self, row: &str) -> Option<f64> {
        self.0.get(row).copied()
    }

    pub(crate) fn judge(&self, row: &str, count: f64) -> Verdict {
        match self.of(row) {
            None => Verdict::Unknown,
            Some(budget) if count > budget * (1.0 + TOLERANCE) => Verdict::Above,
            Some(budget) if count < budget * (1.0 - TOLERANCE) => Verdict::Below,
            Some(_) => Verdict::Within,
        }
    }

    /// The budgets of rows that are gone.
    pub(crate) fn without_row(&self, rows: &[&str]) -> Vec<&str> {
        self.0.keys().map(String::as_str).filter(|name| !rows.contains(name)).collect()
    }
}

fn parse(line: &str) -> (String, f64) {
    let mut words = line.split_whitespace();
    let (name, count) = (words.next(), words.next().and_then(|count| count.parse().ok()));
    let (Some(name), Some(count)) = (name, count) else {
        panic!("benches/budgets.txt: a line is a row and a number, not `{line}`");
    };
    (name.into(), count)
}

/// Writes a new file. The machine that counted is in it, since compilers and C libraries differ.
pub(crate) fn write(counts: &[(&str, f64)], counted_by: &str) {
    let mut text = format!(
        "# Instructions per operation: what `cargo bench --bench instructions` holds the executor to.\n\
         # It fails above 105 %; below 95 %, lower the budget: `cargo bench --bench instructions -- --write`.\n\
         # Counted by callgrind with {counted_by}.\n"
    );
    for (row, count) in counts {
        writeln!(text, "{row:<18} {count:>8.1}").expect("a string takes what it is given");
    }
    fs::write(path(), text).expect("the repository can be written to");
}

//! What the command line asks for.
//!
//! Criterion has options of its own, and does not know ours, so it is given the command line only where it measures.

use std::path::{Path, PathBuf};

/// Who measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Rounds, and criterion.
    All,
    Rounds,
    /// Criterion only tests, lists or profiles.
    Nothing,
}

/// What this run is to do.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) measure: Measure,
    /// Rounds per row.
    pub(crate) rounds: usize,
    /// Whether rows are measured, and not only plots drawn.
    pub(crate) rows: bool,
    /// Whether there is to be the table of all peers, and not only that of the goals.
    pub(crate) table: bool,
    /// Where the plots go, if there are to be any.
    pub(crate) plots: Option<PathBuf>,
    /// Parts of the names of rows.
    filters: Vec<String>,
}

/// Options of criterion's under which nothing is measured. Without `--bench`, too, it only tests.
const OTHER_MODES: [&str; 3] = ["--list", "--test", "--profile-time"];

impl Options {
    /// Reads the command line.
    pub(crate) fn from_args() -> Options {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let given = |option: &str| args.iter().any(|arg| arg == option);
        let plots = args
            .iter()
            .position(|arg| arg == "--plots")
            .map(|at| PathBuf::from(args.get(at + 1).expect("`--plots` is followed by a folder")));
        let (quick, goals) = (given("--quick"), given("--goals"));
        let measure = if OTHER_MODES.into_iter().any(given) || !given("--bench") {
            Measure::Nothing
        } else if quick || goals || plots.is_some() {
            Measure::Rounds
        } else {
            Measure::All
        };
        let rounds = if quick { 3 } else { 12 };
        let is_filter =
            |arg: &&String| !arg.starts_with('-') && plots.as_deref() != Some(Path::new(arg));
        let filters = args.iter().filter(is_filter).cloned().collect();
        let rows = goals || plots.is_none();
        Options { measure, rounds, rows, table: !goals, plots, filters }
    }

    /// Whether a row, or a plot, is asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|part| name.contains(part.as_str()))
    }
}

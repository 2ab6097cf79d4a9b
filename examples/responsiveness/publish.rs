//! The table in the README, between two marks.
//!
//! Threads: main.

use std::fs;
use std::io;
use std::path::Path;

use crate::about;

const BEGIN: &str = "<!-- responsiveness: written by --publish -->\n";
const END: &str = "<!-- responsiveness: end -->\n";

/// Puts the table in place of the one before.
pub(crate) fn into_readme(path: &Path, table: &str) -> io::Result<()> {
    let readme = fs::read_to_string(path).map_err(about(path))?;
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        let what = format!("{} has no place for the table", path.display());
        return Err(io::Error::other(what));
    };
    fs::write(path, format!("{before}{BEGIN}{table}{END}{after}")).map_err(about(path))
}

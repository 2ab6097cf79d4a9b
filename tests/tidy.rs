//! The rules of this code base that no lint can check.

use std::path::{Path, PathBuf};

/// Every Rust file below `folder`, except the compile-fail programs.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() && !path.ends_with("compile_fail") && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["aio-sys", "executor", "examples", "benches", "tests"] {
        rust_files(&root.join(folder), &mut found);
    }
    found
}

#[test]
fn every_file_opens_with_what_it_is_about() {
    for path in all_files() {
        let text = std::fs::read_to_string(&path).expect("the file is readable");
        assert!(text.starts_with("//! "), "{} does not open with a `//!` line", path.display());
    }
}

#[test]
fn no_file_is_longer_than_500_lines() {
    for path in all_files() {
        let text = std::fs::read_to_string(&path).expect("the file is readable");
        let lines = text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}

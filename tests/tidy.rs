//! The rules of this code base that no lint can check.

#[path = "tidy/examples.rs"]
mod examples;

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

fn architecture() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    std::fs::read_to_string(path).expect("ARCHITECTURE.md is readable")
}

/// The library files and what they say.
fn library_files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["aio-sys/src", "executor/src"] {
        rust_files(&root.join(folder), &mut found);
    }
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root).expect("below the root").display().to_string();
        (name, std::fs::read_to_string(&path).expect("the file is readable"))
    };
    found.into_iter().map(read).collect()
}

/// Code without comments and strings would be better; a line that begins with `//` is comment enough.
fn uses_unsafe(text: &str) -> bool {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().any(|line| {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.into_iter().any(|word| word == "unsafe")
    })
}

#[test]
fn the_unsafe_map_lists_exactly_the_files_that_use_unsafe() {
    let architecture = architecture();
    let map = architecture.split("## Unsafe map").nth(1).expect("the map is there");
    let map = map.split("\n## ").next().expect("the map ends");
    for (name, text) in library_files() {
        let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
        let listed = map.contains(&format!("`{name}`"));
        assert!(listed || is_test || !uses_unsafe(&text), "{name} uses unsafe, the map has it not");
        assert!(!listed || uses_unsafe(&text), "{name} is in the map and uses no unsafe");
    }
    for name in map.split('`').filter(|word| word.ends_with(".rs")) {
        assert!(library_files().iter().any(|(n, _)| n == name), "the map lists {name}");
    }
}

/// The `[kebab-ids]` in a text.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split('[')
        .skip(1)
        .filter_map(|rest| rest.split_once(']'))
        .map(|(id, _)| id)
        .filter(|id| id.contains('-') && id.chars().all(|c| c == '-' || c.is_ascii_lowercase()))
}

#[test]
fn every_invariant_that_a_comment_cites_is_defined() {
    let architecture = architecture();
    for (name, text) in library_files() {
        for line in text.lines().filter(|line| line.trim_start().starts_with("//")) {
            for id in ids(line) {
                let defined = architecture.contains(&format!("- `[{id}]` "));
                assert!(defined, "{name} cites [{id}], which ARCHITECTURE.md does not define");
            }
        }
    }
}

#[test]
fn every_invariant_that_is_defined_is_cited() {
    let files = library_files();
    for id in ids(&architecture()).filter(|id| *id != "kebab-ids") {
        let cited = files.iter().any(|(_, text)| text.contains(&format!("[{id}]")));
        assert!(cited, "nothing cites [{id}]");
    }
}

#[test]
fn the_messages_in_the_troubleshooting_page_are_said_somewhere() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let page = std::fs::read_to_string(page).expect("the page is readable");
    let read = |path| std::fs::read_to_string(path).expect("the file is readable");
    let sources: Vec<String> = all_files().into_iter().map(read).collect();
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `"));
    for message in headings.map(|heading| heading.trim_end_matches('`')) {
        let said = sources.iter().any(|text| says(text, message));
        assert!(said, "nothing says {message:?}");
    }
}

/// Whether a source has the words, also where a string goes on in the next line.
fn says(source: &str, words: &str) -> bool {
    source.contains(words)
        || source.split('\\').map(str::trim_start).collect::<String>().contains(words)
}

/// The functions and variables that a file declares as C's.
fn foreign_names(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for block in text.split("unsafe extern \"C\" {\n").skip(1) {
        let block = block.split("\n}").next().expect("a split has a first part");
        for line in block.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
            let word = line
                .split([' ', '(', ':'])
                .find(|word| !["pub", "safe", "fn", "static", "mut", "unsafe"].contains(word));
            let declares = line.contains("fn ") || line.contains("static ");
            names.extend(word.filter(|_| declares));
        }
    }
    names
}

/// In QEMU's tree, the C compiler compares them with its headers.
#[test]
fn what_is_declared_of_qemu_is_compared_with_its_headers() {
    let path = "docs/qemu-tree/rust/aio-sys/prototypes.c";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let prototypes = std::fs::read_to_string(path).expect("the file is readable");
    let words: Vec<&str> = prototypes.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut count = 0;
    for (file, text) in library_files().iter().filter(|(file, _)| file.contains("/host")) {
        for name in foreign_names(text).into_iter().filter(|name| !name.starts_with("g_")) {
            count += 1;
            // `linked.rs` gives one another name.
            let declared = words.contains(&name) || name == "init_monitor";
            assert!(declared, "{file} declares {name}, prototypes.c does not");
        }
    }
    assert!(count > 100, "only {count} are found");
}

/// The features that a manifest has.
fn features(manifest: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
    let text = std::fs::read_to_string(path).expect("the manifest is readable");
    let (_, after) = text.split_once("[features]\n").expect("it has features");
    let lines = after.lines().take_while(|line| !line.starts_with('['));
    let names =
        lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" ="));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// Its compiler refuses a `cfg` for a feature that its manifests do not name.
#[test]
fn every_feature_is_known_in_qemus_tree() {
    for library in ["aio-sys", "executor"] {
        let known = features(&format!("docs/qemu-tree/rust/{library}/Cargo.toml"));
        let all = features(&format!("{library}/Cargo.toml"));
        assert!(all.len() > 4, "{all:?}");
        for feature in all {
            assert!(
                known.contains(&feature),
                "{library} has `{feature}`, in QEMU's tree it has not"
            );
        }
    }
}

//! `docs/guide.md` is the page `executor::guide` of the API's documentation, whose code is compiled and run, for
//! readers of the files: without the lines that only the compiler needs, and without links into the API.
//!
//! `UPDATE_DOCS=1 cargo test --test docs` writes it. And the README shows code that is there.

use std::env;
use std::fs;
use std::path::Path;

const TITLE: &str = "# Guide\n\n";

/// The text of a module's documentation.
fn page(module: &str) -> String {
    let docs = module.lines().filter(|line| line.starts_with("//!"));
    let mut in_code = false;
    let mut page = TITLE.to_owned();
    for line in docs.map(|line| line.strip_prefix("//! ").unwrap_or("")) {
        if line.starts_with("```") {
            in_code = !in_code;
            page.push_str(if in_code { "```rust\n" } else { "```\n" });
        } else if !in_code {
            page.push_str(&heading(&without_links(line)));
            page.push('\n');
        } else if line != "#" && !line.starts_with("# ") {
            page.push_str(line);
            page.push('\n');
        }
    }
    page
}

/// The page has a title above the module's headings.
fn heading(line: &str) -> String {
    if line.starts_with('#') { format!("#{line}") } else { line.to_owned() }
}

/// Leaves the names of what is linked, for links that only rustdoc resolves.
fn without_links(line: &str) -> String {
    let mut parts = line.split("](crate");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for rest in parts {
        let open = text.rfind('[').expect("a link begins with a bracket");
        text.remove(open);
        let (_target, after) = rest.split_once(')').expect("a link ends on its line");
        text.push_str(after);
    }
    text
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).expect("the file is there")
}

#[test]
fn the_command_in_the_readme_is_the_one_of_the_first_plugin() {
    let readme = read("README.md");
    let (_, after) = readme.split_once("```rust,ignore\n").expect("the command is there");
    let (command, _) = after.split_once("```").expect("the command ends");
    assert!(read("examples/first_command/src/lib.rs").contains(command), "{command}");
}

#[test]
fn the_guide_in_the_documentation_is_the_one_that_is_tested() {
    let guide = page(&read("executor/src/guide.rs"));
    if env::var_os("UPDATE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide.md");
        fs::write(path, &guide).expect("the folder can be written to");
    }
    assert!(read("docs/guide.md") == guide, "UPDATE_DOCS=1 cargo test --test docs");
}

#[test]
fn links_of_rustdoc_become_what_they_say() {
    let line = "Take [`a`](crate::a), [`b`](crate::b::c) and [this](https://example.org).";
    assert_eq!(without_links(line), "Take `a`, `b` and [this](https://example.org).");
}

#[test]
fn what_only_the_compiler_needs_is_left_out() {
    let module = "//! Text.\n//!\n//! # One\n//! ```\n//! # hidden();\n//! #\n//! shown();\n//! ```\n\nfn f() {}\n";
    assert_eq!(page(module), format!("{TITLE}Text.\n\n## One\n```rust\nshown();\n```\n"));
}

//! That what the crate `executor` exports has examples, and that they can fail.
//!
//! Looks at the text: `pub` at the beginning of a line is exported (the lint `unreachable_pub` sees to that), a
//! block without a word behind its fence is compiled and run. What is in `host` runs in QEMU alone, so its modules
//! name the plugin that shows it instead.

use std::path::Path;

use super::library_files;

/// Examples that show how something is written down, and do nothing that could be checked.
const WITHOUT_ASSERTION: [(&str, &str); 2] = [
    ("executor/src/in_coroutine.rs", "there are C coroutines only inside QEMU"),
    ("executor/src/guide.rs", "the first two steps are put together in the third"),
];

/// Modules whose examples run inside QEMU.
const INSIDE_QEMU: [&str; 3] =
    ["executor/src/host.rs", "executor/src/host/block.rs", "executor/src/host/coroutine.rs"];

/// The files whose items have examples that `cargo test` runs.
fn files() -> Vec<(String, String)> {
    let is_meant = |name: &str| {
        name.starts_with("executor/src/")
            && !name.contains("/host")
            && !name.contains("/loom")
            && !name.ends_with("tests.rs")
    };
    library_files().into_iter().filter(|(name, _)| is_meant(name)).collect()
}

/// What a line says in a doc comment.
fn doc(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim)
}

/// The blocks of code in doc comments that are run.
fn examples<'t>(lines: impl IntoIterator<Item = &'t str>) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), None::<(bool, String)>);
    for line in lines.into_iter().filter_map(doc) {
        match (line.strip_prefix("```"), &mut open) {
            (Some(word), None) => open = Some((word.is_empty(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take().filter(|(runs, _)| *runs)),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    found.into_iter().map(|(_, text)| text).collect()
}

/// The kind and the name of the item that a line declares, if it is `pub`.
fn declared(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_start().strip_prefix("pub ")?;
    let mut words = rest.split(|c: char| !c.is_alphanumeric() && c != '_');
    let kind = words.find(|word| !["const", "async", "unsafe"].contains(word))?;
    let is_item = ["struct", "enum", "trait", "type", "fn", "mod"].contains(&kind);
    is_item.then_some((kind, words.next()?))
}

/// The lines right above an item, to the empty one: its documentation, and attributes.
fn docs_above<'t>(lines: &[&'t str]) -> Vec<&'t str> {
    let first = lines.iter().rposition(|line| line.is_empty()).unwrap_or(0);
    lines[first..].to_vec()
}

/// The documentation of a module, in its own file.
fn docs_of_module(name: &str) -> String {
    let (_, text) = library_files()
        .into_iter()
        .find(|(file, _)| *file == format!("executor/src/{name}.rs"))
        .expect("the module has a file");
    text.lines()
        .take_while(|line| line.starts_with("//!"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Fails with all that `look` finds in the files.
fn expect_none(what: &str, look: impl Fn(&str, &str) -> Vec<String>) {
    let found: Vec<String> = files().iter().flat_map(|(file, text)| look(file, text)).collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

#[test]
fn each_exported_item_has_an_example() {
    expect_none("exported, without an example that runs", |file, text| {
        let lines: Vec<&str> = text.lines().collect();
        let exported = lines.iter().enumerate().filter(|(_, line)| line.starts_with("pub "));
        let has_none = |number: usize, line: &str| match declared(line) {
            Some(("mod", "host")) | None => false,
            Some(("mod", name)) => examples(docs_of_module(name).lines()).is_empty(),
            Some(_) => examples(docs_above(&lines[..number])).is_empty(),
        };
        exported
            .filter(|(number, line)| has_none(*number, line))
            .map(|(number, line)| format!("{file}:{}: {line}", number + 1))
            .collect()
    });
}

#[test]
fn each_exported_method_is_in_an_example_of_its_module() {
    let all = files();
    expect_none("exported, and in no example of its module that runs", |file, text| {
        let below = format!("{}/", file.trim_end_matches(".rs"));
        let module = all.iter().filter(|(name, _)| name == file || name.starts_with(&below));
        let examples: Vec<String> = module.flat_map(|(_, text)| examples(text.lines())).collect();
        let examples = examples.concat();
        let is_shown = |name: &str| {
            examples.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name)
        };
        let methods = text.lines().filter(|line| line.starts_with("    pub ")).filter_map(declared);
        methods
            .filter(|(kind, name)| *kind == "fn" && !is_shown(name))
            .map(|(_, name)| format!("{file}: {name}"))
            .collect()
    });
}

#[test]
fn each_example_checks_something() {
    expect_none("an example that cannot fail", |file, text| {
        let is_excused = WITHOUT_ASSERTION.iter().any(|(excused, _)| *excused == file);
        let examples = examples(text.lines()).into_iter().filter(|_| !is_excused);
        let cannot_fail = examples.filter(|example| !example.contains("assert"));
        cannot_fail.map(|example| format!("{file}:\n{example}")).collect()
    });
}

#[test]
fn what_runs_inside_qemu_says_where_it_is_shown() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in INSIDE_QEMU {
        let text = std::fs::read_to_string(root.join(file)).expect("the module has a file");
        let docs = text.lines().take_while(|line| line.starts_with("//!"));
        let shown: Vec<&str> = docs
            .flat_map(|line| line.split('`'))
            .filter(|word| word.starts_with("examples/qemu_plugin"))
            .collect();
        assert!(!shown.is_empty(), "{file} does not say which part of the plugin shows it");
        for place in shown {
            assert!(root.join(place).exists(), "{file} names {place}, which is not there");
        }
    }
}

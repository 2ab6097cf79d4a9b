//! The schema of the standalone server: what clients are told, and what QEMU's generator makes of its source.
//!
//! The generator is `scripts/qapi-gen.py` of QEMU's source, looked for at `$QAPI_GEN`. Without it that part is
//! not tested, which is said, and is a failure if `REQUIRE_QAPI_GEN` is 1.

#[allow(dead_code, reason = "the server's program uses the rest")]
#[path = "../examples/commands/mod.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/commands.rs"]
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use commands::files::Files;
use commands::{register_extensions, register_machine};
use common::{TestServer, main_probe, on_main};
use executor::NoCoroutine;
use executor::qmp::{self, Blocking, EventSink, Registry};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use session::call;

fn register(registry: &mut Registry, events: &EventSink) {
    registry.add_query_schema();
    registry.add_human_monitor();
    register_machine(registry, Some("vm".into()), events);
    register_extensions(registry, main_probe(), events, Files::default());
}

#[test]
fn clients_are_told_the_types_of_every_command_and_event() {
    let server = TestServer::start(register);
    let mut client = server.client();

    let schema = call(&mut client, "query-qmp-schema", json!({})).value();
    let commands = call(&mut client, "query-commands", json!({})).value();

    let schema = schema.as_array().expect("it is a list");
    let named = |kind: &str| -> BTreeSet<&str> {
        let infos = schema.iter().filter(|info| info["meta-type"] == kind);
        infos.map(|info| info["name"].as_str().unwrap()).collect()
    };
    let commands = commands.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap());
    assert_eq!(named("command"), commands.collect());
    let events = ["JOB_STATUS_CHANGE", "RESUME", "SHUTDOWN", "STOP", "X_FILE_CHECKSUM_PROGRESS"];
    assert_eq!(named("event"), events.into());
    let find =
        |name: &Value| schema.iter().find(|info| info["name"] == *name).expect("it is there");
    let checksum = find(&json!("x-file-checksum"));
    let arguments = find(&checksum["arg-type"]);
    let names: Vec<_> =
        arguments["members"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["filename", "algorithm", "offset", "length", "iothread", "fdname"]);
    let version = find(&find(&json!("query-version"))["ret-type"]);
    assert_eq!(version["members"][1], json!({"name": "package", "type": "str"}));
}

/// The schema as a file of the documentation, and the command that writes it.
fn is_in_the_documentation(file: &str, arguments: &str, schema: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    let written = fs::read_to_string(path).expect("the reference is there");
    assert_eq!(written, schema, "cargo run --example qapi_schema -- {arguments} >docs/{file}");
}

#[test]
fn the_reference_of_the_commands_is_what_their_types_say() {
    on_main(|_| {
        let mut registry = Registry::new();
        register_extensions(&mut registry, main_probe(), &EventSink::new(), Files::default());
        let schema = registry.schema();
        is_in_the_documentation("qmp.json", "--extensions", &schema.to_qapi());
        is_in_the_documentation("qmp.md", "--extensions --markdown", &schema.to_markdown());
    });
}

/// A command whose types QAPI does not like.
struct Odd;

#[derive(Deserialize, Serialize)]
#[expect(non_snake_case, reason = "that is what is odd")]
struct OddList {
    grid: Vec<Vec<u8>>,
    inBetween: Option<Box<OddList>>,
    map: BTreeMap<String, u8>,
}

impl qmp::Command for Odd {
    const NAME: &'static str = "x-odd_name";
    type Mode = Blocking;
    type Args = OddList;
    type Ret = Vec<String>;
}

/// A command whose arguments cannot be described.
struct Anything;

impl qmp::Command for Anything {
    const NAME: &'static str = "x-anything";
    type Mode = Blocking;
    type Args = Value;
    type Ret = Vec<OddList>;
}

fn generator() -> Option<PathBuf> {
    let found = env::var_os("QAPI_GEN").map(PathBuf::from).filter(|path| path.is_file());
    if found.is_none() {
        let required = env::var("REQUIRE_QAPI_GEN").is_ok_and(|required| required == "1");
        assert!(!required, "qapi-gen.py is required and is not at $QAPI_GEN");
        println!("skipped: qapi-gen.py is not at $QAPI_GEN");
    }
    found
}

#[test]
fn the_generator_of_qemu_accepts_the_source_of_the_schema() {
    let Some(generator) = generator() else { return };
    let source = on_main(|_| {
        let mut registry = Registry::new();
        registry.add_query_commands();
        register(&mut registry, &EventSink::new());
        registry.command::<Odd, _>(|_: &mut NoCoroutine, _| Ok(Vec::new()));
        registry.command::<Anything, _>(|_: &mut NoCoroutine, _| Ok(Vec::new()));
        registry.event::<OddList>("ODD");
        registry.schema().to_qapi()
    });
    let folder = env::temp_dir().join(format!("qapi-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("there is room for a folder");
    let schema = folder.join("schema.json");
    fs::write(&schema, &source).expect("there is room for a file");

    let mut command = Command::new("python3");
    let output = command.arg("-B").arg(generator).arg("-o").arg(&folder).arg(&schema).output();
    let output = output.expect("python3 starts");

    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{source}");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("it was generated");
    let prototypes = read("qapi-commands.h");
    assert!(
        prototypes.contains(
            "Checksum *coroutine_fn qmp_x_file_checksum(const char *filename, bool has_algorithm, \
        Algorithm algorithm, bool has_offset, uint64_t offset, bool has_length, uint64_t length, \
        const char *iothread, const char *fdname, Error **errp);"
        ),
        "{prototypes}"
    );
    let table = read("qapi-init-commands.c");
    let flat: String = table.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, options) in [("x-sleep", "QCO_COROUTINE"), ("x-query-tasks", "QCO_ALLOW_OOB")] {
        let c_name = name.replace('-', "_");
        let line = format!("\"{name}\", qmp_marshal_{c_name}, {options},");
        assert!(flat.contains(&line), "{line}: {table}");
    }
    fs::remove_dir_all(&folder).expect("the folder is still there");
}

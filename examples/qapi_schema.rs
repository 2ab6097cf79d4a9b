//! Prints the QAPI schema of the commands in `examples/commands`, made of their Rust types.
//!
//! QEMU's `scripts/qapi-gen.py` understands it. With `--extensions`, those commands are left out that QEMU has
//! itself, but for `query-jobs`, which is about ours here; with `--markdown`, it is a page for people.
//!
//! ```text
//! cargo run --example qapi_schema >schema.json && python3 qemu/scripts/qapi-gen.py -o /tmp/generated schema.json
//! ```

use std::process::ExitCode;

use executor::qmp::{EventSink, Registry, Schema};
use executor::{MainCx, block_on, run_main};

#[allow(dead_code, reason = "only the types matter")]
#[path = "commands/mod.rs"]
mod commands;

fn main() -> ExitCode {
    let (mut all, mut markdown) = (true, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--extensions" => all = false,
            "--markdown" => markdown = true,
            _ => {
                eprintln!("usage: qapi_schema [--extensions] [--markdown]");
                return ExitCode::FAILURE;
            }
        }
    }
    let schema = run_main(|nc| block_on(nc, async |cx: &MainCx| schema(cx, all)));
    print!("{}", if markdown { schema.to_markdown() } else { schema.to_qapi() });
    ExitCode::SUCCESS
}

fn schema(cx: &MainCx, all: bool) -> Schema {
    let (mut registry, events) = (Registry::new(), EventSink::new());
    if all {
        registry.add_query_commands();
        registry.add_query_schema();
        registry.add_human_monitor();
        commands::register_machine(&mut registry, None, &events);
    }
    commands::register_extensions(
        &mut registry,
        cx.probe(),
        &events,
        commands::files::Files::default(),
    );
    registry.schema()
}

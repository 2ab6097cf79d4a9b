//! A client as strict as libvirt's is served: see `common/strict_client.rs`.

#[path = "common/qmp_test_commands.rs"]
mod commands;
#[path = "common/qmp_server.rs"]
mod common;
#[path = "common/strict_client.rs"]
mod strict_client;

use commands::add_quick_commands;
use common::TestServer;
use serde_json::json;
use strict_client::StrictClient;

#[test]
fn a_client_that_accepts_nothing_else_gets_lines_objects_and_its_replies() {
    let server = TestServer::start(|registry, events| {
        registry.add_query_schema();
        add_quick_commands(registry, events);
    });
    let mut client = StrictClient::connect(&server.path);
    let mut other = StrictClient::connect(&server.path);

    let early = client.ask("query-commands", json!({}));
    assert_eq!(early["error"]["class"], "CommandNotFound");
    for client in [&mut client, &mut other] {
        assert_eq!(client.ask("qmp_capabilities", json!({}))["return"], json!({}));
    }
    // What has to be escaped, and what is longer than any buffer.
    for text in ["\r\n", "\u{2028}é\u{1F600}\u{7f}\u{0}", &"long ".repeat(10_000)] {
        assert_eq!(client.ask("x-echo", json!({"text": text}))["return"], text);
    }
    for _ in 0..3 {
        assert_eq!(other.ask("stop", json!({}))["return"], json!({}));
    }
    assert_eq!(client.ask("nope\r\n", json!({}))["error"]["class"], "CommandNotFound");
    let schema = client.ask("query-qmp-schema", json!({}));
    assert!(schema["return"].as_array().is_some_and(|infos| infos.len() > 5), "{schema}");

    assert_eq!(client.events, ["STOP"; 3]);
    assert_eq!(other.events, ["STOP"; 3]);
    assert!(client.unread.is_empty() && other.unread.is_empty());
}

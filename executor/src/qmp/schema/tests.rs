//! Commands of odd types, and both ways in which they are written down.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Schema;
use crate::qmp::{Blocking, Command, Coroutine, Oob, Registry};
use crate::{MainCx, NoCoroutine, OobContext};

mod other {
    #[derive(serde::Deserialize, serde::Serialize)]
    pub(super) struct Node {
        pub(super) size: u64,
    }
}

#[derive(Deserialize, Serialize)]
struct Node {
    name: String,
    kind: Kind,
    others: Vec<other::Node>,
    within: Option<Box<Node>>,
    grid: Vec<Vec<u8>>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    VerySmall,
    Large,
}

#[derive(Deserialize)]
struct NodeArgs {
    #[serde(rename = "node-name")]
    _name: String,
    #[serde(rename = "kind")]
    _kind: Option<Kind>,
}

struct QueryNodes;

impl Command for QueryNodes {
    const NAME: &'static str = "query-nodes";
    const HELP: &'static str = "show the nodes";
    type Mode = Coroutine;
    type Args = NodeArgs;
    type Ret = Vec<Node>;
}

struct GetName;

impl Command for GetName {
    const NAME: &'static str = "x-get_name";
    type Mode = Oob;
    type Args = ();
    type Ret = String;
}

struct SetAnything;

impl Command for SetAnything {
    const NAME: &'static str = "set-anything";
    type Mode = Blocking;
    type Args = Value;
    type Ret = ();
}

async fn query_nodes(_: &MainCx, _: NodeArgs) -> Result<Vec<Node>, crate::qmp::Error> {
    Ok(Vec::new())
}

fn schema() -> Schema {
    let mut registry = Registry::new();
    registry.command::<QueryNodes, _>(query_nodes);
    registry.command::<GetName, _>(|_: &OobContext, ()| Ok(String::new()));
    registry.command::<SetAnything, _>(|_: &mut NoCoroutine, _| Ok(()));
    registry.event::<()>("STOP");
    registry.event::<other::Node>("NODE_GROWN");
    registry.schema()
}

#[test]
fn the_source_has_every_type_command_and_event_and_asks_for_exceptions() {
    let expected = r"# -*- Mode: Python -*-

{ 'pragma': {
    'command-name-exceptions': ['qmp_capabilities', 'x-get_name'],
    'command-returns-exceptions': ['x-get_name'],
    'member-name-exceptions': ['Kind'] } }

{ 'enum': 'QMPCapability',
  'data': ['oob'] }

{ 'struct': 'Node',
  'data': {
    'name': 'str',
    'kind': 'Kind',
    'others': ['Node2'],
    '*within': 'Node',
    'grid': ['any'] } }

{ 'enum': 'Kind',
  'data': ['very_small', 'large'] }

{ 'struct': 'Node2',
  'data': {
    'size': 'uint64' } }

# qmp_capabilities: end the negotiation
{ 'command': 'qmp_capabilities',
  'data': {
    '*enable': ['QMPCapability'] } }

# query-nodes: show the nodes
{ 'command': 'query-nodes',
  'data': {
    'node-name': 'str',
    '*kind': 'Kind' },
  'returns': ['Node'],
  'coroutine': true }

{ 'command': 'x-get_name',
  'returns': 'str',
  'allow-oob': true,
  'features': [ 'unstable' ] }

{ 'command': 'set-anything',
  'gen': false }

{ 'event': 'STOP' }

{ 'event': 'NODE_GROWN',
  'data': {
    'size': 'uint64' } }
";

    assert_eq!(schema().to_qapi(), expected);
}

fn introspect() -> Vec<Value> {
    serde_json::from_str(schema().to_json().as_str()).expect("it is a list")
}

fn find<'i>(infos: &'i [Value], name: &Value) -> &'i Value {
    let found: Vec<_> = infos.iter().filter(|info| info["name"] == *name).collect();
    let [info] = found[..] else { panic!("{name} is there {} times: {infos:?}", found.len()) };
    info
}

#[test]
fn the_introspection_says_the_same_with_numbers() {
    let infos = introspect();

    let command = find(&infos, &json!("query-nodes"));
    let arguments = find(&infos, &command["arg-type"]);
    let list = find(&infos, &command["ret-type"]);
    let node = find(&infos, &list["element-type"]);
    assert_eq!(command["meta-type"], "command");
    assert_eq!(arguments["members"][0], json!({"name": "node-name", "type": "str"}));
    assert_eq!(arguments["members"][1]["default"], Value::Null);
    assert!(arguments["members"][1].as_object().unwrap().contains_key("default"));
    assert_eq!(node["members"][3]["type"], node["name"]);
    let kind = find(&infos, &node["members"][1]["type"]);
    assert_eq!(kind["values"], json!(["very_small", "large"]));
    assert_eq!(kind["members"], json!([{"name": "very_small"}, {"name": "large"}]));
    let oob = find(&infos, &json!("x-get_name"));
    assert_eq!(oob["allow-oob"], true);
    assert_eq!(oob["features"], json!(["unstable"]));
    assert_eq!(find(&infos, &json!("int"))["json-type"], "int");
    assert_eq!(find(&infos, &json!("STOP"))["arg-type"], "0");
    assert_eq!(find(&infos, &json!("0"))["members"], json!([]));
}

#[test]
fn every_type_that_is_named_is_there_once() {
    let infos = introspect();

    let mut names = 0;
    for info in &infos {
        let members = info["members"].as_array().into_iter().flatten().map(|it| &it["type"]);
        let uses = ["arg-type", "ret-type", "element-type"].into_iter().map(|use_| &info[use_]);
        for name in members.chain(uses).filter(|name| name.is_string()) {
            find(&infos, name);
            names += 1;
        }
    }
    assert!(names > 20, "only {names} uses of types");
}

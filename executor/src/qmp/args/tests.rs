//! Arguments that fit, and QEMU's words for those that do not.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::parse_arguments;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Capability {
    Xbzrle,
    ZeroBlocks,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Status {
    capability: Capability,
    state: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
struct Everything {
    device: String,
    size: u64,
    head: Option<i64>,
    level: Option<u8>,
    shift: Option<i8>,
    factor: Option<f64>,
    capabilities: Option<Vec<Status>>,
    pair: Option<(i64, i64)>,
    any: Option<Value>,
    map: Option<BTreeMap<String, bool>>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "driver", rename_all = "kebab-case", deny_unknown_fields)]
enum Node {
    File { filename: String },
    NullCo { size: Option<i64> },
}

#[derive(Debug, Deserialize, PartialEq)]
struct AddNode {
    file: Node,
}

fn refusal<T: DeserializeOwned + std::fmt::Debug>(arguments: Value) -> String {
    let Value::Object(arguments) = arguments else { panic!("arguments are objects") };
    parse_arguments::<T>(arguments).expect_err("the arguments are wrong").to_string()
}

/// Refuses `Everything` with one more member than the mandatory ones.
fn member_refusal(member: &str, value: Value) -> String {
    let mut arguments = json!({"device": "d", "size": 1});
    arguments[member] = value;
    refusal::<Everything>(arguments)
}

#[test]
fn every_type_of_qapi_has_a_type_here() {
    let Value::Object(arguments) = json!({
        "device": "d", "size": u64::MAX, "head": -1, "level": 255, "shift": -128, "factor": 2,
        "capabilities": [{"capability": "zero-blocks", "state": true}],
        "pair": [1, 2], "any": {"x": [null]}, "map": {"y": false},
    }) else {
        panic!("an object")
    };

    let parsed: Everything = parse_arguments(arguments).expect("the arguments are right");

    assert_eq!(
        parsed,
        Everything {
            device: "d".into(),
            size: u64::MAX,
            head: Some(-1),
            level: Some(255),
            shift: Some(-128),
            factor: Some(2.0),
            capabilities: Some(vec![Status { capability: Capability::ZeroBlocks, state: true }]),
            pair: Some((1, 2)),
            any: Some(json!({"x": [null]})),
            map: Some(BTreeMap::from([("y".into(), false)])),
        }
    );
}

#[test]
fn no_arguments_are_unit_and_more_are_refused() {
    assert!(parse_arguments::<()>(serde_json::Map::new()).is_ok());
    assert_eq!(refusal::<()>(json!({"foo": 1})), "Parameter 'foo' is unexpected");
}

#[test]
fn a_wrong_type_names_the_expected_one() {
    let cases = [
        ("device", json!(1), "Invalid parameter type for 'device', expected: string"),
        ("device", json!(null), "Invalid parameter type for 'device', expected: string"),
        ("size", json!("x"), "Parameter 'size' expects uint64"),
        ("size", json!(1.5), "Parameter 'size' expects uint64"),
        ("size", json!(-1), "Parameter 'size' expects uint64"),
        ("head", json!("x"), "Invalid parameter type for 'head', expected: integer"),
        ("head", json!(1.0), "Invalid parameter type for 'head', expected: integer"),
        ("head", json!(null), "Invalid parameter type for 'head', expected: integer"),
        ("head", json!(u64::MAX), "Invalid parameter type for 'head', expected: integer"),
        ("level", json!("x"), "Parameter 'level' expects uint64"),
        ("level", json!(256), "Parameter 'level' expects uint8_t"),
        ("level", json!(-1), "Parameter 'level' expects uint8_t"),
        ("shift", json!(200), "Parameter 'shift' expects int8_t"),
        ("factor", json!(true), "Invalid parameter type for 'factor', expected: number"),
        ("capabilities", json!({}), "Invalid parameter type for 'capabilities', expected: array"),
        ("map", json!([]), "Invalid parameter type for 'map', expected: object"),
        ("map", json!({"y": 1}), "Invalid parameter type for 'map.y', expected: boolean"),
        ("pair", json!([1, 2, 3]), "Only 2 list elements expected in pair"),
        ("foo", json!(1), "Parameter 'foo' is unexpected"),
    ];
    for (member, value, expected) in cases {
        assert_eq!(member_refusal(member, value), expected);
    }
}

#[test]
fn a_problem_inside_a_list_names_the_whole_path() {
    let good = json!({"capability": "xbzrle", "state": true});
    let cases = [
        (json!([1]), "Invalid parameter type for 'capabilities[0]', expected: object"),
        (json!([{}]), "Parameter 'capabilities[0].capability' is missing"),
        (json!([good, {"capability": "xbzrle"}]), "Parameter 'capabilities[1].state' is missing"),
        (
            json!([{"capability": "xbzrle", "state": 1}]),
            "Invalid parameter type for 'capabilities[0].state', expected: boolean",
        ),
        (
            json!([{"capability": 1, "state": true}]),
            "Invalid parameter type for 'capabilities[0].capability', expected: string",
        ),
        (
            json!([{"capability": "xbzrle", "state": true, "foo": 1}]),
            "Parameter 'capabilities[0].foo' is unexpected",
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(member_refusal("capabilities", value), expected);
    }
}

#[test]
fn an_unknown_enum_value_is_named_by_its_member_alone() {
    let capabilities = json!([{"capability": "nope", "state": true}]);

    assert_eq!(
        member_refusal("capabilities", capabilities),
        "Parameter 'capability' does not accept value 'nope'"
    );
}

#[test]
fn a_missing_member_comes_before_an_unexpected_one() {
    assert_eq!(
        refusal::<Everything>(json!({"size": 1, "foo": 1})),
        "Parameter 'device' is missing"
    );
}

#[test]
fn members_are_checked_in_the_order_of_the_struct() {
    assert_eq!(
        refusal::<Everything>(json!({"size": "x", "device": 1})),
        "Invalid parameter type for 'device', expected: string"
    );
}

#[test]
fn a_tagged_enum_is_a_union() {
    let cases = [
        (json!({"driver": "file"}), "Parameter 'file.filename' is missing"),
        (json!({"filename": "x"}), "Parameter 'file.driver' is missing"),
        (
            json!({"driver": "file", "filename": "x", "foo": 1}),
            "Parameter 'file.foo' is unexpected",
        ),
    ];
    for (node, expected) in cases {
        assert_eq!(refusal::<AddNode>(json!({"file": node})), expected);
    }
}

#[test]
fn a_type_can_refuse_in_its_own_words() {
    #[derive(Debug, Deserialize)]
    struct Args {
        #[serde(rename = "address")]
        _address: std::net::IpAddr,
    }

    assert_eq!(
        refusal::<Args>(json!({"address": "nowhere"})),
        "Parameter 'address' is invalid: invalid IP address syntax"
    );
}

//! Lines, the arguments that they stand for, and results for people.

use serde_json::{Value, json};

use super::super::shape::Shape;
use super::super::writer::Json;
use super::{layout, line};

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only the type matters")]
struct Args {
    filename: String,
    count: Option<u64>,
    is_new: Option<bool>,
    ratio: Option<f64>,
    more: Option<Vec<i64>>,
}

fn parse(text: &str) -> Result<Value, String> {
    let words = line::split(text).map_err(|error| error.to_string())?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let shape = Shape::of::<Args>();
    let arguments = line::arguments("x-test", shape.members(), &words);
    arguments.map(Value::Object).map_err(|error| error.to_string())
}

#[test]
fn words_are_arguments_by_their_order_or_by_their_name() {
    let cases = [
        ("/tmp/a", json!({"filename": "/tmp/a"})),
        (
            "/a 0x10 on 0.5 [1,2]",
            json!({"filename": "/a", "count": 16, "is-new": true, "ratio": 0.5, "more": [1, 2]}),
        ),
        ("is-new=off /a 7", json!({"filename": "/a", "count": 7, "is-new": false})),
        ("filename=\"a b\" 1", json!({"filename": "a b", "count": 1})),
        (r#" "a=\"b\"\\\n'" "#, json!({"filename": "a=\"b\"\\\n'"})),
        ("a=b", json!({"filename": "a=b"})),
        ("\"\"", json!({"filename": ""})),
        ("   ", json!({})),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_value_that_does_not_fit_is_left_to_the_command_to_refuse() {
    let expected = json!({"filename": "a", "count": "many", "is-new": "maybe", "more": "[1"});

    assert_eq!(parse("a many maybe more=[1"), Ok(expected));
}

#[test]
fn a_line_that_makes_no_sense_is_refused() {
    let cases = [
        ("a 1 on 1 [] b", "x-test: extraneous characters at the end of line"),
        ("count=1 count=2", "Parameter 'count' is given twice"),
        ("\"a", "unterminated string"),
        ("\"a\\", "unterminated string"),
        (r#""\x""#, "unsupported escape code: '\\x'"),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
    }
}

fn laid_out(value: &Value) -> String {
    layout::lay_out(&Json::new(value).expect("values can be written"))
}

#[test]
fn a_result_is_laid_out_by_what_it_is() {
    let cases = [
        (json!({}), ""),
        (json!([]), ""),
        (json!("two words"), "two words\n"),
        (json!([1, -2.5, true, null]), "1\n-2.5\non\nnone\n"),
        (json!({"a": 1, "b": {"c": "x", "d": [1, 2]}}), "a: 1\nb:\n  c: x\n  d:\n    1\n    2\n"),
        (
            json!([{"id": 1, "name": "long name"}, {"id": 12345, "z": true}]),
            "id     name       z\n1      long name  -\n12345  -          on\n",
        ),
        (json!([{"a": [1]}, {"a": [2]}]), "a:\n  1\na:\n  2\n"),
    ];
    for (value, expected) in cases {
        assert_eq!(laid_out(&value), expected, "{value}");
    }
}

#[test]
fn members_keep_the_order_in_which_they_were_written() {
    #[derive(serde::Serialize)]
    struct Row {
        z: u8,
        a: u8,
    }

    let json = Json::new(&Row { z: 1, a: 2 }).expect("it can be written");

    assert_eq!(layout::lay_out(&json), "z: 1\na: 2\n");
}

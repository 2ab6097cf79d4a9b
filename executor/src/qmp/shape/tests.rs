//! Types of all sorts, and what is found out about them.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer, de};

use super::{Member, Shape};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only the type matters")]
struct Flat {
    id: u64,
    a_name: Option<String>,
    on: bool,
    ratio: f32,
    kind: Option<Kind>,
    sizes: Vec<u8>,
    other: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    FirstOne,
    Second,
}

fn member(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, optional: false }
}

fn optional(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, optional: true }
}

fn list(shape: Shape) -> Shape {
    Shape::List(Box::new(shape))
}

#[test]
fn a_structure_has_its_members_in_their_order_with_their_types() {
    let Shape::Structure { name, members } = Shape::of::<Flat>() else { panic!("a structure") };

    let kind = Shape::Enumeration { name: "Kind", values: &["first-one", "second"] };
    assert_eq!(name, "Flat");
    assert_eq!(
        members,
        [
            member("id", Shape::Integer("uint64")),
            optional("a-name", Shape::Text),
            member("on", Shape::Boolean),
            member("ratio", Shape::Number),
            optional("kind", kind),
            member("sizes", list(Shape::Integer("uint8"))),
            member("other", Shape::Any),
        ]
    );
}

#[test]
fn what_is_not_a_structure_has_a_shape_too() {
    assert_eq!(Shape::of::<()>(), Shape::Null);
    assert_eq!(Shape::of::<Vec<Vec<i32>>>(), list(list(Shape::Integer("int32"))));
    assert_eq!(Shape::of::<Box<str>>(), Shape::Text);
    assert_eq!(Shape::of::<HashMap<String, u8>>(), Shape::Any);
    assert_eq!(Shape::of::<(u8, String)>(), list(Shape::Any));
    assert_eq!(Shape::of::<Result<u8, String>>(), Shape::Any);
}

/// Refuses every dummy.
#[derive(Debug)]
struct Address;

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?;
        Err(de::Error::custom("no such address"))
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the type matters")]
struct Picky {
    from: Address,
    to: Vec<Address>,
    inner: Inner,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the type matters")]
struct Inner {
    first: Address,
    second: i8,
}

#[test]
fn a_type_that_refuses_dummies_is_described_to_its_end() {
    let inner = vec![member("first", Shape::Text), member("second", Shape::Integer("int8"))];

    assert_eq!(
        Shape::of::<Picky>().members(),
        [
            member("from", Shape::Text),
            member("to", list(Shape::Text)),
            member("inner", Shape::Structure { name: "Inner", members: inner }),
        ]
    );
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the type matters")]
struct Tree {
    value: u64,
    left: Option<Box<Tree>>,
    others: Vec<Tree>,
}

#[test]
fn a_type_that_contains_itself_has_an_end() {
    assert_eq!(
        Shape::of::<Tree>().members(),
        [
            member("value", Shape::Integer("uint64")),
            optional("left", Shape::Again("Tree")),
            member("others", list(Shape::Again("Tree"))),
        ]
    );
}

#[derive(Deserialize)]
struct Empty {}

#[derive(Deserialize)]
#[serde(tag = "type")]
#[expect(dead_code, reason = "only the type matters")]
enum Union {
    One { size: u64 },
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only the type matters")]
struct Flattened {
    id: u64,
    #[serde(flatten)]
    rest: Empty,
}

#[test]
fn what_qapi_has_no_word_for_is_anything() {
    assert_eq!(Shape::of::<Empty>(), Shape::Structure { name: "Empty", members: vec![] });
    assert_eq!(Shape::of::<Union>(), Shape::Any);
    assert_eq!(Shape::of::<Flattened>(), Shape::Any);
}

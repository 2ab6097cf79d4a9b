//! What a type looks like on the wire, found out without a value of it.
//!
//! `serde` asks a deserializer for what it needs, so a deserializer that has nothing and notes what it is asked
//! for learns the names of the members, their types and which may be absent. That is how commands get
//! completion by hand and a schema from their `Args` and `Ret` alone.
//!
//! What QAPI has no word for (maps, flattened members, unions, tuples of several types) is [`Shape::Any`].
//! A member that is not an `Option` but has `#[serde(default)]` is described as mandatory.
//!
//! Any thread; pure functions.

#![forbid(unsafe_code)]

use serde::de::DeserializeOwned;

#[cfg(test)]
mod tests;
mod trace;

/// See the module's documentation. Named as in QAPI's introspection where that has a name.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Null,
    Boolean,
    /// QAPI's name: `int8` … `int`, `uint8` … `uint64`.
    Integer(&'static str),
    Number,
    Text,
    /// Any value.
    Any,
    List(Box<Self>),
    Enumeration {
        name: &'static str,
        values: &'static [&'static str],
    },
    Structure {
        name: &'static str,
        members: Vec<Member>,
    },
    /// A structure that is around this one.
    Again(&'static str),
}

/// A member of a structure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Whether it may be absent.
    pub(super) optional: bool,
}

impl Shape {
    /// Returns what `T` looks like.
    pub(super) fn of<T: DeserializeOwned>() -> Self {
        let mut sketch = trace::Sketch::Unknown;
        let mut known = 0;
        while !sketch.is_complete() {
            // What it returns was made of dummies; that it may fail is expected.
            let _dummy = T::deserialize(trace::Tracer::new(&mut sketch));
            sketch.settle();
            let earlier = std::mem::replace(&mut known, sketch.known());
            if known == earlier {
                break;
            }
        }
        sketch.into_shape()
    }

    /// Returns the members, if it is a structure.
    pub(super) fn members(&self) -> &[Member] {
        match self {
            Self::Structure { members, .. } => members,
            _ => &[],
        }
    }
}

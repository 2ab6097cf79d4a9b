//! The deserializer that notes what it is asked for.
//!
//! One run learns one member of each structure on its way, because a type may refuse the dummies that it is
//! given, and then the run is over. The [`Sketch`] is what all runs have learned; each run goes on where
//! it has a gap, so there are as many runs as members at most.
//!
//! Any thread; relies on `serde`'s derived code to ask for all members in one go.

#![forbid(unsafe_code)]

use std::fmt::{self, Display};

use serde::de::value::{StrDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::{Member, Shape};

/// A shape with gaps.
#[derive(Debug, PartialEq)]
pub(super) enum Sketch {
    Unknown,
    Leaf(Shape),
    Optional(Box<Self>),
    List(Box<Self>),
    Structure { name: &'static str, members: Vec<(&'static str, Self)> },
}

impl Sketch {
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::Leaf(_) => true,
            Self::Optional(inner) | Self::List(inner) => inner.is_complete(),
            Self::Structure { members, .. } => members.iter().all(|(_, it)| it.is_complete()),
        }
    }

    /// Returns how much is known, in no unit; less than before is not possible.
    pub(super) fn known(&self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Leaf(_) => 1,
            Self::Optional(inner) | Self::List(inner) => 1 + inner.known(),
            Self::Structure { members, .. } => {
                1 + members.iter().map(|(_, it)| it.known()).sum::<usize>()
            }
        }
    }

    /// What did not ask for anything can be anything.
    pub(super) fn settle(&mut self) {
        if *self == Self::Unknown {
            *self = Self::Leaf(Shape::Any);
        }
    }

    pub(super) fn into_shape(self) -> Shape {
        match self {
            Self::Unknown => Shape::Any,
            Self::Leaf(shape) => shape,
            Self::Optional(inner) => inner.into_shape(),
            Self::List(inner) => Shape::List(Box::new(inner.into_shape())),
            Self::Structure { name, members } => {
                let members = members.into_iter().map(|(name, sketch)| {
                    let optional = matches!(sketch, Self::Optional(_));
                    Member { name, shape: sketch.into_shape(), optional }
                });
                Shape::Structure { name, members: members.collect() }
            }
        }
    }

    /// Returns the part that is `empty` as long as nothing is known, to go on with.
    fn inside(&mut self, empty: impl FnOnce(Box<Self>) -> Self) -> &mut Self {
        if *self == Self::Unknown {
            *self = empty(Box::new(Self::Unknown));
        }
        match self {
            Self::Optional(inner) | Self::List(inner) => inner,
            other => other,
        }
    }
}

/// The structures that a place is inside of, as far as the root.
#[derive(Clone, Copy)]
struct Above<'a> {
    fields: &'static [&'static str],
    name: &'static str,
    next: Option<&'a Self>,
}

impl Above<'_> {
    /// The same fields at the same place in memory, or the same type: then it contains itself.
    fn has(&self, name: &str, fields: &'static [&'static str]) -> bool {
        (self.name == name && std::ptr::eq(self.fields, fields))
            || self.next.is_some_and(|next| next.has(name, fields))
    }
}

/// See the module's documentation.
pub(super) struct Tracer<'a> {
    sketch: &'a mut Sketch,
    above: Option<&'a Above<'a>>,
}

impl<'a> Tracer<'a> {
    pub(super) fn new(sketch: &'a mut Sketch) -> Self {
        Self { sketch, above: None }
    }

    fn note(&mut self, shape: Shape) {
        if *self.sketch == Sketch::Unknown {
            *self.sketch = Sketch::Leaf(shape);
        }
    }
}

/// The end of a run.
#[derive(Debug)]
pub(super) struct Stop;

impl Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no value")
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

type Result<T> = std::result::Result<T, Stop>;

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Any);
        visitor.visit_unit()
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Boolean);
        visitor.visit_bool(false)
    }

    fn deserialize_i8<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Integer("int8"));
        visitor.visit_i8(0)
    }

    fn deserialize_i16<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Integer("int16"));
        visitor.visit_i16(0)
    }

    fn deserialize_i32<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Integer("int32"));
        visitor.visit_i32(0)
    }

    fn deserialize_i64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Integer("int"));
        visitor.visit_i64(0)
    }

    fn deserialize_u8<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Integer("uint8"));
        visitor.visit_u8(0)
    }

    fn deserialize_u16<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Integer("uint16"));
        visitor.visit_u16(0)
    }

    fn deserialize_u32<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Integer("uint32"));
        visitor.visit_u32(0)
    }

    fn deserialize_u64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Integer("uint64"));
        visitor.visit_u64(0)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Number);
        visitor.visit_f64(0.0)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_string(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Text);
        visitor.visit_str("")
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::List(Box::new(Shape::Integer("uint8"))));
        visitor.visit_bytes(&[])
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let sketch = self.sketch.inside(Sketch::Optional);
        visitor.visit_some(Tracer { sketch, above: self.above })
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        self.note(Shape::Null);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let sketch = self.sketch.inside(Sketch::List);
        visitor.visit_seq(Once { tracer: Some(Tracer { sketch, above: self.above }) })
    }

    /// An array is a list; of a tuple, the first element would say nothing of the others.
    fn deserialize_tuple<V: Visitor<'de>>(mut self, _: usize, visitor: V) -> Result<V::Value> {
        self.note(Shape::List(Box::new(Shape::Any)));
        visitor.visit_unit()
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        if self.above.is_some_and(|above| above.has(name, fields)) {
            self.note(Shape::Again(name));
            return Err(Stop);
        }
        if *self.sketch == Sketch::Unknown {
            let members = fields.iter().map(|&field| (field, Sketch::Unknown)).collect();
            *self.sketch = Sketch::Structure { name, members };
        }
        let Sketch::Structure { members, .. } = self.sketch else { return Err(Stop) };
        let gap = members.iter_mut().find(|(_, sketch)| !sketch.is_complete());
        let Some((field, sketch)) = gap else { return Err(Stop) };
        let above = Above { fields, name, next: self.above };
        let tracer = Tracer { sketch, above: Some(&above) };
        visitor.visit_map(OneMember { field: Some(field), tracer: Some(tracer) })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        values: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.note(Shape::Enumeration { name, values });
        visitor.visit_enum(FirstVariant { values, sketch: self.sketch })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_string(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_any(visitor)
    }
}

/// A list of one element.
struct Once<'a> {
    tracer: Option<Tracer<'a>>,
}

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        self.tracer.take().map(|tracer| tracer.learn(|it| seed.deserialize(it))).transpose()
    }
}

/// The structure's member that is to be learned in this run.
struct OneMember<'a> {
    field: Option<&'static str>,
    tracer: Option<Tracer<'a>>,
}

impl<'de> MapAccess<'de> for OneMember<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some(field) = self.field.take() else { return Ok(None) };
        let field: StrDeserializer<'_, Stop> = field.into_deserializer();
        seed.deserialize(field).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let tracer = self.tracer.take().ok_or(Stop)?;
        tracer.learn(|it| seed.deserialize(it))
    }
}

impl Tracer<'_> {
    /// Deserializes a part. If it asked for nothing, that is known afterwards.
    fn learn<T>(self, deserialize: impl FnOnce(Tracer<'_>) -> Result<T>) -> Result<T> {
        let Tracer { sketch, above } = self;
        let value = deserialize(Tracer { sketch: &mut *sketch, above });
        sketch.settle();
        value
    }
}

/// An enumeration's first value. If it has data, the type is no enumeration.
struct FirstVariant<'a> {
    values: &'static [&'static str],
    sketch: &'a mut Sketch,
}

impl<'de> EnumAccess<'de> for FirstVariant<'_> {
    type Error = Stop;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        let first = self.values.first().ok_or(Stop)?;
        let first: StringDeserializer<Stop> = (*first).to_owned().into_deserializer();
        Ok((seed.deserialize(first)?, self))
    }
}

impl<'de> VariantAccess<'de> for FirstVariant<'_> {
    type Error = Stop;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value> {
        *self.sketch = Sketch::Leaf(Shape::Any);
        Err(Stop)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value> {
        *self.sketch = Sketch::Leaf(Shape::Any);
        Err(Stop)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value> {
        *self.sketch = Sketch::Leaf(Shape::Any);
        Err(Stop)
    }
}

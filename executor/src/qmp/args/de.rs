//! A `serde` deserializer over one JSON value that knows what QAPI would have expected.
//!
//! `serde` asks for a type; the answer is a value of that type or a [`Problem`] in QEMU's words.
//! Containers hand their parts on and add to the path of a problem that comes back.
//!
//! Any thread; relies on `problem`; does not convert between types, as QEMU does not.

#![forbid(unsafe_code)]

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::problem::{Problem, Segment};

type Result<T> = std::result::Result<T, Problem>;

/// A place in the arguments and the value that is there.
pub(super) struct Slot(pub(super) Value);

impl Slot {
    fn signed<T: TryFrom<i64>>(&self, name: &'static str) -> Result<T> {
        let wide = self.0.as_i64().ok_or_else(|| Problem::wrong_type("integer"))?;
        T::try_from(wide).map_err(|_| Problem::out_of_range(name))
    }

    fn unsigned<T: TryFrom<u64>>(&self, name: &'static str) -> Result<T> {
        match self.0.as_u64() {
            Some(wide) => T::try_from(wide).map_err(|_| Problem::out_of_range(name)),
            None if self.0.is_i64() => Err(Problem::out_of_range(name)),
            None => Err(Problem::wrong_value("uint64")),
        }
    }

    fn string(self) -> Result<String> {
        match self.0 {
            Value::String(text) => Ok(text),
            _ => Err(Problem::wrong_type("string")),
        }
    }

    fn float(&self) -> Result<f64> {
        self.0.as_f64().ok_or_else(|| Problem::wrong_type("number"))
    }
}

impl<'de> Deserializer<'de> for Slot {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(ref number) if number.is_i64() => self.deserialize_i64(visitor),
            Value::Number(ref number) if number.is_u64() => self.deserialize_u64(visitor),
            Value::Number(_) => self.deserialize_f64(visitor),
            Value::String(text) => visitor.visit_string(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let value = self.0.as_bool().ok_or_else(|| Problem::wrong_type("boolean"))?;
        visitor.visit_bool(value)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_i8(self.signed("int8_t")?)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_i16(self.signed("int16_t")?)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_i32(self.signed("int32_t")?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_i64(self.signed("int64_t")?)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u8(self.unsigned("uint8_t")?)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u16(self.unsigned("uint16_t")?)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u32(self.unsigned("uint32_t")?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_u64(self.unsigned("uint64")?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_f64(self.float()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_string(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_string(self.string()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    /// The member is there, so it is `Some`: also when it is `null`, as in QEMU.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    /// Nothing is `null`, or, for a command without arguments, an object without members.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Object(members) => match members.keys().next() {
                Some(member) => Err(Problem::unexpected(member)),
                None => visitor.visit_unit(),
            },
            _ => Err(Problem::wrong_type("null")),
        }
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
        let Value::Array(elements) = self.0 else { return Err(Problem::wrong_type("array")) };
        visitor.visit_seq(Elements { rest: elements.into_iter(), index: 0 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        if matches!(&self.0, Value::Array(elements) if elements.len() > length) {
            return Err(Problem::too_long(length));
        }
        self.deserialize_seq(visitor)
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
        let Value::Object(members) = self.0 else { return Err(Problem::wrong_type("object")) };
        visitor.visit_map(Members { rest: members.into_iter(), value: None })
    }

    /// Members come in the order of `fields`; one that is not in `fields` is refused at the end.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let Value::Object(mut members) = self.0 else { return Err(Problem::wrong_type("object")) };
        let known = fields.iter().filter_map(|field| members.remove_entry(*field));
        let value = visitor.visit_map(Members { rest: known, value: None })?;
        match members.keys().next() {
            Some(member) => Err(Problem::unexpected(member)),
            None => Ok(value),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let text = self.string()?;
        if !variants.contains(&text.as_str()) {
            return Err(Problem::refused(text));
        }
        visitor.visit_enum(StringDeserializer::new(text))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_string(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }
}

/// The rest of a list.
struct Elements<I> {
    rest: I,
    index: usize,
}

impl<'de, I: ExactSizeIterator<Item = Value>> SeqAccess<'de> for Elements<I> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        let Some(value) = self.rest.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        let element = seed.deserialize(Slot(value));
        element.map(Some).map_err(|problem| problem.inside(Segment::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

/// The rest of an object, and the value of the member whose name was handed out.
struct Members<I> {
    rest: I,
    value: Option<(String, Value)>,
}

impl<'de, I: Iterator<Item = (String, Value)>> MapAccess<'de> for Members<I> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        self.value = self.rest.next();
        let Some((name, _)) = &self.value else { return Ok(None) };
        seed.deserialize(name.clone().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        let (name, value) = self.value.take().expect("serde asks for the key first");
        let value = seed.deserialize(Slot(value));
        value.map_err(|problem| problem.inside(Segment::Member(name)))
    }
}

//! The schema as `query-qmp-schema` tells it.
//!
//! As in QEMU, types other than the built-in ones have numbers for names, because clients are to look at
//! what they are made of; all integers are `int`; and what takes or returns nothing names an object without
//! members.
//!
//! Any thread; pure functions.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Field, How, Kind, Reference, Schema};

/// An element of the list. What is absent depends on `meta-type`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) struct SchemaInfo {
    name: String,
    meta_type: MetaType,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    element_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arg_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ret_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_oob: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<SchemaInfoMember>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(rename = "SchemaMetaType", rename_all = "kebab-case")]
enum MetaType {
    #[default]
    Builtin,
    Enum,
    Array,
    Object,
    Command,
    Event,
}

#[derive(Debug, Deserialize, Serialize)]
struct SchemaInfoMember {
    name: String,
    /// Of an object's member.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    /// `null` says that it may be absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<()>,
}

/// The list while it grows.
struct List {
    infos: Vec<SchemaInfo>,
    /// The numbers of objects without a name follow those of the types.
    next: usize,
    builtins: BTreeSet<&'static str>,
    /// The names of the arrays, and their elements'.
    arrays: BTreeSet<(String, String)>,
}

impl Schema {
    /// Returns the elements: commands, events, then types.
    pub(in super::super) fn introspect(&self) -> Vec<SchemaInfo> {
        let (builtins, arrays) = (BTreeSet::new(), BTreeSet::new());
        let mut list = List { infos: Vec::new(), next: self.types.len() + 1, builtins, arrays };
        let mut objects = Vec::new();
        for command in &self.commands {
            let arg_type = Some(list.object(&mut objects, command.arguments.fields()));
            let ret_type = command.returns.as_ref().map_or("0".into(), |of| list.name_of(of));
            list.push(command.name, MetaType::Command, |info| SchemaInfo {
                arg_type,
                ret_type: Some(ret_type),
                allow_oob: (command.how == How::Oob).then_some(true),
                features: is_unstable(command.name).then(|| vec!["unstable".into()]),
                ..info
            });
        }
        for event in &self.events {
            let arg_type = Some(list.object(&mut objects, event.data.fields()));
            list.push(event.name, MetaType::Event, |info| SchemaInfo { arg_type, ..info });
        }
        for (at, known) in self.types.iter().enumerate() {
            list.named(&number(at), &known.kind);
        }
        list.infos.append(&mut objects);
        list.finish()
    }
}

pub(super) fn is_unstable(name: &str) -> bool {
    name.starts_with("x-")
}

/// The name of a type. That of the empty object is 0.
fn number(at: usize) -> String {
    (at + 1).to_string()
}

impl List {
    fn push(
        &mut self,
        name: &str,
        meta_type: MetaType,
        more: impl FnOnce(SchemaInfo) -> SchemaInfo,
    ) {
        let info = SchemaInfo { name: name.into(), meta_type, ..SchemaInfo::default() };
        self.infos.push(more(info));
    }

    /// Returns the name of an object that the schema has no name for. Such objects come last.
    fn object(&mut self, objects: &mut Vec<SchemaInfo>, fields: &[Field]) -> String {
        if fields.is_empty() {
            return "0".into();
        }
        let name = self.next.to_string();
        self.next += 1;
        let members = Some(self.members(fields));
        let meta_type = MetaType::Object;
        objects.push(SchemaInfo {
            name: name.clone(),
            meta_type,
            members,
            ..SchemaInfo::default()
        });
        name
    }

    fn named(&mut self, name: &str, kind: &Kind) {
        match kind {
            Kind::Structure(fields) => {
                let members = Some(self.members(fields));
                self.push(name, MetaType::Object, |info| SchemaInfo { members, ..info });
            }
            Kind::Enumeration(values) => {
                let member = |name: &&str| SchemaInfoMember {
                    name: (*name).into(),
                    of: None,
                    default: None,
                };
                let members = Some(values.iter().map(member).collect());
                let values = Some(values.iter().map(|&value| value.into()).collect());
                self.push(name, MetaType::Enum, |info| SchemaInfo { members, values, ..info });
            }
        }
    }

    fn members(&mut self, fields: &[Field]) -> Vec<SchemaInfoMember> {
        let member = |field: &Field| SchemaInfoMember {
            name: field.name.into(),
            of: Some(self.name_of(&field.of)),
            default: field.optional.then_some(()),
        };
        fields.iter().map(member).collect()
    }

    fn name_of(&mut self, reference: &Reference) -> String {
        match reference {
            Reference::Named(at) => number(*at),
            Reference::Builtin(name) => {
                let name = if name.contains("int") { "int" } else { name };
                self.builtins.insert(name);
                name.into()
            }
            Reference::List(element) => {
                let element = self.name_of(element);
                let name = format!("[{element}]");
                self.arrays.insert((name.clone(), element));
                name
            }
        }
    }

    fn finish(mut self) -> Vec<SchemaInfo> {
        let members = Some(Vec::new());
        self.push("0", MetaType::Object, |info| SchemaInfo { members, ..info });
        for (name, element) in std::mem::take(&mut self.arrays) {
            let element_type = Some(element);
            self.push(&name, MetaType::Array, |info| SchemaInfo { element_type, ..info });
        }
        for name in std::mem::take(&mut self.builtins) {
            let json_type = match name {
                "str" => "string",
                "bool" => "boolean",
                "any" => "value",
                other => other,
            };
            let json_type = Some(json_type.into());
            self.push(name, MetaType::Builtin, |info| SchemaInfo { json_type, ..info });
        }
        self.infos
    }
}

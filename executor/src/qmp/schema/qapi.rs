//! The schema as its source, for QEMU's generator.
//!
//! What the generator allows only to those who ask for it (results that are no objects, names with capitals or
//! underscores) is asked for at the top. A command whose arguments have no description has `'gen': false`.
//!
//! Any thread; pure functions.

#![forbid(unsafe_code)]

use super::introspect::is_unstable;
use super::{CommandEntry, Field, How, Kind, Object, Reference, Schema, Type, is_plain};

pub(super) fn write(schema: &Schema) -> String {
    let mut blocks = vec!["# -*- Mode: Python -*-\n".to_owned()];
    blocks.extend(pragmas(schema));
    blocks.extend(schema.types.iter().map(|known| schema.of_type(known)));
    blocks.extend(schema.commands.iter().map(|command| schema.of_command(command)));
    blocks.extend(schema.events.iter().map(|event| {
        expression(&[("event", quoted(event.name)), ("data", schema.data_of(&event.data))])
    }));
    blocks.join("\n")
}

/// What is not allowed without saying so.
fn pragmas(schema: &Schema) -> Option<String> {
    let commands = || schema.commands.iter();
    let returns = commands().filter(|it| !schema.returns_objects(it)).map(|it| it.name);
    let names = commands().filter(|it| !is_plain(it.name)).map(|it| it.name);
    let members = schema.types.iter().filter(|it| it.has_odd_names()).map(|it| it.name.as_str());
    let pragmas = [
        ("command-name-exceptions", list(names)),
        ("command-returns-exceptions", list(returns)),
        ("member-name-exceptions", list(members)),
    ];
    let used: Vec<_> = pragmas
        .iter()
        .filter(|(_, names)| names != "[]")
        .map(|(name, names)| format!("    '{name}': {names}"))
        .collect();
    (!used.is_empty()).then(|| format!("{{ 'pragma': {{\n{} }} }}\n", used.join(",\n")))
}

fn list<'n>(names: impl Iterator<Item = &'n str>) -> String {
    format!("[{}]", names.map(quoted).collect::<Vec<_>>().join(", "))
}

impl Type {
    fn has_odd_names(&self) -> bool {
        match &self.kind {
            Kind::Structure(fields) => !fields.iter().all(Field::has_plain_name),
            Kind::Enumeration(values) => !values.iter().all(|value| is_plain(value)),
        }
    }
}

impl Schema {
    fn returns_objects(&self, command: &CommandEntry) -> bool {
        let element = match &command.returns {
            None => return true,
            Some(Reference::List(element)) => element,
            Some(other) => other,
        };
        matches!(element, Reference::Named(at) if matches!(self.types[*at].kind, Kind::Structure(_)))
    }

    fn of_type(&self, known: &Type) -> String {
        match &known.kind {
            Kind::Enumeration(values) => {
                let values = list(values.iter().copied());
                expression(&[("enum", quoted(&known.name)), ("data", values)])
            }
            Kind::Structure(fields) => {
                let data = if fields.is_empty() { "{}".into() } else { self.data(fields) };
                expression(&[("struct", quoted(&known.name)), ("data", data)])
            }
        }
    }

    fn of_command(&self, command: &CommandEntry) -> String {
        let when = |so: bool, text: &str| if so { text.to_owned() } else { String::new() };
        let is_unknown = matches!(command.arguments, Object::Unknown);
        let returns = command.returns.as_ref().map(|of| self.name_of(of, 0));
        let body = expression(&[
            ("command", quoted(command.name)),
            ("data", self.data_of(&command.arguments)),
            ("returns", returns.unwrap_or_default()),
            ("gen", when(is_unknown, "false")),
            ("coroutine", when(command.how == How::Coroutine, "true")),
            ("allow-oob", when(command.how == How::Oob, "true")),
            ("features", when(is_unstable(command.name), "[ 'unstable' ]")),
        ]);
        let help = command.help;
        if help.is_empty() { body } else { format!("# {}: {help}\n{body}", command.name) }
    }

    fn data_of(&self, object: &Object) -> String {
        match object {
            Object::Unnamed(fields) => self.data(fields),
            Object::Named(_, of) => self.name_of(of, 0),
            Object::Unknown => String::new(),
        }
    }

    /// Nothing, if there is no member.
    fn data(&self, fields: &[Field]) -> String {
        if fields.is_empty() {
            return String::new();
        }
        let field = |field: &Field| {
            let star = if field.optional { "*" } else { "" };
            format!("    '{star}{}': {}", field.name, self.name_of(&field.of, 0))
        };
        format!("{{\n{} }}", fields.iter().map(field).collect::<Vec<_>>().join(",\n"))
    }

    /// QAPI has no lists of lists.
    fn name_of(&self, reference: &Reference, depth: usize) -> String {
        match reference {
            Reference::Builtin(name) => quoted(name),
            Reference::Named(at) => quoted(&self.types[*at].name),
            Reference::List(_) if depth > 0 => quoted("any"),
            Reference::List(element) => format!("[{}]", self.name_of(element, depth + 1)),
        }
    }
}

/// An object of QAPI, without the members that are empty.
fn expression(members: &[(&str, String)]) -> String {
    let given = members.iter().filter(|(_, value)| !value.is_empty());
    let members: Vec<_> = given.map(|(name, value)| format!("'{name}': {value}")).collect();
    format!("{{ {} }}\n", members.join(",\n  "))
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

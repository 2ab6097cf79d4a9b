//! The schema as a page for people.
//!
//! Any thread; pure functions.

#![forbid(unsafe_code)]

use super::{CommandEntry, EventEntry, Field, How, Kind, Object, Reference, Schema, Type};

pub(super) fn write(schema: &Schema) -> String {
    let mut blocks = vec![overview(schema)];
    blocks.extend(schema.commands.iter().map(|command| schema.page_of_command(command)));
    if !schema.events.is_empty() {
        blocks.push("# Events\n".to_owned());
        blocks.extend(schema.events.iter().map(|event| schema.page_of_event(event)));
    }
    if !schema.types.is_empty() {
        blocks.push("# Types\n".to_owned());
        blocks.extend(schema.types.iter().map(|known| schema.page_of_type(known)));
    }
    blocks.join("\n")
}

fn overview(schema: &Schema) -> String {
    let row = |it: &CommandEntry| {
        format!("| [`{}`](#{}) | {} | {} |\n", it.name, anchor(it.name), it.how.word(), it.help)
    };
    let rows: String = schema.commands.iter().map(row).collect();
    format!("# Commands\n\n| command | runs | what it does |\n|---|---|---|\n{rows}")
}

/// What a forge makes of a heading.
fn anchor(name: &str) -> String {
    let kept = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c));
    kept.collect::<String>().to_ascii_lowercase()
}

impl How {
    fn word(self) -> &'static str {
        match self {
            Self::Blocking => "at once",
            Self::Coroutine => "asynchronously",
            Self::Oob => "out of band",
        }
    }
}

impl Schema {
    fn page_of_command(&self, command: &CommandEntry) -> String {
        let mut page = format!("## `{}`\n\n", command.name);
        if !command.help.is_empty() {
            page.push_str(&sentence(command.help));
        }
        page.push_str(&self.arguments(&command.arguments));
        let returns = command.returns.as_ref();
        page.push_str(&returns.map_or_else(
            || "Returns nothing.\n".to_owned(),
            |of| format!("Returns {}.\n", self.link(of)),
        ));
        page
    }

    fn page_of_event(&self, event: &EventEntry) -> String {
        format!("## `{}`\n\n{}", event.name, self.arguments(&event.data))
    }

    fn page_of_type(&self, known: &Type) -> String {
        let body = match &known.kind {
            Kind::Structure(fields) => self.table(fields),
            Kind::Enumeration(values) => {
                let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
                format!("One of {}.\n", values.join(", "))
            }
        };
        format!("## `{}`\n\n{body}", known.name)
    }

    fn arguments(&self, object: &Object) -> String {
        match object {
            Object::Unknown => "Takes any arguments.\n\n".to_owned(),
            _ if object.fields().is_empty() => String::new(),
            _ => format!("{}\n", self.table(object.fields())),
        }
    }

    fn table(&self, fields: &[Field]) -> String {
        let row = |field: &Field| {
            let optional = if field.optional { "optional" } else { "" };
            format!("| `{}` | {} | {optional} |\n", field.name, self.link(&field.of))
        };
        let rows: String = fields.iter().map(row).collect();
        format!("| member | type | |\n|---|---|---|\n{rows}")
    }

    fn link(&self, reference: &Reference) -> String {
        match reference {
            Reference::Builtin(name) => format!("`{name}`"),
            Reference::Named(at) => {
                let name = &self.types[*at].name;
                format!("[`{name}`](#{})", anchor(name))
            }
            Reference::List(element) => format!("a list of {}", self.link(element)),
        }
    }
}

/// As a paragraph.
fn sentence(help: &str) -> String {
    let mut letters = help.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    format!("{}{}.\n\n", first.into_iter().collect::<String>(), letters.as_str())
}

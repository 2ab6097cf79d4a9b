//! What a server can be asked and what it answers: its commands, events and their types.
//!
//! Made of the [`Shape`]s of the types that the commands name, so it cannot say anything else than what the
//! server does. A structure of Rust is one of QAPI, under its own name; a second one of the same name
//! gets a number behind it. The arguments of a command and the data of an event have no name, as in most of
//! QEMU's schema.
//!
//! `introspect` writes it as `query-qmp-schema` does, `qapi` as the source of a schema, `markdown` as a page for people.
//!
//! Any thread; pure functions. `Shape` says what QAPI has no word for.

#![forbid(unsafe_code)]

use super::shape::{Member, Shape};
use super::writer::Json;

mod introspect;
mod markdown;
mod qapi;
#[cfg(test)]
mod tests;

pub(super) use introspect::SchemaInfo;

/// The schema of a [`Registry`](super::Registry): its commands and events, and their types.
///
/// # Examples
///
/// ```
/// use executor::qmp::Registry;
///
/// let mut registry = Registry::new();
/// registry.add_query_commands();
///
/// let source = registry.schema().to_qapi();
/// let answer = registry.schema().to_json(); // Of `query-qmp-schema`.
///
/// assert!(answer.as_str().contains(r#"{"name": "query-commands""#));
/// assert!(source.contains("{ 'command': 'query-commands',\n  'returns': ['CommandInfo'] }"));
/// ```
#[derive(Debug, Default)]
pub struct Schema {
    types: Vec<Type>,
    commands: Vec<CommandEntry>,
    events: Vec<EventEntry>,
}

/// A type with a name.
#[derive(Debug)]
struct Type {
    name: String,
    /// What it was made of: the same again is the same type.
    shape: Shape,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Structure(Vec<Field>),
    Enumeration(&'static [&'static str]),
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    of: Reference,
    optional: bool,
}

impl Field {
    fn has_plain_name(&self) -> bool {
        is_plain(self.name)
    }
}

/// Tells whether QAPI accepts a name without asking.
fn is_plain(name: &str) -> bool {
    !name.contains(|c: char| c == '_' || c.is_ascii_uppercase())
}

/// A use of a type.
#[derive(Clone, Debug, PartialEq)]
enum Reference {
    /// By QAPI's name.
    Builtin(&'static str),
    /// By its place in the list.
    Named(usize),
    List(Box<Self>),
}

#[derive(Debug)]
struct CommandEntry {
    name: &'static str,
    help: &'static str,
    arguments: Object,
    returns: Option<Reference>,
    how: How,
}

/// How a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Blocking,
    Coroutine,
    Oob,
}

#[derive(Debug)]
struct EventEntry {
    name: &'static str,
    data: Object,
}

/// The arguments of a command, or the data of an event.
#[derive(Debug)]
enum Object {
    /// A structure without a name. Mostly nothing.
    Unnamed(Vec<Field>),
    /// One that needs a name, because its members have names that QAPI does not accept there.
    Named(Vec<Field>, Reference),
    /// It has no description.
    Unknown,
}

impl Object {
    fn fields(&self) -> &[Field] {
        match self {
            Self::Unnamed(fields) | Self::Named(fields, _) => fields,
            Self::Unknown => &[],
        }
    }
}

impl Schema {
    /// Adds a command.
    pub(super) fn command(
        &mut self,
        name: &'static str,
        help: &'static str,
        how: How,
        (arguments, result): (&Shape, &Shape),
    ) {
        let returns = (*result != Shape::Null).then(|| self.reference(result, &mut Vec::new()));
        let arguments = self.object(arguments);
        self.commands.push(CommandEntry { name, help, arguments, returns, how });
    }

    /// Adds an event.
    pub(super) fn event(&mut self, name: &'static str, data: &Shape) {
        let data = self.object(data);
        self.events.push(EventEntry { name, data });
    }

    /// Returns what `query-qmp-schema` answers. As QEMU's, it has numbers instead of the types' names.
    pub fn to_json(&self) -> Json {
        Json::infallible(&self.introspect())
    }

    /// Returns the source of a schema, which QEMU's `scripts/qapi-gen.py` understands.
    pub fn to_qapi(&self) -> String {
        qapi::write(self)
    }

    /// Returns a reference for people, in Markdown.
    ///
    /// ```
    /// let mut registry = executor::qmp::Registry::new();
    /// registry.add_query_commands();
    /// let page = registry.schema().to_markdown();
    /// assert!(page.contains("## `query-commands`"));
    /// assert!(page.contains("Returns a list of [`CommandInfo`](#commandinfo)."));
    /// ```
    pub fn to_markdown(&self) -> String {
        markdown::write(self)
    }

    fn object(&mut self, shape: &Shape) -> Object {
        match shape {
            Shape::Null => Object::Unnamed(Vec::new()),
            Shape::Structure { members, .. } => {
                let fields = self.fields(members, &mut Vec::new());
                match fields.iter().all(Field::has_plain_name) {
                    true => Object::Unnamed(fields),
                    false => Object::Named(fields, self.reference(shape, &mut Vec::new())),
                }
            }
            _ => Object::Unknown,
        }
    }

    fn fields(&mut self, members: &[Member], around: &mut Vec<usize>) -> Vec<Field> {
        let field = |member: &Member| Field {
            name: member.name,
            of: self.reference(&member.shape, around),
            optional: member.optional,
        };
        members.iter().map(field).collect()
    }

    /// Returns how to name a type, and adds it if it is new. `around` are the structures that it is in.
    fn reference(&mut self, shape: &Shape, around: &mut Vec<usize>) -> Reference {
        match shape {
            Shape::Null => Reference::Builtin("null"),
            Shape::Boolean => Reference::Builtin("bool"),
            Shape::Integer(name) => Reference::Builtin(name),
            Shape::Number => Reference::Builtin("number"),
            Shape::Text => Reference::Builtin("str"),
            Shape::Any => Reference::Builtin("any"),
            Shape::List(element) => Reference::List(Box::new(self.reference(element, around))),
            Shape::Again(name) => self.again(name, around),
            Shape::Enumeration { name, .. } | Shape::Structure { name, .. } => {
                let known = self.types.iter().position(|known| known.shape == *shape);
                Reference::Named(known.unwrap_or_else(|| self.add(name, shape, around)))
            }
        }
    }

    fn again(&self, name: &str, around: &[usize]) -> Reference {
        let is_meant = |&&at: &&usize| matches!(&self.types[at].shape, Shape::Structure { name: known, .. } if *known == name);
        let found = around.iter().rev().find(is_meant);
        // What is around may be the arguments, which have no name.
        found.map_or(Reference::Builtin("any"), |&at| Reference::Named(at))
    }

    fn add(&mut self, name: &str, shape: &Shape, around: &mut Vec<usize>) -> usize {
        let at = self.types.len();
        let kind = match shape {
            Shape::Enumeration { values, .. } => Kind::Enumeration(values),
            _ => Kind::Structure(Vec::new()),
        };
        let name = self.free_name(name);
        self.types.push(Type { name, shape: shape.clone(), kind });
        if let Shape::Structure { members, .. } = shape {
            around.push(at);
            self.types[at].kind = Kind::Structure(self.fields(members, around));
            around.pop();
        }
        at
    }

    /// Returns a name that QAPI accepts and no other type has.
    fn free_name(&self, name: &str) -> String {
        let mut stem: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        // A list of `X` is called `XList` in C, and what has no lower-case letter is no type.
        if stem.ends_with("List") || !stem.contains(|c: char| c.is_ascii_lowercase()) {
            stem.push_str("Info");
        }
        let is_free = |name: &String| self.types.iter().all(|known| known.name != *name);
        let numbered = (2..).map(|number| format!("{stem}{number}"));
        let mut names = std::iter::once(stem.clone()).chain(numbered);
        names.find(is_free).expect("there are more numbers than types")
    }
}

//! Commands that answer from what never changes: `query-version` and `query-name`.
//!
//! The smallest commands there are: a type with the name, a type of the result, a function. They do not
//! wait for anything, so their mode is `Blocking`. What a handler needs besides its arguments it captures.
//!
//! Threads: the main loop's.

use executor::NoCoroutine;
use executor::qmp::{Blocking, Command, Error, Registry, Version, VersionNumber};
use serde::{Deserialize, Serialize};

pub(super) fn register(registry: &mut Registry, name: Option<String>) {
    registry.command::<QueryVersion, _>(query_version);
    registry
        .command::<QueryName, _>(move |_: &mut NoCoroutine, ()| Ok(Name { name: name.clone() }));
}

/// What this program calls itself, in the greeting and in `query-version`.
pub(crate) fn version() -> Version {
    let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
    Version { qemu, package: "async executor".into() }
}

struct QueryVersion;

impl Command for QueryVersion {
    const NAME: &'static str = "query-version";
    const HELP: &'static str = "show the version of this program";
    type Mode = Blocking;
    type Args = ();
    type Ret = Version;
}

fn query_version(_: &mut NoCoroutine, (): ()) -> Result<Version, Error> {
    Ok(version())
}

struct QueryName;

impl Command for QueryName {
    const NAME: &'static str = "query-name";
    const HELP: &'static str = "show the name of the machine";
    type Mode = Blocking;
    type Args = ();
    type Ret = Name;
}

#[derive(Deserialize, Serialize)]
#[serde(rename = "NameInfo")]
struct Name {
    /// Absent if the machine has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

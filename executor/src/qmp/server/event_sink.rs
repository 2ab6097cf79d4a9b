//! Where a program says that something has happened.
//!
//! Knows which events a guest can cause at will, and how often QEMU lets those through; everything else
//! about delivery is the hub's.
//!
//! Threads: any.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::super::events::Event;
use super::super::writer::Json;
use super::hub::{Hub, Pace};

/// Events of these kinds go out once a second (`monitor_qapi_event_conf` in QEMU), for each value that the
/// member named has.
const PACED: [(&str, Option<&str>); 9] = [
    ("RTC_CHANGE", None),
    ("WATCHDOG", None),
    ("BALLOON_CHANGE", None),
    ("QUORUM_REPORT_BAD", Some("node-name")),
    ("QUORUM_FAILURE", None),
    ("VSERPORT_CHANGE", Some("id")),
    ("MEMORY_DEVICE_SIZE_CHANGE", Some("qom-path")),
    ("HV_BALLOON_STATUS_REPORT", None),
    ("BLOCK_IO_ERROR", Some("qom-path")),
];

const INTERVAL: Duration = Duration::from_secs(1);

/// Sends events to the clients of a [`Server`](super::Server). `Clone + Send + Sync`.
///
/// Stands for `qapi_event_send_*()`. From [`Server::events`](super::Server::events); handlers that are
/// registered before there is a server get one from [`EventSink::new`].
///
/// # Examples
///
/// ```
/// use executor::net::UnixStream;
/// use executor::qmp::{Command, Coroutine, EventSink, Registry, Server, boxed};
/// # use executor::qmp::{SessionOptions, Version, VersionNumber};
/// use executor::{MainCx, block_on, run_main};
/// use futures_util::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
/// use futures_util::stream::StreamExt;
///
/// struct Stop;
///
/// impl Command for Stop {
///     const NAME: &'static str = "stop";
///     type Mode = Coroutine;
///     type Args = ();
///     type Ret = ();
/// }
///
/// async fn program(cx: &MainCx) -> std::io::Result<()> {
///     let events = EventSink::new();
///     let sink = events.clone(); // A handler needs it before there is a server.
///     let mut registry = Registry::new();
///     registry.command::<Stop, _>(boxed(move |_cx, ()| {
///         sink.emit("STOP", ());
///         Box::pin(async { Ok(()) })
///     }));
/// #   let qemu = VersionNumber { micro: 0, minor: 1, major: 0 };
/// #   let options = SessionOptions::new(Version { qemu, package: String::new() });
///     let server = Server::start_with_events(cx, registry, options, events)?;
/// #   let path = std::env::temp_dir().join(format!("executor-events-{}.sock", std::process::id()));
/// #   let address = executor::qmp::Address::Unix(path.clone());
///     server.listen(&address)?;
///
///     let mut client = UnixStream::connect(path).await?;
///     client.write_all(b"{'execute': 'qmp_capabilities'} {'execute': 'stop'}").await?;
///     let mut lines = BufReader::new(client).lines().skip(2);
///     let event = lines.next().await.transpose()?.unwrap_or_default();
///     assert!(event.ends_with(r#""event": "STOP"}"#), "the event comes before the reply");
///     let reply = lines.next().await.transpose()?;
///     assert_eq!(reply.as_deref(), Some(r#"{"return": {}}"#));
///     server.shutdown().await;
///     Ok(())
/// }
///
/// run_main(|nc| block_on(nc, program))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct EventSink {
    pub(super) hub: Arc<Hub>,
}

impl EventSink {
    /// Returns a sink for [`Server::start_with_events`](super::Server::start_with_events). Until then,
    /// events go nowhere.
    pub fn new() -> Self {
        Self { hub: Arc::new(Hub::new()) }
    }

    /// Tells every client that has negotiated that something has happened, now.
    ///
    /// `data` is to be an object, or `()` for an event without. Does not wait: a client that does not
    /// read misses events instead. A client sees the event before the reply to any command that ends
    /// after this call. Events that QEMU limits to one per second (`BALLOON_CHANGE` and eight others)
    /// are limited here; of those held back, the last one is sent.
    ///
    /// # Panics
    ///
    /// If `data` cannot be written as JSON.
    #[track_caller]
    pub fn emit(&self, name: impl Into<Cow<'static, str>>, data: impl Serialize) {
        let event = Event::new(name, SystemTime::now());
        let json = Json::new(&data)
            .unwrap_or_else(|error| panic!("the data of {} is no JSON: {error}", event.name()));
        let pace = pace(event.name(), &data);
        let event = if json.as_str() == "null" { event } else { event.with_json(json) };
        self.hub.emit(event, pace);
    }

    /// Tells every client that has negotiated of an event that somebody else has emitted, and limited.
    #[cfg(feature = "host")]
    pub(crate) fn forward(&self, event: Event) {
        self.hub.emit(event, None);
    }
}

impl Default for EventSink {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EventSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSink").field("clients", &self.hub.len()).finish()
    }
}

fn pace(name: &str, data: &impl Serialize) -> Option<Pace> {
    let (_, member) = PACED.iter().find(|(paced, _)| *paced == name)?;
    let key = member.and_then(|member| key(member, data));
    Some(Pace { interval: INTERVAL, key: key.unwrap_or_default() })
}

fn key(member: &str, data: &impl Serialize) -> Option<String> {
    let data = serde_json::to_value(data).ok()?;
    data.get(member).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::pace;

    #[test]
    fn ordinary_events_are_not_held_back() {
        assert!(pace("STOP", &json!(null)).is_none());
    }

    #[test]
    fn ports_are_told_apart_by_their_id() {
        let key = |id: &str| pace("VSERPORT_CHANGE", &json!({"id": id, "open": true})).unwrap().key;

        assert_eq!(key("a"), key("a"));
        assert_ne!(key("a"), key("b"));
    }

    #[test]
    fn all_changes_of_the_balloon_are_one_kind() {
        let key = |actual: u64| pace("BALLOON_CHANGE", &json!({"actual": actual})).unwrap().key;

        assert_eq!(key(1), key(2));
    }
}

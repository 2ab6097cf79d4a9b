//! Events: what they look like, and how often a chatty one may be sent.
//!
//! An [`Event`] is formatted once and sent to every monitor that has negotiated. A [`Throttle`]
//! stands before that, for events a guest can cause at will: the first goes out at once, of those
//! that follow within the interval only the last one, when the interval is over. There is one
//! throttle for all monitors, as in QEMU.
//!
//! Any thread; no clock of its own: the caller says what time it is.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::error::Error;
use super::writer::Json;

/// Something that happened, for every client to know. Stands for `qapi_event_emit()`.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use executor::qmp::Event;
///
/// let event = Event::new("STOP", SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
///
/// assert_eq!(
///     event.to_json().as_str(),
///     r#"{"timestamp": {"seconds": 1, "microseconds": 500000}, "event": "STOP"}"#
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    name: Cow<'static, str>,
    time: SystemTime,
    data: Option<Json>,
}

/// The wire format of a point in time. Both are -1 when the clock is before 1970.
#[derive(Serialize)]
struct Timestamp {
    seconds: i64,
    microseconds: i64,
}

impl Event {
    /// Returns an event without data that happened at `time`.
    pub fn new(name: impl Into<Cow<'static, str>>, time: SystemTime) -> Self {
        Self { name: name.into(), time, data: None }
    }

    /// Adds the data, which is to be an object.
    ///
    /// # Errors
    ///
    /// Fails when [`Json::new`] does.
    pub fn with_data<T: Serialize + ?Sized>(self, data: &T) -> Result<Self, Error> {
        Ok(self.with_json(Json::new(data)?))
    }

    /// Adds the data, written out already.
    pub(super) fn with_json(mut self, data: Json) -> Self {
        self.data = Some(data);
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the line that goes over the wire, without its end.
    pub fn to_json(&self) -> Json {
        let mut members = vec![
            ("timestamp", Json::infallible(&Timestamp::from(self.time))),
            ("event", Json::infallible(&self.name)),
        ];
        members.extend(self.data.clone().map(|data| ("data", data)));
        Json::object(&members)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let Ok(since) = time.duration_since(SystemTime::UNIX_EPOCH) else {
            return Self { seconds: -1, microseconds: -1 };
        };
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Self { seconds, microseconds: since.subsec_micros().into() }
    }
}

/// Limits how often events of one kind are sent.
///
/// The time is any that does not go backwards, as a duration since any fixed point.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use executor::qmp::{Event, Throttle};
///
/// const SECOND: Duration = Duration::from_secs(1);
///
/// let event = |actual: u64| {
///     let data = std::collections::BTreeMap::from([("actual", actual)]);
///     Event::new("BALLOON_CHANGE", SystemTime::now()).with_data(&data)
/// };
/// let mut throttle = Throttle::new();
/// let mut offer = |now, actual| Ok::<_, executor::qmp::Error>(throttle.offer(now, SECOND, "", event(actual)?));
/// assert!(offer(Duration::ZERO, 1)?.is_some(), "the first one goes out");
/// assert!(offer(SECOND / 4, 2)?.is_none());
/// assert!(offer(SECOND / 2, 3)?.is_none());
///
/// assert_eq!(throttle.next_deadline(), Some(SECOND));
/// let due = throttle.expire(SECOND);
/// assert_eq!(due.len(), 1, "of those that were held back, the last one");
/// assert_eq!(due[0].name(), "BALLOON_CHANGE");
/// assert!(due[0].to_json().as_str().ends_with(r#""data": {"actual": 3}}"#));
/// # Ok::<(), executor::qmp::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Throttle {
    running: BTreeMap<(Cow<'static, str>, String), Window>,
}

/// The interval after an event was sent.
#[derive(Debug)]
struct Window {
    interval: Duration,
    end: Duration,
    held: Option<Event>,
}

impl Throttle {
    /// Returns a throttle that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns `event` when it may be sent now; else keeps it in place of one kept before.
    ///
    /// Events are of the same kind when name and `key` are the same; the key tells the ports or
    /// nodes apart that an event can be about.
    pub fn offer(
        &mut self,
        now: Duration,
        interval: Duration,
        key: &str,
        event: Event,
    ) -> Option<Event> {
        match self.running.entry((event.name.clone(), key.to_owned())) {
            Entry::Occupied(mut running) => {
                running.get_mut().held = Some(event);
                None
            }
            Entry::Vacant(place) => {
                place.insert(Window { interval, end: now + interval, held: None });
                Some(event)
            }
        }
    }

    /// Returns when to call [`expire`](Self::expire) next; `None` when there is nothing to do.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.running.values().map(|window| window.end).min()
    }

    /// Returns the kept events whose time has come.
    pub fn expire(&mut self, now: Duration) -> Vec<Event> {
        let mut due = Vec::new();
        self.running.retain(|_, window| {
            if window.end > now {
                return true;
            }
            let Some(event) = window.held.take() else { return false };
            due.push(event);
            window.end = now + window.interval;
            true
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde_json::json;

    use super::{Event, Throttle};

    const SECOND: Duration = Duration::from_secs(1);

    fn event(number: u32) -> Event {
        let event = Event::new("BALLOON_CHANGE", SystemTime::UNIX_EPOCH);
        event.with_data(&json!({"actual": number})).expect("data is an object")
    }

    #[test]
    fn an_event_has_its_members_in_the_order_of_qemu() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_531_115_134_507);
        let event = Event::new("SHUTDOWN", time).with_data(&json!({"guest": false}));

        assert_eq!(
            event.expect("an event").to_json().as_str(),
            "{\"timestamp\": {\"seconds\": 1795531115, \"microseconds\": 134507}, \
             \"event\": \"SHUTDOWN\", \"data\": {\"guest\": false}}"
        );
    }

    #[test]
    fn a_clock_before_1970_is_told_as_qemu_tells_a_broken_one() {
        let event = Event::new("STOP", SystemTime::UNIX_EPOCH - SECOND);

        assert!(event.to_json().as_str().contains("{\"seconds\": -1, \"microseconds\": -1}"));
    }

    #[test]
    fn within_the_interval_only_the_last_event_is_sent() {
        let mut throttle = Throttle::new();
        let mut offer = |now, number| throttle.offer(now, SECOND, "", event(number));

        assert_eq!(offer(SECOND, 1), Some(event(1)));
        assert_eq!(offer(SECOND, 2), None);
        assert_eq!(offer(SECOND, 3), None);
        assert_eq!(throttle.next_deadline(), Some(2 * SECOND));
        assert_eq!(throttle.expire(2 * SECOND), [event(3)]);
        assert_eq!(throttle.offer(2 * SECOND, SECOND, "", event(4)), None);
    }

    #[test]
    fn a_quiet_interval_ends_the_throttling() {
        let mut throttle = Throttle::new();

        assert!(throttle.offer(Duration::ZERO, SECOND, "", event(1)).is_some());
        assert_eq!(throttle.expire(SECOND), []);
        assert_eq!(throttle.next_deadline(), None);
        assert!(throttle.offer(SECOND, SECOND, "", event(2)).is_some());
    }

    #[test]
    fn different_keys_do_not_wait_for_each_other() {
        let mut throttle = Throttle::new();

        assert!(throttle.offer(Duration::ZERO, SECOND, "port0", event(1)).is_some());
        assert!(throttle.offer(Duration::ZERO, SECOND, "port1", event(1)).is_some());
    }
}

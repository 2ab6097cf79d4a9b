//! A trace file, read as strictly as Perfetto reads it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Reads the events of a file that may lack its end, and checks that they can be drawn. The file goes.
pub(crate) fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("it was written");
    fs::remove_file(path).expect("it is there");
    let text = format!("{}]", text.trim_end().trim_end_matches(','));
    let events: Vec<Value> = serde_json::from_str(&text).expect("it is JSON");
    check(&events);
    events
}

/// The events of a kind: `ph`, and the name unless it is empty.
pub(crate) fn select<'a>(events: &'a [Value], phase: &str, name: &str) -> Vec<&'a Value> {
    let wanted =
        |event: &&Value| event["ph"] == phase && (name.is_empty() || event["name"] == name);
    events.iter().filter(wanted).collect()
}

/// The number of the lane of that name.
pub(crate) fn lane(events: &[Value], name: &str) -> Value {
    let named = select(events, "M", "thread_name");
    let lane = named.iter().find(|event| event["args"]["name"] == name);
    lane.unwrap_or_else(|| panic!("no lane {name}"))["tid"].clone()
}

/// The two ends of each arrow of a kind; the second is missing where it leads nowhere.
pub(crate) fn arrows<'a>(events: &'a [Value], kind: &str) -> Vec<(&'a Value, Option<&'a Value>)> {
    let ends = select(events, "f", kind);
    let end_of = |start: &Value| ends.iter().find(|end| end["id"] == start["id"]).copied();
    select(events, "s", kind).into_iter().map(|start| (start, end_of(start))).collect()
}

/// Slices nest, time does not go back within a lane, and both ends of each arrow are in a slice.
fn check(events: &[Value]) {
    let mut open: HashMap<u64, Vec<&str>> = HashMap::new();
    let mut now: HashMap<u64, f64> = HashMap::new();
    let mut begun: HashMap<(&str, u64), (f64, bool)> = HashMap::new();
    for event in events {
        let text = |key: &str| event[key].as_str().unwrap_or_else(|| panic!("{key}: {event}"));
        let lane = event["tid"].as_u64().expect("a lane is a number");
        if text("ph") == "M" {
            continue;
        }
        let time = event["ts"].as_f64().expect("a time is a number");
        // The short slice of an arrow ends a nanosecond late.
        let last = now.insert(lane, time).unwrap_or(0.0);
        assert!(time >= last - 0.0011, "time goes back: {event}");
        let open = open.entry(lane).or_default();
        match text("ph") {
            "B" => open.push(text("name")),
            "E" => assert!(open.pop().is_some(), "no slice ends here: {event}"),
            phase @ ("s" | "f") => {
                assert!(!open.is_empty(), "an end of an arrow without a slice: {event}");
                let id = event["id"].as_u64().expect("an id is a number");
                let arrow = (text("cat"), id);
                assert_eq!(arrow.0, text("name"), "both are what ties the ends: {event}");
                if phase == "s" {
                    assert!(begun.insert(arrow, (time, false)).is_none(), "twice: {event}");
                } else {
                    assert_eq!(event["bp"], "e", "it ends in the slice around it: {event}");
                    let (start, ended) = begun.get_mut(&arrow).expect("it has begun");
                    assert!(*start <= time && !std::mem::replace(ended, true), "{event}");
                }
            }
            other => panic!("an event of kind {other}: {event}"),
        }
    }
}

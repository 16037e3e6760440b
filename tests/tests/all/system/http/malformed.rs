//! Requests of HTTP/2 that are not what they should be: none of them is forwarded, and each good one is, once.

use serde_json::Value;
use sidestep_tests::{Need, needs_capture};

use super::scene::{Scene, Way, flags, path, status};
use super::script::Script;

const PORT: u16 = 8080;

/// The names in a list that a script told.
fn names<'a>(told: &'a Value, list: &str) -> Vec<&'a str> {
    told[list].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What a request that arrived says of itself, everything in one text.
fn arrived(server: &Script) -> Vec<String> {
    server.0.stdout().into_iter().filter(|line| line.contains("\"request\"")).collect()
}

#[test]
fn what_is_malformed_is_refused_and_what_is_not_arrives_once() {
    needs_capture!(Need::ForeignHttp2);
    for way in Way::ALL {
        let scene = Scene::of(way);
        let to = scene.server.v4(PORT);
        let server = Script::listening(scene.server.app(), "h2_cases.py", &format!("serve {to}"));
        let sidecars = scene.sidecars();
        let client = Script::start(scene.client.app(), "h2_cases.py", &format!("ask {to}"));
        let told = client.tells_within(sidestep_tests::patience() * 3, "told");
        let (good, bad) = (names(&told, "good"), names(&told, "bad"));
        let (requests, mut wrong) = (arrived(&server), Vec::new());
        let arrivals = |name: &str| requests.iter().filter(|text| text.contains(&format!("/{name}"))).count();
        for name in &good {
            if told["told"][name]["status"] != "200" || arrivals(name) != 1 {
                wrong.push(format!("{name}: {}, arrived {} times", told["told"][name], arrivals(name)));
            }
        }
        for name in &bad {
            let answer = told["told"][name]["status"].as_str().unwrap_or("none");
            if answer.starts_with('2') || arrivals(name) > 0 {
                wrong.push(format!("{name} was taken: {}", told["told"][name]));
            }
        }
        // Nor does what is wrong with one that is forgiven.
        assert!(!requests.iter().any(|text| text.contains("evil")), "{requests:?}");
        let taken = good.len() + names(&told, "forgiven").into_iter().map(arrivals).sum::<usize>();
        assert!(wrong.is_empty() && requests.len() == taken, "{way:?}:\n{}\n{requests:#?}", wrong.join("\n"));
        // Requests that we could read and refused are told, each with its status.
        let lines: Vec<_> =
            sidecars.near.log.lines().into_iter().filter(|line| line.more.contains_key("method")).collect();
        assert!(lines.iter().all(|line| status(line) == 200 || flags(line) != "-"), "{lines:?}");
        for name in good {
            let told = lines
                .iter()
                .filter(|line| path(line).starts_with(&format!("/{name}")) && status(line) == 200);
            assert_eq!(told.count(), 1, "{name}: {lines:?}");
        }
    }
}

//! One request is one request for everybody: what can be read in two ways is refused, and what is forwarded is read upstream
//! exactly as it was meant. nginx and HAProxy are asked the same, for comparison.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;
use sidestep_tests::{Need, Pod, needs_capture};

use super::super::server::{Server, eventually_succeeds, write};
use super::corpus::{Case, GOOD, cases};
use super::message::{End, Request, answers, requests, sequence};
use super::raw::{Ended, Heard, Plan, Raw, unhex};
use super::scene::{Scene, Sidecars, Way, exchanges};
use super::script::Script;

const PORT: u16 = 8080;
/// How long nothing may come before a client leaves.
const QUIET: Duration = Duration::from_millis(1500);

/// Cases that neither nginx nor HAProxy takes and we do, each with why that is no harm.
const TAKEN_BY_US_ALONE: [(&str, &str); 0] = [];

/// Cases that do not begin as HTTP does: where nobody has said that HTTP is spoken, they are as good as any other protocol.
const NO_HTTP: [&str; 4] =
    ["HTTP/0.9", "a blank in front", "a method with a colon", "a method with a parenthesis"];

/// Everything that a recorder has been sent, connection by connection.
pub(super) fn recordings(pod: &Pod, recorder: SocketAddr) -> Vec<Vec<u8>> {
    let hands_out = SocketAddr::new(recorder.ip(), recorder.port() + 1);
    let text = pod.namespace.inside(|| {
        let mut text = String::new();
        TcpStream::connect(hands_out).and_then(|mut stream| stream.read_to_string(&mut text)).map(|_| text)
    });
    let text = text.unwrap_or_else(|error| panic!("ask {hands_out} for its recordings: {error}"));
    text.lines().map(unhex).filter(|bytes| !bytes.is_empty()).collect()
}

/// The requests among it, none of which may be malformed.
pub(super) fn recorded(pod: &Pod, recorder: SocketAddr) -> Vec<Request> {
    let all = recordings(pod, recorder).into_iter().flat_map(|bytes| {
        let (found, end) = requests(&bytes);
        assert_eq!(end, End::Clean, "{:?}", String::from_utf8_lossy(&bytes));
        found
    });
    all.collect()
}

/// What became of a case: what its client heard, and what arrived upstream.
struct Outcome {
    heard: Heard,
    /// The requests that were understood upstream.
    arrived: Vec<Request>,
    /// What was behind them and was none, and why.
    rest: Option<(End, Vec<u8>)>,
}

/// Runs every case against `to`, all at once, and finds what arrived at the recorder behind it.
fn outcomes(raw: &Raw, all: &[Case], to: SocketAddr, server: &Pod, recorder: SocketAddr) -> Vec<Outcome> {
    let begun: Vec<u64> =
        all.iter().map(|case| raw.begin(to, &Plan::of(case.bytes.clone()).quiet(QUIET))).collect();
    let heard: Vec<Heard> = begun.into_iter().map(|id| raw.end(id)).collect();
    let mut arrived: BTreeMap<usize, Vec<Request>> = BTreeMap::new();
    let mut rests: BTreeMap<usize, (End, Vec<u8>)> = BTreeMap::new();
    // A connection may carry the requests of several clients, one after the other.
    let whose = |text: &str| all.iter().position(|case| text.contains(&case.mark));
    for bytes in recordings(server, recorder) {
        let (found, end, at) = sequence(&bytes);
        for request in found {
            let case = whose(&format!("{request:?}"));
            arrived.entry(case.unwrap_or_else(|| panic!("nobody's: {request:?}"))).or_default().push(request);
        }
        if end != End::Clean {
            let rest = bytes[at..].to_vec();
            let case =
                whose(&String::from_utf8_lossy(&rest)).or_else(|| whose(&String::from_utf8_lossy(&bytes)));
            rests.insert(case.unwrap_or_else(|| panic!("nobody's: {}", shown(&bytes))), (end, rest));
        }
    }
    let outcome = |(number, heard)| Outcome {
        heard,
        arrived: arrived.remove(&number).unwrap_or_default(),
        rest: rests.remove(&number),
    };
    heard.into_iter().enumerate().map(outcome).collect()
}

/// Holds one outcome of ours to what was sent; says what is wrong.
fn judge(case: &Case, outcome: &Outcome, between: Between) -> Option<String> {
    let (meant, meant_end) = requests(&case.bytes);
    let arrived = &outcome.arrived;
    if let Some((End::Malformed(why), rest)) = &outcome.rest {
        let as_it_came = *rest == case.bytes && arrived.is_empty();
        return match as_it_came && between.may_pass_unseen(case) {
            true => None,
            false => Some(format!("what was forwarded is malformed: {why}")),
        };
    }
    if arrived.len() > meant.len() {
        return Some(format!("{} requests were forwarded, {} were meant", arrived.len(), meant.len()));
    }
    // On several connections upstream, their order there is not that of the client.
    let mut open: Vec<&Request> = meant.iter().collect();
    for arrived in arrived {
        match open.iter().position(|meant| meant.essence() == arrived.essence()) {
            Some(place) => drop(open.remove(place)),
            None => return Some(format!("{arrived:?} was forwarded, left of what was meant is {open:?}")),
        }
    }
    if open.iter().any(|left| !meant[arrived.len()..].contains(left)) {
        return Some(format!("{open:?} was left out, and what is behind it was forwarded"));
    }
    let ended = outcome.heard.ended == Ended::Closed;
    let found = match answers(&outcome.heard.bytes, ended) {
        Ok(found) => found,
        Err(why) => return Some(format!("the client was answered with {why}")),
    };
    let good = found.iter().filter(|answer| answer.is_clean_success()).count();
    if good > arrived.len() {
        return Some(format!("{good} good answers to {} requests", arrived.len()));
    }
    match meant_end {
        End::Clean
            if arrived.len() < meant.len()
                && outcome.heard.ended == Ended::Quiet
                && found.iter().all(|answer| answer.status < 400) =>
        {
            Some(format!(
                "of {} requests {} were forwarded, and none was refused",
                meant.len(),
                arrived.len()
            ))
        }
        End::Malformed(_) if outcome.heard.ended == Ended::Quiet => {
            Some("the client is left waiting for a refusal".to_owned())
        }
        End::Malformed(_)
            if found.last().is_some_and(|last| last.status < 400) && found.len() > meant.len() =>
        {
            Some("what is malformed was answered with a success".to_owned())
        }
        _ => None,
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// Whether anything of the case was understood and passed on.
fn is_taken(outcome: &Outcome) -> bool {
    !outcome.arrived.is_empty()
}

/// nginx or HAProxy, in front of a recorder of its own.
struct Other {
    _server: Server,
    at: SocketAddr,
    recorder: SocketAddr,
}

fn nginx(pod: &Pod) -> Other {
    let (at, recorder) = (pod.v4(9001), SocketAddr::from(([127, 0, 0, 1], 9011)));
    let server = Server::start(pod.app(), "nginx", |directory| {
        let root = directory.display();
        let text = format!(
            "daemon off; user root; worker_processes 1; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{\n\
               access_log off; client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root};\n\
               uwsgi_temp_path {root}; scgi_temp_path {root}; merge_slashes off;\n\
               server {{ listen {at}; location / {{\n\
                 proxy_pass http://{recorder}; proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;\n\
                 proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n\
               }} }}\n\
             }}\n"
        );
        write(&directory.join("nginx.conf"), &text);
        ["-p", &root.to_string(), "-c", "nginx.conf"].map(str::to_owned).into()
    });
    Other { _server: server, at, recorder }
}

fn haproxy(pod: &Pod) -> Other {
    let (at, recorder) = (pod.v4(9002), SocketAddr::from(([127, 0, 0, 1], 9021)));
    let server = Server::start(pod.app(), "haproxy", |directory| {
        let text = format!(
            "global\n  maxconn 500\n\
             defaults\n  mode http\n  timeout connect 2s\n  timeout client 5s\n  timeout server 5s\n  http-reuse never\n\
             frontend in\n  bind {at}\n  default_backend out\n\
             backend out\n  server recorder {recorder}\n"
        );
        write(&directory.join("haproxy.cfg"), &text);
        ["-db", "-f", &directory.join("haproxy.cfg").display().to_string()].map(str::to_owned).into()
    });
    Other { _server: server, at, recorder }
}

/// The sidecars that are in between in a run.
#[derive(Clone, Copy, Debug)]
enum Between {
    Client,
    Server,
    BothInPlainText,
    BothWithATunnel,
    /// The server's, which has been told that HTTP is spoken there.
    ServerThatKnows,
}

impl Between {
    const ALL: [Self; 5] =
        [Self::Client, Self::Server, Self::BothInPlainText, Self::BothWithATunnel, Self::ServerThatKnows];

    /// Whether these bytes may be taken for another protocol, and then pass as they are.
    fn may_pass_unseen(self, case: &Case) -> bool {
        !matches!(self, Self::ServerThatKnows) && NO_HTTP.contains(&case.name)
    }
}

/// What we made of every case.
fn ours(all: &[Case], between: Between) -> Vec<Outcome> {
    let scene = match between {
        Between::BothWithATunnel => Scene::of(Way::Tunnel),
        Between::ServerThatKnows => {
            Scene::of(Way::Plain).with(json!({ "ports": { PORT.to_string(): "http" } }))
        }
        _ => Scene::of(Way::Plain),
    };
    let to = scene.server.v4(PORT);
    let _recorder = Script::listening(scene.server.app(), "recorder.py", &format!("serve {to}"));
    let _sidecars: Vec<_> = match between {
        Between::Client => vec![scene.near()],
        Between::Server | Between::ServerThatKnows => vec![scene.far()],
        Between::BothInPlainText | Between::BothWithATunnel => {
            let Sidecars { near, far, .. } = scene.sidecars();
            vec![near, far]
        }
    };
    outcomes(&Raw::start(scene.client.app()), all, to, &scene.server, to)
}

#[test]
fn every_request_that_is_forwarded_is_the_one_that_was_meant() {
    needs_capture!(Need::Tool("python3"));
    let all = cases();
    let mut wrong = Vec::new();
    for between in Between::ALL {
        for (case, outcome) in all.iter().zip(ours(&all, between)) {
            let mut fault = judge(case, &outcome, between);
            let is_good = GOOD.iter().any(|(name, _)| *name == case.name);
            if is_good && outcome.arrived.len() != requests(&case.bytes).0.len() {
                fault = Some("nothing is wrong with it, and it was not forwarded whole".to_owned());
            }
            if let Some(fault) = fault {
                wrong.push(format!(
                    "{between:?}, {}: {fault}\n  sent    {}\n  arrived {:?} {:?}\n  heard   {} ({:?})",
                    case.name,
                    shown(&case.bytes),
                    outcome.arrived,
                    outcome.rest.as_ref().map(|(end, rest)| (end, shown(rest))),
                    shown(&outcome.heard.bytes),
                    outcome.heard.ended
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn whatever_nginx_and_haproxy_both_refuse_is_not_forwarded() {
    needs_capture!(Need::Tool("python3"), Need::Tool("nginx"), Need::Tool("haproxy"), Need::Tool("curl"));
    let (all, (client, server)) = (cases(), Pod::pair());
    let (nginx, haproxy) = (nginx(&server), haproxy(&server));
    let line = format!("serve {} {}", nginx.recorder, haproxy.recorder);
    let _recorders = Script::listening(server.app(), "recorder.py", &line);
    let raw = Raw::start(client.app());
    let theirs = [nginx, haproxy].map(|other| {
        eventually_succeeds(client.app(), "curl", &["-sS".to_owned(), format!("http://{}/c0.", other.at)]);
        let outcomes = outcomes(&raw, &all, other.at, &server, other.recorder);
        assert!(is_taken(&outcomes[0]), "what is good passes there");
        outcomes
    });
    let ours = ours(&all, Between::ServerThatKnows);
    for (number, case) in all.iter().enumerate() {
        let refused = theirs.iter().all(|outcomes| !is_taken(&outcomes[number]));
        let allowed = TAKEN_BY_US_ALONE.iter().any(|(name, _)| *name == case.name);
        assert!(!refused || allowed || !is_taken(&ours[number]), "{}: {:?}", case.name, ours[number].arrived);
    }
    let refused_by = |outcomes: &[Outcome]| outcomes.iter().filter(|outcome| !is_taken(outcome)).count();
    let [nginx, haproxy] = theirs.each_ref().map(|outcomes| refused_by(outcomes));
    println!("of {} cases nginx refuses {nginx}, HAProxy {haproxy}, we {}", all.len(), refused_by(&ours));
    assert!(refused_by(&ours) >= nginx.max(haproxy), "we are the stricter one");
}

#[test]
fn what_follows_a_switch_that_was_not_agreed_to_is_a_request_of_its_own() {
    needs_capture!(Need::Tool("python3"));
    let scene = Scene::of(Way::Plain);
    let to = scene.server.v4(PORT);
    let _recorder = Script::listening(scene.server.app(), "recorder.py", &format!("serve {to}"));
    let far = scene.far();
    let asked = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n";
    let heard = Raw::start(scene.client.app()).exchange(to, &Plan::of(asked.into()).quiet(QUIET));
    let found = answers(&heard.bytes, heard.ended == Ended::Closed).unwrap_or_default();
    // Whoever writes on before it is answered may be refused, but what it writes is never let past unseen.
    let arrived = recorded(&scene.server, to).len();
    assert_eq!(found.iter().filter(|answer| answer.status == 200).count(), arrived, "{found:?}");
    exchanges(&far, "inbound", to, arrived);
}

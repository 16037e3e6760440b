//! What is answered to which question, of workloads that carry nothing.

use std::collections::BTreeMap;

use super::super::register::Serves;
use super::super::register::tests::entry;
use super::*;

fn register() -> Arc<Register> {
    let register = Register::new(Serves::Node);
    for name in ["shop/db-1", "shop/web-1"] {
        register.add(entry(&register, name));
    }
    register
}

fn ask(register: &Arc<Register>, path: &str, parameters: &[(&str, &str)]) -> Reply {
    let parameters: BTreeMap<String, String> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let question = Question { changes: false, path: path.to_owned(), parameters, body: String::new() };
    answer(register, &question)
}

fn json(reply: Reply) -> Value {
    match reply {
        Reply::Json(text) => serde_json::from_str(&text).expect("it is JSON"),
        Reply::Missing(text) | Reply::Refused(text) | Reply::Text(text) => panic!("{text}"),
        Reply::Pieces(_) | Reply::Lines(_) => panic!("expected one text"),
    }
}

#[test]
fn the_status_names_every_workload_or_the_one_that_is_meant() {
    let register = register();
    let all = json(ask(&register, "/v1/status", &[]));
    assert_eq!((&all["form"], &all["workloads"][1]["workload"]), (&json!("node"), &json!("shop/web-1")));
    assert_eq!(all["workloads"][0]["state"], "starting");
    assert_eq!(all["workloads"][0]["requests"]["count"], 0);
    let one = json(ask(&register, "/v1/status", &[("workload", "shop/web-1")]));
    assert_eq!(one["workloads"].as_array().map(Vec::len), Some(1));
    assert!(matches!(ask(&register, "/v1/status", &[("workload", "web-1")]), Reply::Missing(_)));
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let register = register();
    assert_eq!(json(ask(&register, "/v1/connections", &[])), json!({ "connections": [] }));
    assert!(matches!(ask(&register, "/v1/explain", &[("connection", "7")]), Reply::Missing(_)));
    assert!(matches!(ask(&register, "/v1/explain", &[]), Reply::Refused(_)));
    assert!(matches!(ask(&register, "/v2/status", &[]), Reply::Missing(_)));
    assert_eq!(json(ask(&register, "/v1/config", &[]))["shop/db-1"], json!({}));
}

#[test]
fn metrics_are_those_of_all_or_of_one() {
    let register = register();
    let text = |parameters: &[(&str, &str)]| match ask(&register, "/v1/metrics", parameters) {
        Reply::Pieces(pieces) => pieces.collect::<String>(),
        _ => panic!("expected pieces"),
    };
    assert!(text(&[]).contains("workload=\"shop/db-1\""));
    let one = text(&[("workload", "shop/web-1")]);
    assert!(one.contains("workload=\"shop/web-1\"") && !one.contains("shop/db-1"));
}

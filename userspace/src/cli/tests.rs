//! Command lines and what becomes of them.

use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;
use sidestep_abi::settings::OnFailure;
use sidestep_abi::verdict::Verdict;

use super::*;
use crate::config::{CaptureMode, Config, ConfigError, LogDestination};

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn run_args(line: &str) -> RunArgs {
    match parse(line).unwrap_or_else(|error| panic!("{error}")).command {
        Command::Run(args) => args,
        other => panic!("{other:?}"),
    }
}

fn file(text: &str) -> Config {
    Config::parse(Path::new("f.yaml"), text).expect("a configuration")
}

fn plan(line: &str, text: &str) -> Result<(Config, CommandLine), ConfigError> {
    run_args(line).into_plan(file(text))
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn everything_behind_the_dashes_belongs_to_the_command() {
    let (config, command) = plan("sidestep run -- curl --deny x -- y", "{}").expect("a plan");
    assert_eq!(command.program, "curl");
    assert_eq!(command.arguments, ["--deny", "x", "--", "y"]);
    assert!(config.outbound.rules.list.is_empty());
}

#[test]
fn flags_win_over_the_file() {
    let text = "capture: { mode: none, on-failure: closed }\noutbound: { default: proxy, deny-with: not-permitted }\n\
                access-log: { path: /tmp/a, format: json }\n";
    let line = "sidestep run --capture iptables --on-failure open --default deny --access-log - -- true";
    let (config, _) = plan(line, text).expect("a plan");
    assert_eq!(config.capture.mode, CaptureMode::Iptables);
    assert_eq!(config.capture.on_failure, OnFailure::Open);
    assert_eq!(config.outbound.rules.default, Verdict::Deny);
    assert_eq!(config.outbound.deny_with, crate::policy::DenyWith::NotPermitted);
    let log = config.access_log.expect("a log");
    assert_eq!((log.destination, log.format), (LogDestination::Stdout, crate::config::LogFormat::Json));
}

#[test]
fn without_flags_the_file_stays_as_it_is() {
    let text = "capture: { mode: none }\noutbound: { default: deny, rules: [ { proxy: 10.0.0.0/8 } ] }\n\
                inbound: { ports: none }\naccess-log: {}\n";
    assert_eq!(plan("sidestep run -- true", text).expect("a plan").0, file(text));
}

#[test]
fn rules_from_flags_stand_in_front_of_those_of_the_file() {
    let line = "sidestep run --proxy 10.1.0.0/16 --deny 10.0.0.0/8:80 --deny [fd00::]/8:80 --direct 10.2.0.0/16 -- true";
    let (config, _) = plan(line, "outbound: { rules: [ { deny: 10.3.0.0/16 } ] }").expect("a plan");
    let rules = config.outbound.rules.list.iter();
    let rules: Vec<String> = rules.map(|rule| format!("{} {}", rule.verdict.word(), rule.target)).collect();
    assert_eq!(
        rules,
        [
            "deny 10.0.0.0/8:80",
            "deny [fd00::]/8:80",
            "direct 10.2.0.0/16",
            "proxy 10.1.0.0/16",
            "deny 10.3.0.0/16"
        ]
    );
}

#[test]
fn flags_that_contradict_each_other_or_the_file_are_named() {
    let error =
        plan("sidestep run --deny 10.0.0.0/8 --proxy 10.0.0.0/8 -- true", "{}").expect_err("both flags");
    let text = error.to_string();
    assert!(text.starts_with("--deny 10.0.0.0/8, --proxy 10.0.0.0/8: rules contradict each other"), "{text}");

    let rules = "outbound: { rules: [ { deny: 10.0.0.0/8 } ] }";
    let error = plan("sidestep run --direct 10.0.0.0/8 -- true", rules).expect_err("flag and file");
    let text = error.to_string();
    assert!(text.starts_with("--direct 10.0.0.0/8: rules contradict"), "{text}");
    assert!(text.ends_with("(the other is in the configuration file)"), "{text}");
}

#[test]
fn run_never_captures_inbound_connections() {
    let (config, _) = plan("sidestep run -- true", "inbound: { ports: all }").expect("a plan");
    assert!(config.inbound_ports().is_empty());
}

#[test]
fn wrong_usage_is_told_by_the_flag() {
    let check = |line: &str, kind, text: &str| {
        let error = parse(line).expect_err(line);
        assert_eq!(error.kind(), kind, "{line}");
        assert!(error.to_string().contains(text), "{line}: {error}");
        assert_eq!(error.exit_code(), 2, "{line}");
    };
    check("sidestep run", ErrorKind::MissingRequiredArgument, "CMD");
    check("sidestep run curl", ErrorKind::UnknownArgument, "curl");
    check("sidestep run --dney 10.0.0.0/8 -- true", ErrorKind::UnknownArgument, "--deny");
    check(
        "sidestep run --deny 10.0.0/8 -- true",
        ErrorKind::ValueValidation,
        "expected CIDR[:port[-port]], found \"10.0.0/8\"",
    );
    check("sidestep run --default drop -- true", ErrorKind::InvalidValue, "proxy, direct, deny");
    check("sidestep run --log loud -- true", ErrorKind::ValueValidation, "expected error, warn, info");
    check("sidestep sidecar", ErrorKind::MissingRequiredArgument, "--config");
    check("sidestep capture --config f", ErrorKind::MissingRequiredArgument, "--to-port");
    check("sidestep capture --config f --to-port 0", ErrorKind::ValueValidation, "--to-port");
    check("sidestep ca", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, "init");
    check("sidestep ca init --directory d", ErrorKind::MissingRequiredArgument, "--trust-domain");
    check(
        "sidestep ca init --directory d --trust-domain Cluster.Local",
        ErrorKind::ValueValidation,
        "lower-case letters",
    );
    check(
        "sidestep ca issue --directory d --out o --identity spiffe://td/web",
        ErrorKind::ValueValidation,
        "expected spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>",
    );
    check(
        "sidestep ca issue --directory d --out o --identity spiffe://td/ns/a/sa/b --lifetime 5s",
        ErrorKind::ValueValidation,
        "expected a time of 1m to 10years, such as 24h, found \"5s\"",
    );
    check("sidestep certs --admin localhost", ErrorKind::ValueValidation, "--admin");
    check("sidestep cleanup ../web", ErrorKind::ValueValidation, "expected a name");
}

#[test]
fn the_log_is_quiet_around_a_command_unless_asked() {
    let filter = |line: &str| parse(line).expect(line).log_filter().to_owned();
    assert_eq!(filter("sidestep run -- true"), "warn");
    assert_eq!(filter("sidestep check"), "info");
    assert_eq!(filter("sidestep run --log debug -- true"), "debug");
    assert_eq!(filter("sidestep --log info,sidestep::proxy=trace check"), "info,sidestep::proxy=trace");
}

#[test]
fn a_foreign_proxy_keeps_its_own_ports() {
    let capture = |line: &str| match parse(line).expect(line).command {
        Command::Capture(args) => args.configure(file("{}")),
        other => panic!("{other:?}"),
    };
    let line = "sidestep capture --config f --to-port 15001 --inbound-port 15006";
    let (config, proxy) = capture(line).expect("a plan");
    assert_eq!(proxy, ForeignProxy { outbound_port: 15001, inbound_port: Some(15006) });
    let ports = config.inbound_ports();
    assert!(ports.contains(80) && !ports.contains(15001) && !ports.contains(15006));

    let (config, proxy) = capture("sidestep capture --config f --to-port 15001").expect("a plan");
    assert_eq!(proxy.inbound_port, None);
    assert!(config.inbound_ports().is_empty());
    capture("sidestep capture --config f --to-port 1 --inbound-port 1").expect_err("one port for both");
}

#[test]
fn a_foreign_proxy_gets_no_identity_from_us() {
    let Command::Capture(args) = parse("sidestep capture --config f --to-port 1").expect("a line").command
    else {
        panic!("another command")
    };
    let error = args.configure(file("identity: { files: /run/certs }")).expect_err("an identity").to_string();
    assert!(error.starts_with("--to-port: expected a configuration without the section identity"), "{error}");
}

//! The published schemas (docs/schema) hold for what is printed, and know every field and every name of it.

// Helpers of tests fail by panicking; clippy's own exception covers test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};
use transect_path::*;
use transect_report::{Check, DOCTOR_SCHEMA, Doctor, Standing, map, to_json};

fn schema(name: &str) -> Value {
    let path = format!(
        "{}/../../docs/schema/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

/// The same schema, refusing fields that it does not name: a new field must be published with its schema.
fn strict(mut schema: Value) -> Value {
    fn close(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.values_mut().for_each(close);
                if fields.contains_key("properties") && fields.contains_key("required") {
                    fields.insert("additionalProperties".to_owned(), Value::Bool(false));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    close(&mut schema);
    schema
}

#[track_caller]
fn assert_valid(name: &str, value: &Value) {
    let validator = jsonschema::validator_for(&strict(schema(name))).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[track_caller]
fn assert_invalid(name: &str, value: &Value) {
    let validator = jsonschema::validator_for(&strict(schema(name))).unwrap();
    assert!(!validator.is_valid(value), "{value}");
}

/// One verdict with everything, one with nothing.
fn sample() -> Report {
    let edge = |text: &str| text.parse::<HostEdge>().unwrap();
    let bracket = || Some([edge("s/local_in/entered"), edge("s/local_in/left")]);
    let rule = || {
        Some(RuleRef {
            backend: RuleBackend::Nft,
            family: "inet".to_owned(),
            table: "t".to_owned(),
            chain: "c".to_owned(),
            number: Some(1),
            handle: Some(4),
            via: vec!["jump c".to_owned()],
            text: "drop".to_owned(),
        })
    };
    let setting = || {
        Some(Setting {
            kind: SettingKind::Sysctl,
            name: "net.ipv4.conf.all.rp_filter".to_owned(),
            value: "1".to_owned(),
        })
    };
    let nothing = Verdict::bare(Outcome::Undetermined, Symptom::NoPacketSeen);
    let everything = Verdict {
        outcome: Outcome::Lost,
        flow: Some(Flow {
            protocol: "tcp".to_owned(),
            client: "[fd00::1]:40122".to_owned(),
            server: "[fd00::2]:80".to_owned(),
        }),
        lost: Some(Lost {
            what: What::Syn,
            direction: Direction::ToServer,
            packets: 7,
        }),
        host: Some("s".to_owned()),
        point: Some(Point::LocalIn),
        between: bracket(),
        cause: Some(CauseId::NetfilterDrop),
        rule: rule(),
        setting: setting(),
        reached: vec![Reached {
            what: What::Syn,
            direction: Direction::ToServer,
            point: edge("s/tap_in/left"),
            meter: "s/capture/eth0".to_owned(),
        }],
        misled: vec![Misled {
            host: "c".to_owned(),
            believes: "a".to_owned(),
            truth: "b".to_owned(),
        }],
        recovered: vec![Recovered {
            what: What::Data,
            direction: Direction::ToClient,
            packets: 2,
            between: bracket(),
        }],
        evidence: vec![Evidence {
            meter: "s/rule".to_owned(),
            edge: Some(edge("s/local_in/entered")),
            lo: Some(7),
            hi: None,
            says: "x".to_owned(),
        }],
        against: vec![Contradiction {
            meter: "m".to_owned(),
            says: "x".to_owned(),
        }],
        unseen: vec![Unseen {
            meter: "c/*".to_owned(),
            why: "not collected".to_owned(),
        }],
        alternatives: vec![Alternative {
            cause: CauseId::XdpDrop,
            host: Some("s".to_owned()),
            point: Some(Point::Xdp),
            rule: rule(),
            setting: setting(),
            tell: "x".to_owned(),
        }],
        advice: vec!["x".to_owned()],
        next: Some("x".to_owned()),
        ..nothing.clone()
    };
    Report {
        schema: VERDICT_SCHEMA.to_owned(),
        hosts: vec!["c".to_owned(), "s".to_owned()],
        command: Some(CommandRun {
            argv: vec!["curl".to_owned()],
            status: Some(7),
        }),
        verdicts: vec![everything, nothing],
    }
}

fn as_value<T: serde::Serialize>(value: &T) -> Value {
    serde_json::from_str(&to_json(value).unwrap()).unwrap()
}

#[test]
fn verdicts_are_as_published() {
    assert_valid("transect.verdict.1", &as_value(&sample()));
}

#[test]
fn what_is_not_as_published_is_noticed() {
    let name = "transect.verdict.1";
    let valid = as_value(&sample());
    let change = |pointer: &str, to: Value| {
        let mut value = valid.clone();
        *value.pointer_mut(pointer).unwrap() = to;
        value
    };
    assert_invalid(name, &change("/verdicts/0/outcome", json!("dropped")));
    assert_invalid(
        name,
        &change("/verdicts/0/between", json!(["s/local_in/entered"])),
    );
    assert_invalid(
        name,
        &change("/verdicts/0/between/0", json!("s/nowhere/left")),
    );
    assert_invalid(name, &change("/verdicts/0/lost/packets", json!(-1)));
    assert_invalid(name, &change("/schema", json!("transect.verdict/2")));
    let mut missing = valid.clone();
    missing["verdicts"][0]
        .as_object_mut()
        .unwrap()
        .remove("rule");
    assert_invalid(name, &missing);
    let mut added = valid.clone();
    added["verdicts"][0]["news"] = json!(1);
    assert_invalid(name, &added);
}

#[test]
fn experiments_hold_verdicts_as_published() {
    let verdicts = as_value(&sample())["verdicts"].clone();
    let experiment = json!({
        "schema": "transect.lab/1",
        "experiments": [{
            "name": "seed-3.1", "passed": true, "expected": [{"outcome": "lost"}], "got": verdicts,
            "problems": [], "seconds": 1.5, "virtual_seconds": 134.7, "bundle": null, "counters": {"s": {"IpInReceives": 7}}
        }]
    });
    assert_valid("transect.lab.1", &experiment);
}

#[test]
fn the_map_is_as_published() {
    assert_valid("transect.map.1", &as_value(&map()));
}

#[test]
fn the_doctors_findings_are_as_published() {
    let check = |standing, gap: Option<&str>| Check {
        name: "tool.iptables-nft-save".to_owned(),
        standing,
        found: "x".to_owned(),
        without: gap.map(str::to_owned),
        advice: gap.map(str::to_owned),
    };
    let doctor = Doctor {
        schema: DOCTOR_SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        kernel: "6.18".to_owned(),
        live: true,
        checks: vec![
            check(Standing::Ok, None),
            check(Standing::Partly, Some("a")),
            check(Standing::Missing, Some("b")),
        ],
    };
    assert_valid("transect.doctor.1", &as_value(&doctor));
}

#[test]
fn closed_lists_are_complete() {
    fn ids<T: serde::Serialize>(all: &[T]) -> Value {
        as_value(&all)
    }
    let published = schema("transect.verdict.1")["$defs"].clone();
    assert_eq!(published["Outcome"]["enum"], ids(Outcome::ALL));
    assert_eq!(published["Symptom"]["enum"], ids(Symptom::ALL));
    assert_eq!(published["What"]["enum"], ids(What::ALL));
    assert_eq!(published["Direction"]["enum"], ids(Direction::ALL));
    assert_eq!(published["Certainty"]["enum"], ids(Certainty::ALL));
    assert_eq!(published["Point"]["enum"], ids(Point::ALL));
    assert_eq!(published["CauseId"]["enum"], ids(CauseId::ALL));
    assert_eq!(published["RuleBackend"]["enum"], ids(RuleBackend::ALL));
    assert_eq!(published["SettingKind"]["enum"], ids(SettingKind::ALL));
    for name in ["transect.lab.1", "transect.map.1"] {
        let other = schema(name)["$defs"].clone();
        for (definition, value) in other.as_object().unwrap() {
            assert_eq!(value, &published[definition], "{definition} in {name}");
        }
    }
}

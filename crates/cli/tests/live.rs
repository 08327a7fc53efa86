//! `why`, `collect` and `explain` on a real kernel: the loopback interface of a network namespace of the test's own, which
//! ends with the processes in it.

#![cfg(feature = "live")]
// Helpers of tests fail by panicking; clippy's own exception covers test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use snapbox::cmd::cargo_bin;

/// Whether namespaces can be made here. Where not, the test is skipped and says so; in CI that is a failure.
fn namespaces_are_permitted(test: &str) -> bool {
    let made = Command::new("unshare")
        .args(["--net", "true"])
        .stderr(Stdio::null())
        .status();
    let permitted = made.is_ok_and(|status| status.success());
    if !permitted {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "network namespaces must be permitted in CI"
        );
        eprintln!("skipped: {test}: network namespaces are not permitted (run as root)");
    }
    permitted
}

/// A shell in a new network namespace with its loopback up; `$TRANSECT` is the program.
fn in_namespace(script: &str, folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "sh", "-euc"])
        .arg(format!("ip link set lo up\n{script}"))
        .env("TRANSECT", cargo_bin!("transect"))
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// A TCP connection to a port of the loopback at which nobody listens.
const REFUSED: &str = "bash -c 'echo from-the-command; exec 3<>/dev/tcp/127.0.0.1/9'";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn verdicts(output: &Output) -> Value {
    let stdout = text(&output.stdout);
    assert_eq!(
        stdout.lines().count(),
        1,
        "{stdout}\n{}",
        text(&output.stderr)
    );
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_valid("transect.verdict.1", &report);
    report["verdicts"].clone()
}

#[track_caller]
fn assert_valid(name: &str, value: &Value) {
    let path = format!(
        "{}/../../docs/schema/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    if let Err(error) = jsonschema::validate(&schema, value) {
        panic!("{error} at {}", error.instance_path());
    }
}

#[test]
fn an_experiment_is_run_and_its_result_is_as_published() {
    if !namespaces_are_permitted("an_experiment_is_run") {
        return;
    }
    let output = Command::new(cargo_bin!("transect"))
        .args([
            "lab",
            "run",
            "--json",
            "--counters",
            "f7-no-listener.closed.ipv4",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_valid("transect.lab.1", &report);
    let experiment = &report["experiments"][0];
    assert_eq!(experiment["passed"], true);
    assert_eq!(experiment["got"][0]["cause"], "no_listener");
    assert!(experiment["counters"]["server"].is_object(), "{experiment}");
}

#[test]
fn both_worlds_are_compared_and_the_comparison_is_as_published() {
    if !namespaces_are_permitted("both_worlds_are_compared") {
        return;
    }
    let output = Command::new(cargo_bin!("transect"))
        .args([
            "lab",
            "compare",
            "--json",
            "--kernel-runs",
            "5",
            "f7-no-listener.closed",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_valid("transect.lab.compare.1", &report);
    let experiments = report["experiments"].as_array().unwrap();
    assert_eq!(report["summary"]["same"], experiments.len());
    assert_eq!(report["summary"]["verdicts"]["differing"], 0);
    for experiment in experiments {
        let counters = &experiment["hosts"]["server"]["counters"];
        let resets = &counters["TcpOutRsts"];
        assert_eq!(resets["kernel"], resets["model"], "{counters}");
    }
}

#[test]
fn a_refused_connection_is_named_and_the_commands_output_kept_apart() {
    if !namespaces_are_permitted("a_refused_connection") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script =
        format!("exec \"$TRANSECT\" why --json --exit-code --settle 200ms tcp port 9 -- {REFUSED}");
    let output = in_namespace(&script, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    let verdicts = verdicts(&output);
    assert_eq!(verdicts[0]["outcome"], "refused");
    assert_eq!(verdicts[0]["cause"], "no_listener");
    assert_eq!(verdicts[0]["point"], "socket_lookup");
    assert!(text(&output.stderr).contains("from-the-command"));
    assert!(text(&output.stderr).contains("Filter: tcp port 9"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn without_json_the_commands_output_goes_through() {
    if !namespaces_are_permitted("without_json") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = format!("exec \"$TRANSECT\" why --settle 200ms tcp port 9 -- {REFUSED}");
    let output = in_namespace(&script, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(stdout.starts_with("from-the-command\n"), "{stdout}");
    assert!(stdout.contains("\nREFUSED  1 SYN 127.0.0.1:"), "{stdout}");
}

#[test]
fn a_bundle_explains_to_what_why_said_byte_for_byte() {
    if !namespaces_are_permitted("a_bundle_explains") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "\"$TRANSECT\" why --json -o x.tar.zst --settle 200ms tcp port 9 -- {REFUSED} >why.json\n\
         \"$TRANSECT\" explain --json x.tar.zst >explained.json\n\
         mkdir unpacked && tar --zstd -xf x.tar.zst -C unpacked\n\
         \"$TRANSECT\" explain --json unpacked >folder.json\n\
         mkdir -p else/where && mv x.tar.zst else/where/renamed && mv unpacked else/\n\
         (cd else/where && exec \"$TRANSECT\" explain --json ./renamed) >moved.json\n\
         (cd else/unpacked && exec \"$TRANSECT\" explain --json .) >inside.json"
    );
    let output = in_namespace(&script, folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(read("why.json").contains("\"refused\""));
    assert_eq!(read("why.json"), read("explained.json"));
    for name in ["moved.json", "inside.json"] {
        assert_eq!(read("why.json"), read(name), "{name}");
    }
    assert_eq!(read("why.json"), read("folder.json"));
}

#[test]
fn an_interrupt_ends_the_observation_and_the_verdict_is_given() {
    if namespaces_are_permitted("an_interrupt") {
        ends_with_a_verdict("-INT");
    }
}

#[test]
fn a_request_to_terminate_ends_the_observation_and_the_verdict_is_given() {
    if namespaces_are_permitted("a_request_to_terminate") {
        ends_with_a_verdict("-TERM");
    }
}

/// Observes without an end, sends a signal, and expects a verdict and a good end.
fn ends_with_a_verdict(signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script = "exec \"$TRANSECT\" why --json tcp port 9";
    let mut child = in_namespace(script, folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It says when everything is watched; only then is there something to interrupt.
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("until ^C") {
        line.clear();
        assert_ne!(
            stderr.read_line(&mut line).unwrap(),
            0,
            "it ended too early"
        );
    }
    let interrupted = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let mut rest = Vec::new();
    stderr.read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&rest));
    assert_eq!(verdicts(&output)[0]["symptom"], "no_packet_seen");
}

#[test]
fn a_filter_that_does_not_compile_is_wrong_usage_with_libpcaps_reason() {
    let output = Command::new(cargo_bin!("transect"))
        .args(["why", "--for", "1s", "curl", "http://localhost/"])
        .output()
        .unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("does not compile"), "{stderr}");
    assert!(stderr.contains("-- COMMAND"), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_command_that_is_not_there_is_a_failure() {
    if !namespaces_are_permitted("a_command_that_is_not_there") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "exec \"$TRANSECT\" why --json tcp port 9 -- /no/such/program";
    let output = in_namespace(script, folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/no/such/program"));
    assert!(output.stdout.is_empty());
}

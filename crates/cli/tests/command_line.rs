//! The program as users meet it: help, wrong usage, exit statuses, JSON, closed pipes.

// Helpers of tests fail by panicking; clippy's own exception covers test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::{Command as Process, Stdio};

use snapbox::cmd::{Command, cargo_bin};
use snapbox::str;

fn transect() -> Command {
    Command::new(cargo_bin!("transect"))
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR")
        .env("TERM", "dumb")
}

#[test]
fn without_a_command_the_help_says_what_there_is() {
    transect().assert().code(2).stderr_eq(str![[r#"
Follows packets through every layer of a Linux host and finds the layer that lost them

Usage: transect [OPTIONS] <COMMAND>

Commands:
  why      Observe, then say where packets were lost and why
  collect  Only observe; write a bundle
  explain  Diagnose bundles, captures and dumps
  host     Attach a model host to a TUN or TAP device, in real time
  lab      Experiments: a fault made on purpose, and the verdict it must end in
  drill    Run packetdrill scripts against the model host or this machine's kernel
  map      The path, and which tool, counter, cause and disturbance lives where
  doctor   What can be observed here, what cannot, and what to do about it

Options:
  -v, --verbose...  Say more on standard error while working; twice for everything
  -h, --help        Print help
  -V, --version     Print version

Exit status: 0 answered, 1 failed, 2 wrong usage.

"#]]);
}

#[test]
fn every_command_has_a_help() {
    for command in [
        &["why"][..],
        &["collect"],
        &["explain"],
        &["lab"],
        &["lab", "list"],
        &["lab", "run"],
        &["lab", "compare"],
        &["host"],
        &["drill"],
        &["map"],
        &["doctor"],
    ] {
        let output = transect().args(command).arg("--help").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command:?}");
        assert!(
            help.contains(&format!("Usage: transect {}", command.join(" "))),
            "{help}"
        );
        for later in ["watch", "whatif", "allow-changes"] {
            assert!(!help.contains(later), "{command:?} offers {later}");
        }
    }
}

#[test]
fn a_time_without_its_unit() {
    transect()
        .args(["why", "--for", "10"])
        .assert()
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[r#"
error: invalid value '10' for '--for <TIME>': the unit is missing: write 10s for seconds; expected a number with its unit, such as 500ms, 10s, 2m or 1h

For more information, try '--help'.

"#]]);
}

#[test]
fn a_bundle_needs_a_name() {
    transect()
        .args(["collect", "tcp", "port", "80"])
        .assert()
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[r#"
error: the following required arguments were not provided:
  --output <FILE>

Usage: transect collect --output <FILE> <FILTER>... [-- <COMMAND>...]

For more information, try '--help'.

"#]]);
}

#[test]
fn explain_needs_something_to_explain() {
    let output = transect().arg("explain").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("PATH"));
}

/// The bundle that `make demo` explains where it may not make namespaces.
const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo/seed.tar.zst");

#[test]
fn a_bundle_is_explained_without_any_rights() {
    let output = transect()
        .args(["explain", "--json", "--exit-code", SEED])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_valid("transect.verdict.1", &text);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let verdict = &report["verdicts"][0];
    assert_eq!(verdict["outcome"], "lost");
    assert_eq!(verdict["host"], "server");
    assert_eq!(verdict["point"], "local_in");
    assert_eq!(verdict["cause"], "queue_without_reader");
    assert_eq!(verdict["lost"]["packets"], 5);

    transect().args(["explain", SEED]).assert().success();
}

#[test]
fn what_cannot_be_explained_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.pcap");
    std::fs::write(&path, "").unwrap();
    let output = transect().arg("explain").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("empty.pcap"), "{stderr}");

    // A damaged file among good ones is a warning, and the rest is diagnosed.
    let output = transect()
        .args(["explain", "--json", SEED])
        .arg(format!("server={}", path.display()))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(
        stderr.contains("warning: ") && stderr.contains("empty.pcap"),
        "{stderr}"
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("queue_without_reader"));
}

#[test]
fn inputs_that_contradict_each_other_are_wrong_usage() {
    let output = transect()
        .args(["explain", "network=x.pcap"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("\"network\" is no label"));
    let output = transect()
        .args(["explain", "a@nowhere=x.pcap"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("raw_tap"));
}

#[test]
fn the_map_is_one_json_object_on_one_line() {
    let output = transect().args(["map", "--json"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_valid("transect.map.1", &text);
}

#[test]
fn the_doctor_answers_whatever_is_missing() {
    let output = transect()
        .args(["doctor", "--json"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_valid(
        "transect.doctor.1",
        &String::from_utf8(output.stdout).unwrap(),
    );
    transect().arg("doctor").assert().success().stderr_eq("");
}

#[test]
fn there_are_no_colours_in_a_pipe() {
    let output = transect()
        .arg("map")
        .env("TERM", "xterm-256color")
        .output()
        .unwrap();
    assert!(!output.stdout.contains(&0x1b));
}

#[test]
fn columns_set_the_width() {
    let output = transect().arg("map").env("COLUMNS", "60").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.lines().all(|line| line.chars().count() <= 60),
        "{text}"
    );
}

#[test]
fn a_closed_pipe_is_quiet() {
    // The reader is gone before the first byte is written.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Process::new(cargo_bin!("transect"))
        .args(["map", "--json"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = Process::new(cargo_bin!("transect"))
        .args(["map", "--json"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("standard output"), "{stderr}");
}

#[track_caller]
fn assert_valid(name: &str, text: &str) {
    let path = format!(
        "{}/../../docs/schema/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    );
    let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let value = serde_json::from_str(text).unwrap();
    if let Err(error) = jsonschema::validate(&schema, &value) {
        panic!("{error} at {}", error.instance_path());
    }
}

/// Writes scripts into a folder; the program's answer about them, with the folder's name taken out.
fn drilled(arguments: &[&str], scripts: &[(&str, &str)]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in scripts {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let output = transect()
        .arg("drill")
        .arg(folder.path())
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let place = format!("{}/", folder.path().display());
    (output.status.code(), text.replace(&place, ""))
}

#[test]
fn a_script_that_cannot_be_read_is_told_with_its_line() {
    let (status, text) = drilled(
        &[],
        &[(
            "a.pkt",
            "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0 < Q 0:0(0) win 100\n",
        )],
    );
    assert_eq!(status, Some(1));
    snapbox::assert_data_eq!(
        text,
        str![[r#"
FAILED  a.pkt:2: expected TCP flags: letters of `FSRP.UEWA`, a digit for ACE, or `-` for none; found `Q 0:0(0) win 100`
0 of 1 passed in the model world

"#]]
    );
}

#[test]
fn a_packet_that_is_not_as_expected_is_shown_beside_the_script() {
    let script = "\
0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0 bind(3, ..., ...) = 0
+0 listen(3, 1) = 0
+.1 < S 0:0(0) win 1000 <mss 1000>
+0 > S. 0:0(0) ack 1 win 1 <mss 1460>
";
    let (status, text) = drilled(&[], &[("a.pkt", script)]);
    assert_eq!(status, Some(1));
    snapbox::assert_data_eq!(
        text,
        str![[r#"
FAILED  a.pkt:5: the window: expected 1, got 64240 (at [..] s)
  script packet: [..] > S. 0:0(0) ack 1 win 1 <mss 1460>
  actual packet: [..] > S. 0:0(0) ack 1 win 64240 <mss 1460>
0 of 1 passed in the model world

"#]]
    );
}

#[test]
fn drills_as_json_are_as_published() {
    let scripts = [
        ("a.pkt", "--dry_run\n--speed=1\n0 close(3) = 0\n"),
        ("b.pkt", "0 close("),
    ];
    let (status, text) = drilled(&["--json"], &scripts);
    assert_eq!(status, Some(1));
    assert_valid("transect.drill.1", &text);
    let (status, text) = drilled(&["--json"], &scripts[..1]);
    assert_eq!(status, Some(0));
    assert_valid("transect.drill.1", &text);
}

#[test]
fn a_folder_without_scripts_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for missing in [path, "/nowhere.pkt"] {
        let output = transect().args(["drill", missing]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{missing}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(missing));
    }
    transect().args(["drill", "-D", "X", path]).assert().code(2);
}

/// What only a build with the feature `live` does.
#[cfg(feature = "live")]
mod live {
    use super::*;

    #[test]
    fn two_hosts_with_one_label() {
        transect()
            .args(["why", "--netns", "web", "--netns", "web=pid:1"])
            .assert()
            .code(2)
            .stdout_eq("")
            .stderr_eq(str![[r#"
error: "web" and "web=pid:1" are both labelled "web": give one of them another label with LABEL=

For more information, try '--help'.

"#]]);
    }

    #[test]
    fn a_log_of_nobody() {
        let output = transect()
            .args(["why", "--netns", "web", "--log", "db=/var/log/x"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("observed: web"));
    }

    #[test]
    fn a_bundle_that_cannot_be_written_is_said_before_observing() {
        transect()
            .args(["collect", "-o", "/nonexistent/x.tar.zst", "--for", "1h"])
            .assert()
            .code(1)
            .stderr_eq("error: writing /nonexistent/x.tar.zst: there is no folder /nonexistent\n");
        transect()
            .args(["collect", "-o", "/tmp", "--for", "1h"])
            .assert()
            .code(2)
            .stderr_eq(str![[r#"
error: -o /tmp is a folder; write the name of a file, such as /tmp/incident.tar.zst

For more information, try '--help'.

"#]]);
    }

    #[test]
    fn an_experiment_that_is_not_there() {
        let output = transect()
            .args(["lab", "run", "no-such-experiment"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("transect lab list"));
    }

    #[test]
    fn lab_run_wants_names_or_all() {
        for wrong in [
            &["lab", "run"][..],
            &["lab", "run", "x", "--all"],
            &["lab", "run", "x", "--slow"],
        ] {
            assert_eq!(
                transect().args(wrong).output().unwrap().status.code(),
                Some(2),
                "{wrong:?}"
            );
        }
    }
}

/// What `make demo` shows wherever it runs.
#[test]
fn the_seeds_experiments_run_in_the_model_world_of_every_build() {
    let output = transect()
        .args(["lab", "run", "--world", "model", "--json"])
        .args([
            "seed-3.1-exact.legacy.ipv4",
            "seed-3.2-exact.legacy.ipv4",
            "seed-4.3-default-retries.legacy.ipv4",
        ])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let experiments = report["experiments"].as_array().unwrap();
    assert_eq!(experiments.len(), 3);
    for experiment in experiments {
        assert_eq!(experiment["passed"], true, "{experiment}");
        assert!(
            experiment["virtual_seconds"].as_f64() > Some(100.0),
            "{experiment}"
        );
    }
}

/// What a build without the feature `live` says.
#[cfg(not(feature = "live"))]
#[test]
fn commands_that_were_left_out_say_so() {
    let kernel_world = &["lab", "run", "healthy-plain"];
    for command in [&["why"][..], kernel_world, &["collect", "-o", "x"]] {
        let output = transect().args(command).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("feature \"live\""));
    }
}

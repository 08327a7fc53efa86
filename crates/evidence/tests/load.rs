//! Files in, evidence out: dumps of the real tools (`fixtures/make-tools`), folders, bundles, damaged and hostile input.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is the test's own message"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use transect_config::IpVersion;
use transect_config::rules::Counter;
use transect_evidence::bundle::{
    BundleWriter, FORMAT, FilterProgram, HostRecord, LogRecord, Manifest, Phase, RawFile,
    RawReading, pack,
};
use transect_evidence::counters::Counters;
use transect_evidence::{Evidence, Input, LoadError, LoadOptions, load};
use transect_path::{Point, RuleBackend, Timestamp, Unseen};

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tools")
}

fn explain(inputs: &[String]) -> Evidence {
    try_explain(inputs).unwrap()
}

fn try_explain(inputs: &[String]) -> Result<Evidence, LoadError> {
    let inputs: Vec<Input> = inputs.iter().map(|text| text.parse().unwrap()).collect();
    load(&inputs, &LoadOptions::default())
}

/// `server.before=…/before/NAME` and `server.after=…/after/NAME`.
fn before_and_after(name: &str) -> [String; 2] {
    ["before", "after"].map(|phase| format!("server.{phase}={}/{phase}/{name}", tools().display()))
}

fn problems(evidence: &Evidence) -> Vec<String> {
    evidence
        .problems
        .iter()
        .map(|problem| format!("{} {:?}: {}", problem.file, problem.offset, problem.message))
        .collect()
}

fn drops(evidence: &Evidence) -> Vec<Option<Counter>> {
    let host = evidence.host("server").unwrap();
    host.readings
        .iter()
        .map(|reading| {
            let rules = reading.rules.as_ref()?;
            let mut found = rules
                .rules()
                .filter(|(_, _, rule)| rule.text.contains("--dport 3306"));
            found.next().and_then(|(_, _, rule)| rule.counter)
        })
        .collect()
}

#[test]
fn dumps_before_and_after_become_two_readings() {
    let mut inputs = vec![format!("server={}/server.pcap", tools().display())];
    for name in [
        "proc-net-snmp",
        "proc-net-netstat",
        "ss-one-line.txt",
        "iptables-legacy-save.txt",
        "iptables-nft-save.txt",
        "nft.json",
        "nft.txt",
        "ip-link.json",
        "ip-route.json",
        "conntrack-S.txt",
        "tc-qdisc.json",
        "tc-filter-eth0-ingress.json",
        "ethtool-S-eth0.txt",
    ] {
        inputs.extend(before_and_after(name));
    }
    let evidence = explain(&inputs);
    assert_eq!(problems(&evidence), [""; 0]);
    let host = evidence.host("server").unwrap();
    let phases: Vec<Phase> = host.readings.iter().map(|reading| reading.phase).collect();
    assert_eq!(phases, [Phase::Before, Phase::After]);
    assert_eq!(host.captures.len(), 1);
    assert!(host.captures[0].ledger.conversations().count() >= 2);

    let delta = Counters::delta(&host.readings[0].counters, &host.readings[1].counters);
    assert_eq!(delta.get("TcpPassiveOpens"), Some(1));
    assert_eq!(delta.get("TcpExtListenDrops"), Some(0));
    assert!(delta.get("link.eth0.rx_packets").unwrap() >= 8);
    assert_eq!(delta.get("conntrack.insert_failed"), Some(0));
    assert_eq!(delta.get("qdisc.eth0.clsact.ffff:.drops"), Some(0));
    assert_eq!(
        drops(&evidence),
        [
            Some(Counter {
                packets: 0,
                bytes: 0
            }),
            Some(Counter {
                packets: 3,
                bytes: 180
            })
        ]
    );

    let last = host.last().unwrap();
    let rules = last.rules.as_ref().unwrap();
    let backends: Vec<RuleBackend> = rules.tables.iter().map(|table| table.backend).collect();
    assert!(backends.contains(&RuleBackend::IptablesLegacy));
    assert!(backends.contains(&RuleBackend::IptablesNft));
    assert!(backends.contains(&RuleBackend::Nft));
    let config = last.config.as_ref().unwrap();
    assert!(config.link("eth0").is_some());
    assert_eq!(config.routes(IpVersion::V6), None);
    assert!(
        config
            .routes(IpVersion::V4)
            .is_some_and(|routes| routes.len() > 4)
    );
    assert!(
        config
            .filters
            .as_ref()
            .is_some_and(|filters| filters.iter().all(|filter| filter.device == "eth0"))
    );
    let listening = last.sockets.as_ref().unwrap().iter();
    assert!(
        listening
            .map(|socket| socket.local.port)
            .any(|port| port == Some(80))
    );
}

#[test]
fn every_tool_tells_the_same_counters() {
    let growth = |names: &[&str]| -> Vec<Option<u64>> {
        let inputs: Vec<String> = names
            .iter()
            .flat_map(|name| before_and_after(name))
            .collect();
        let evidence = explain(&inputs);
        assert_eq!(problems(&evidence), [""; 0]);
        let host = evidence.host("server").unwrap();
        let delta = Counters::delta(&host.readings[0].counters, &host.readings[1].counters);
        [
            "TcpPassiveOpens",
            "TcpInSegs",
            "IpInReceives",
            "TcpExtListenDrops",
            "IpInAddrErrors",
        ]
        .iter()
        .map(|name| delta.get(name))
        .collect()
    };
    let truth = growth(&["proc-net-snmp", "proc-net-netstat"]);
    assert!(truth.iter().all(Option::is_some) && truth[0] == Some(1));
    for name in ["nstat.txt", "nstat-z.txt", "nstat.json", "netstat-s.txt"] {
        assert_eq!(growth(&[name]), truth, "{name}");
    }
}

#[test]
fn a_folder_is_walked_and_its_names_say_before_and_after() {
    let evidence = explain(&[format!("server={}", tools().display())]);
    let host = evidence.host("server").unwrap();
    assert_eq!(evidence.hosts.len(), 1);
    let phases: Vec<Phase> = host.readings.iter().map(|reading| reading.phase).collect();
    assert_eq!(phases, [Phase::Before, Phase::After]);
    assert_eq!(
        drops(&evidence)[1],
        Some(Counter {
            packets: 3,
            bytes: 180
        })
    );
    let config = host.last().unwrap().config.as_ref().unwrap();
    assert!(
        config
            .routes(IpVersion::V6)
            .is_some_and(|routes| !routes.is_empty())
    );
    assert!(config.addresses.is_some() && config.neighbors.is_some());
    assert!(!config.sysctls.values.is_empty() && config.features.contains_key("eth0"));
    // What there is twice in one folder (nstat as text and as JSON) is told, and nothing else is wrong.
    assert!(
        problems(&evidence)
            .iter()
            .all(|problem| problem.contains("the same of the same moment")),
        "{:#?}",
        problems(&evidence)
    );
}

#[test]
fn a_sosreport_is_one_moment_and_other_namespaces_are_other_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("sosreport-web1");
    let networking = root.join("sos_commands/networking");
    fs::create_dir_all(&networking).unwrap();
    fs::create_dir_all(root.join("proc/net")).unwrap();
    fs::create_dir_all(root.join("var/log")).unwrap();
    let after = tools().join("after");
    for (from, to) in [
        ("netstat-s.txt", "sos_commands/networking/netstat_-s"),
        ("ss-two-lines.txt", "sos_commands/networking/ss_-peaonmi"),
        (
            "netstat-an.txt",
            "sos_commands/networking/netstat_-W_-neopa",
        ),
        (
            "ip-route.txt",
            "sos_commands/networking/ip_route_show_table_all",
        ),
        (
            "ethtool-S-eth0.txt",
            "sos_commands/networking/ethtool_-S_eth0",
        ),
        (
            "ss-one-line.txt",
            "sos_commands/networking/ip_netns_exec_blue_ss_-peaonmi",
        ),
        ("proc-net-snmp", "proc/net/snmp"),
    ] {
        fs::copy(after.join(from), root.join(to)).unwrap();
    }
    fs::write(
        root.join("sos_commands/networking/brctl_show"),
        "what ever\n",
    )
    .unwrap();
    fs::write(root.join("var/log/messages"), "Nov 22 10:33:01 host x\n").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", root.join("passwd")).unwrap();

    let evidence = explain(&[root.display().to_string()]);
    assert_eq!(problems(&evidence), [""; 0]);
    let host = evidence.host("sosreport-web1").unwrap();
    assert_eq!((host.readings.len(), host.logs.len()), (1, 0));
    let reading = &host.readings[0];
    assert_eq!(reading.counters.get("TcpPassiveOpens"), Some(1));
    assert!(reading.counters.get("ethtool.eth0.peer_ifindex").is_some());
    let config = reading.config.as_ref().unwrap();
    assert!(config.routes(IpVersion::V4).is_some() && config.routes(IpVersion::V6).is_some());
    assert!(reading.sockets.is_some());
}

#[test]
fn a_folder_of_two_hosts_is_two_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("incident");
    fs::create_dir_all(root.join("server")).unwrap();
    fs::copy(tools().join("server.pcap"), root.join("client.pcap")).unwrap();
    fs::copy(tools().join("server.pcap"), root.join("server.pcap")).unwrap();
    for phase in ["before", "after"] {
        let from = tools().join(phase).join("nstat.txt");
        fs::copy(from, root.join(format!("client.nstat.{phase}"))).unwrap();
    }
    fs::copy(tools().join("after/nft.txt"), root.join("server/nft.txt")).unwrap();
    let evidence = explain(&[root.display().to_string()]);
    assert_eq!(problems(&evidence), [""; 0]);
    let hosts: Vec<_> = evidence
        .hosts
        .iter()
        .map(|host| {
            (
                host.label.as_str(),
                host.captures.len(),
                host.readings.len(),
            )
        })
        .collect();
    assert_eq!(hosts, [("client", 1, 2), ("server", 1, 1)]);
}

#[test]
fn the_order_in_which_a_folder_lists_its_files_does_not_matter() {
    let files = ["nstat.1", "nstat.2", "nstat.10", "a.nft", "b.ss", "c.txt"];
    let from = [
        "nstat.txt",
        "nstat.txt",
        "nstat.txt",
        "nft.txt",
        "ss-one-line.txt",
        "nstat-z.txt",
    ];
    let made = |order: &[usize]| {
        let folder = tempfile::tempdir().unwrap();
        for &index in order {
            let phase = if files[index] == "nstat.10" {
                "after"
            } else {
                "before"
            };
            fs::copy(
                tools().join(phase).join(from[index]),
                folder.path().join(files[index]),
            )
            .unwrap();
        }
        let evidence = explain(&[format!("server={}", folder.path().display())]);
        format!("{:?} {:?}", evidence.hosts[0].readings, evidence.problems)
    };
    let forwards = made(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(forwards, made(&[5, 4, 3, 2, 1, 0]));
    assert_eq!(forwards, made(&[3, 0, 5, 2, 4, 1]));
}

#[test]
fn a_capture_taken_elsewhere_says_where() {
    let pcap = tools().join("server.pcap");
    let evidence = explain(&[format!("server@raw_tap={}", pcap.display())]);
    assert_eq!(evidence.hosts[0].captures[0].point, Some(Point::RawTap));
    let error = try_explain(&[format!(
        "server@raw_tap={}/after/nft.txt",
        tools().display()
    )]);
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("is nft list ruleset, not a capture"),
        "{message}"
    );
}

#[test]
fn damaged_unknown_and_missing_files_are_told_and_the_rest_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        format!("server={}", path.display())
    };
    let pcap = fs::read(tools().join("server.pcap")).unwrap();
    let inputs = [
        write("cut.pcap", &pcap[..pcap.len() - 7]),
        write("letter.txt", b"Dear Sir or Madam,\n"),
        write("empty", b""),
        write("snmp", b"Tcp: InSegs OutSegs\nTcp: 5 x\n"),
        write("app.log", b"2026-11-22T10:33:01Z started\n"),
        format!("server={}/missing", folder.path().display()),
    ];
    let evidence = explain(&inputs);
    let told = problems(&evidence)
        .join("\n")
        .replace(&folder.path().display().to_string(), "DIR");
    insta::assert_snapshot!(told, @r#"
    DIR/letter.txt None: not a kind of file that is known; it begins with "Dear Sir or Madam,\n"; expected a capture (pcap, pcapng), a bundle, the output of nstat, netstat, ss, ip, tc, conntrack, ethtool, sysctl, iptables-save or nft, a file of /proc/net, or a log
    DIR/empty None: holds nothing
    DIR/missing None: cannot be opened: No such file or directory (os error 2)
    DIR/snmp Some(20): line 2: expected a number for TcpOutSegs, found "x"
    DIR/cut.pcap Some(2733): expected a pcap record, found the end of the file after 75 of 82 bytes
    "#);
    let host = evidence.host("server").unwrap();
    assert_eq!(host.captures.len(), 1);
    assert_eq!(host.readings[0].counters.get("TcpInSegs"), Some(5));
    assert_eq!(host.logs[0].lines.len(), 1);
}

#[test]
fn input_of_no_use_at_all_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter.txt");
    fs::write(&path, "Dear Sir or Madam,\n").unwrap();
    let error = try_explain(&[path.display().to_string()]).unwrap_err();
    assert!(matches!(&error, LoadError::Nothing(problems) if problems.len() == 1));
    assert!(error.to_string().starts_with("nothing to explain: "));
    let network = folder.path().join("network.pcap");
    fs::copy(tools().join("server.pcap"), &network).unwrap();
    let error = try_explain(&[network.display().to_string()]).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("\"network\" is no label for a host; name it: LABEL=PATH")
    );
}

/// A bundle with three readings of one host, made of the fixtures.
fn write_bundle(folder: &Path, label: &str) {
    let writer = BundleWriter::create(folder).unwrap();
    let mut host = writer.host(label).unwrap();
    fs::copy(tools().join("server.pcap"), host.capture_path()).unwrap();
    let file = |phase: &str, from: &str, name: &str| RawFile {
        name: name.to_owned(),
        bytes: fs::read(tools().join(phase).join(from)).unwrap(),
    };
    let full = |phase: &str| {
        [
            ("proc-net-snmp", "net/snmp"),
            ("proc-net-netstat", "net/netstat"),
            ("proc-net-dev", "net/dev"),
            ("ip-link.json", "ip/link.json"),
            ("ip-address.json", "ip/address.json"),
            ("ip-route.json", "ip/route.json"),
            ("ip-route6.json", "ip/route6.json"),
            ("ip-rule.json", "ip/rule.json"),
            ("ip-neighbor.json", "ip/neighbor.json"),
            ("tc-qdisc.json", "tc/qdisc.json"),
            ("nft.json", "nft/ruleset.json"),
            ("nft.txt", "nft/ruleset.txt"),
            ("iptables-nft-save.txt", "iptables/iptables-nft.txt"),
            ("iptables-legacy-save.txt", "iptables/iptables-legacy.txt"),
            ("ss-one-line.txt", "sockets.txt"),
            ("conntrack-S.txt", "conntrack/stats.txt"),
            ("sysctl.txt", "sysctl.txt"),
        ]
        .map(|(from, name)| file(phase, from, name))
        .to_vec()
    };
    let sample = |phase: &str| {
        [
            ("proc-net-snmp", "net/snmp"),
            ("ip-link.json", "ip/link.json"),
            ("nft.json", "nft/ruleset.json"),
            ("iptables-legacy-save.txt", "iptables/iptables-legacy.txt"),
        ]
        .map(|(from, name)| file(phase, from, name))
        .to_vec()
    };
    let mut write = |time: u64, phase: Phase, files: Vec<RawFile>| {
        let reading = RawReading {
            started: Timestamp(time),
            ended: Timestamp(time + 1),
            files,
            unseen: vec![Unseen {
                meter: "x".to_owned(),
                why: "y".to_owned(),
            }],
        };
        host.write_reading(phase, "a test", reading).unwrap();
    };
    write(10, Phase::Before, full("before"));
    write(20, Phase::Sample, sample("before"));
    write(25, Phase::Sample, sample("before"));
    write(30, Phase::Sample, sample("after"));
    write(40, Phase::After, full("after"));
    let record = LogRecord {
        path: "/var/log/access.log".to_owned(),
        offset: 0,
        rotated: false,
    };
    let line = b"10.77.0.2 - - [22/Nov/2026:10:33:01 +0000] \"GET / HTTP/1.1\" 200 3\n";
    host.write_log("access", &record, line).unwrap();
    writer
        .write_manifest(&Manifest {
            format: FORMAT.to_owned(),
            transect: "0.1.0".to_owned(),
            created: Timestamp(60),
            filter: Some("tcp port 3306".to_owned()),
            programs: vec![FilterProgram {
                link_type: 1,
                instructions: vec![(6, 0, 0, 262_144)],
            }],
            command: None,
            started: Timestamp(5),
            ended: Timestamp(50),
            hosts: vec![HostRecord {
                label: label.to_owned(),
                netns: None,
                kernel: Some("6.18.5".to_owned()),
                hostname: None,
                clock: "realtime".to_owned(),
                hz: None,
                unseen: Vec::new(),
            }],
        })
        .unwrap();
}

#[test]
fn a_bundle_gives_the_same_evidence_as_folder_and_as_archive() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    write_bundle(&bundle, "server");
    let archive = folder.path().join("b.tar.zst");
    pack(&bundle, &archive).unwrap();
    let from_folder = explain(&[bundle.display().to_string()]);
    let from_archive = explain(&[archive.display().to_string()]);
    // The ledger's hash tables print in no fixed order.
    let shown = |evidence: &Evidence| {
        let mut text = format!(
            "{:?} {:?} {:?}",
            evidence.filter, evidence.window, evidence.problems
        );
        for host in &evidence.hosts {
            text.push_str(&format!(
                "{} {:?} {:?} {:?}",
                host.label, host.readings, host.logs, host.unseen
            ));
            for capture in &host.captures {
                text.push_str(&capture.name);
                for conversation in capture.ledger.conversations() {
                    text.push_str(&format!("{conversation:?}"));
                }
            }
        }
        text
    };
    assert_eq!(shown(&from_folder), shown(&from_archive));

    let evidence = from_archive;
    assert_eq!(problems(&evidence), [""; 0]);
    assert_eq!(evidence.filter.as_deref(), Some("tcp port 3306"));
    assert_eq!(evidence.programs.len(), 1);
    assert_eq!(evidence.window, Some((Timestamp(5), Timestamp(50))));
    let host = evidence.host("server").unwrap();
    assert_eq!(host.kernel.as_deref(), Some("6.18.5"));
    assert_eq!(host.logs[0].lines[0].status, Some(200));
    assert_eq!(host.captures[0].name, "hosts/server/capture.pcapng");
    assert_eq!(host.readings.len(), 5);
    assert_eq!(host.readings[0].unseen.len(), 1);
}

#[test]
fn readings_share_what_did_not_change_and_carry_on_what_they_lack() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    write_bundle(&bundle, "server");
    let evidence = explain(&[bundle.display().to_string()]);
    let host = evidence.host("server").unwrap();
    let [first, quiet, still, moved, last] = &host.readings[..] else {
        panic!("five readings");
    };
    // A sample in which nothing moved is the reading before it, by memory too.
    fn same<T>(a: &Option<Arc<T>>, b: &Option<Arc<T>>) -> bool {
        Arc::ptr_eq(a.as_ref().unwrap(), b.as_ref().unwrap())
    }
    assert!(same(&first.config, &quiet.config));
    assert!(same(&quiet.rules, &still.rules) && same(&quiet.config, &still.config));
    // Statistics alone are no new configuration, but they are counters.
    assert!(same(&first.config, &moved.config));
    let delta = Counters::delta(&quiet.counters, &moved.counters);
    assert!(delta.get("link.eth0.rx_packets").unwrap() > 0);
    // The sample had no routes; they are those of the first.
    assert!(
        moved
            .config
            .as_ref()
            .unwrap()
            .routes(IpVersion::V4)
            .is_some()
    );
    // It had nft's JSON only, and keeps the words of the fuller reading.
    let words = |reading: &transect_evidence::Reading| -> Vec<String> {
        let rules = reading.rules.as_ref().unwrap();
        rules
            .rules()
            .map(|(_, _, rule)| rule.text.clone())
            .collect()
    };
    assert_eq!(words(first), words(moved));
    assert_eq!(words(first), words(last));
    assert_eq!(
        drops(&evidence)
            .into_iter()
            .map(|counter| counter.unwrap().packets)
            .collect::<Vec<_>>(),
        [0, 0, 0, 3, 3]
    );
    // What a sample does not read is not there.
    assert!(moved.sockets.is_none() && last.sockets.is_some());
    assert_eq!(moved.counters.get("TcpExtListenDrops"), None);
}

#[test]
fn bundles_of_two_hosts_are_one_body_of_evidence_unless_the_labels_collide() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    write_bundle(&a, "server");
    write_bundle(&b, "server");
    let (a, b) = (a.display().to_string(), b.display().to_string());
    let error = try_explain(&[a.clone(), b.clone()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "two bundles have a host \"server\"; name them apart: LABEL=PATH"
    );
    let evidence = explain(&[
        a,
        format!("other={b}"),
        format!("more={}/server.pcap", tools().display()),
    ]);
    let labels: Vec<&str> = evidence
        .hosts
        .iter()
        .map(|host| host.label.as_str())
        .collect();
    assert_eq!(labels, ["server", "other", "more"]);
    assert_eq!(problems(&evidence), [""; 0]);
}

#[test]
fn a_hostile_archive_touches_nothing_outside() {
    let folder = tempfile::tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, "hosts", folder.path())
        .unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(3);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "hosts/evil", &b"bad"[..])
        .unwrap();
    let nstat = fs::read(tools().join("after/nstat.txt")).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_size(nstat.len() as u64);
    builder
        .append_data(&mut header, "nstat.txt", &nstat[..])
        .unwrap();
    let path = folder.path().join("evil.tar");
    fs::write(&path, builder.into_inner().unwrap()).unwrap();
    let evidence = explain(&[path.display().to_string()]);
    assert_eq!(evidence.hosts[0].label, "evil");
    assert!(
        evidence.hosts[0].readings[0]
            .counters
            .get("IpInReceives")
            .is_some()
    );
    assert!(!folder.path().join("evil").exists());
    assert!(problems(&evidence)[0].contains("\"hosts\" is not a regular file"));
}

/// The fixtures' files, so that damage is done to something real.
fn fixtures() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["before", "after"]
        .iter()
        .flat_map(|phase| fs::read_dir(tools().join(phase)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.push(tools().join("server.pcap"));
    files.sort();
    files
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn damage_to_real_files_never_panics(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let fixtures = fixtures();
        let path = which.get(&fixtures);
        let mut bytes = fs::read(path).unwrap();
        prop_assume!(!bytes.is_empty());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let folder = tempfile::tempdir().unwrap();
        let name = path.file_name().unwrap();
        fs::write(folder.path().join(name), &bytes).unwrap();
        // Something else that is whole must be there all the same.
        fs::copy(tools().join("after/proc-net-snmp6"), folder.path().join("whole")).unwrap();
        let evidence = explain(&[format!("server={}", folder.path().display())]);
        let reading = evidence.host("server").unwrap().last().unwrap();
        prop_assert!(reading.counters.get("Ip6InReceives").is_some());
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn damage_to_a_bundle_never_panics(
        which in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        kept in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("bundle");
        write_bundle(&bundle, "server");
        let mut files = Vec::new();
        let mut folders = vec![bundle.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        let path = which.get(&files);
        let mut content = fs::read(path).unwrap();
        content.truncate(kept.index(content.len() + 1));
        content.extend(bytes);
        fs::write(path, content).unwrap();
        let evidence = explain(&[bundle.display().to_string()]);
        prop_assert!(evidence.hosts[0].readings.len() >= 4);
    }
}

#[test]
fn remarks_and_empty_lists_are_dumps_of_nothing_and_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let (remark, list) = (folder.path().join("save"), folder.path().join("list"));
    fs::write(
        &remark,
        "# Warning: iptables-legacy tables present, use iptables-legacy-save to see them\n",
    )
    .unwrap();
    fs::write(&list, "[ ]\n").unwrap();
    let [before, after] = before_and_after("nstat.txt");
    let evidence = explain(&[
        before,
        after,
        format!("server={}", remark.display()),
        format!("server={}", list.display()),
    ]);
    assert_eq!(problems(&evidence), Vec::<String>::new());
}

#[test]
fn what_is_given_as_a_log_and_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (capture, noise) = (folder.path().join("a.pcap"), folder.path().join("noise"));
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    bytes.resize(24, 0);
    fs::write(&capture, bytes).unwrap();
    fs::write(
        &noise,
        (0..4000_u32)
            .map(|i| (i * 97 % 251) as u8 | 0x80)
            .collect::<Vec<_>>(),
    )
    .unwrap();
    let [before, after] = before_and_after("nstat.txt");
    let mut inputs: Vec<Input> = vec![before.parse().unwrap(), after.parse().unwrap()];
    for path in [&capture, &noise] {
        inputs.push(Input::log(&format!("server={}", path.display())).unwrap());
    }
    let evidence = load(&inputs, &LoadOptions::default()).unwrap();
    assert!(evidence.hosts[0].logs.is_empty());
    let told = problems(&evidence);
    assert!(told[0].ends_with("is a capture, not a log"), "{told:?}");
    assert!(told[1].contains("expected the lines of a log"), "{told:?}");
}

#[test]
fn what_stops_everything_is_told_with_its_offset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pcap");
    fs::write(&path, [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]).unwrap();
    let error = try_explain(&[path.display().to_string()]).unwrap_err();
    assert!(
        error.to_string().contains("a.pcap, at byte 0: expected"),
        "{error}"
    );
}

#[test]
fn captures_called_after_interfaces_are_the_folders_own() {
    let header = [
        &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..],
        &[0; 8],
        &[0, 0, 4, 0, 1, 0, 0, 0],
    ]
    .concat();
    let labels = |names: &[&str]| -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("box");
        fs::create_dir(&root).unwrap();
        for name in names {
            fs::write(root.join(name), &header).unwrap();
        }
        let evidence = explain(&[root.display().to_string()]);
        evidence.hosts.into_iter().map(|host| host.label).collect()
    };
    assert_eq!(labels(&["any.pcap", "enp0s3.pcap", "eth1.pcap"]), ["box"]);
    assert_eq!(
        labels(&["client.pcap", "server.pcap"]),
        ["client", "server"]
    );
    assert_eq!(labels(&["brave.pcap", "eth.pcap"]), ["brave", "eth"]);
}

#[test]
fn a_bundle_that_was_cut_off_or_lost_its_manifest_is_still_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    write_bundle(&bundle, "server");
    let archive = folder.path().join("b.tar.zst");
    pack(&bundle, &archive).unwrap();
    // The manifest comes first, so that it is there when the end is missing.
    let whole = zstd::decode_all(&fs::read(&archive).unwrap()[..]).unwrap();
    assert!(whole.starts_with(b"manifest.json\0"));
    let cut = folder.path().join("cut.tar");
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let evidence = explain(&[cut.display().to_string()]);
    assert!(evidence.window.is_some());
    assert_eq!(evidence.hosts[0].label, "server");
    assert!(!evidence.problems.is_empty());

    let readings = |evidence: &Evidence| evidence.host("server").unwrap().readings.len();
    let known = readings(&explain(&[bundle.display().to_string()]));
    fs::remove_file(bundle.join("manifest.json")).unwrap();
    let evidence = explain(&[bundle.display().to_string()]);
    assert_eq!(readings(&evidence), known);
    let told = problems(&evidence);
    assert!(
        told.iter().any(|told| told.starts_with("manifest.json")),
        "{told:?}"
    );
}

//! `host`: a model host at a TUN or TAP device.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use transect_collect::{HostPlan, StopSignal, in_namespace};
use transect_config::IpVersion;
use transect_config::rules::{
    Family, Reading, RuleSet, read_iptables_save, read_nft_json, read_nft_text,
};
use transect_lab::{AttachKind, AttachPlan, Conditions, ErrandPlan, HostReport};
use transect_path::RuleBackend;
use transect_report::{clean, to_json};

use crate::args::{HostArgs, Share, Span};
use crate::error::Failure;
use crate::plan::failure;
use crate::{ANSWERED, FAILED, output};

/// `transect host`.
pub(crate) fn host(args: &HostArgs) -> Result<u8, Failure> {
    let plan = plan(args)?;
    let place = match &args.netns {
        Some(text) => HostPlan::parse(text).map_err(failure)?,
        None => HostPlan::current(),
    };
    let stop = StopSignal::on_signals().map_err(failure)?;
    let namespace = Arc::new(place.namespace.open().map_err(failure)?);
    let (name, kind) = (plan.device.clone(), plan.kind);
    // The device belongs to the namespace of the thread that opens it; the descriptor works everywhere.
    let device = in_namespace(&namespace, move || Ok(open(&name, kind)))
        .map_err(failure)?
        .map_err(|error| unopened(&plan.device, &error))?;
    tracing::info!("{} is attached", clean(&plan.device));
    let report = transect_lab::attach(&plan, device, &stop).map_err(anyhow::Error::from)?;
    if args.json {
        output::answer(&to_json(&report).context("writing the report as JSON")?)?;
    } else {
        output::answer(&text(&report))?;
    }
    Ok(if report.succeeded() { ANSWERED } else { FAILED })
}

/// How long the kernel may take to send by a device that was taken over.
const CARRIER: Duration = Duration::from_secs(1);

fn open(name: &str, kind: AttachKind) -> io::Result<File> {
    let device = match kind {
        AttachKind::Tun => transect_sys::open_tun(name, false),
        AttachKind::Tap => transect_sys::open_tap(name),
    }?;
    transect_sys::await_carrier(name, CARRIER)?;
    Ok(device)
}

fn unopened(name: &str, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => ": it needs CAP_NET_ADMIN: run as root",
        io::ErrorKind::NotFound => ": the kernel has no /dev/net/tun (module tun)",
        io::ErrorKind::ResourceBusy => ": somebody else is attached to it",
        io::ErrorKind::InvalidInput => {
            ": expected a name of at most 15 bytes, of no device or of a TUN or TAP device of this kind"
        }
        _ => "",
    };
    Failure::failed(format!("attaching to the device {name}: {error}{advice}"))
}

/// Each line without control characters: names of files and answers of peers stand in it.
fn text(report: &HostReport) -> String {
    let lines: Vec<String> = report
        .text()
        .lines()
        .map(|line| clean(line).to_string())
        .collect();
    lines.join("\n")
}

fn plan(args: &HostArgs) -> Result<AttachPlan, Failure> {
    let (device, kind) = match (&args.tun, &args.tap) {
        (Some(name), _) => (name, AttachKind::Tun),
        (None, Some(name)) => (name, AttachKind::Tap),
        (None, None) => return Err(Failure::usage("--tun NAME or --tap NAME is needed")),
    };
    let services = args.serve.iter().map(|text| {
        text.parse()
            .map_err(|error| Failure::Usage(format!("--serve {text}: {error}")))
    });
    Ok(AttachPlan {
        device: device.clone(),
        kind,
        addresses: args
            .address
            .iter()
            .map(|text| address(text))
            .collect::<Result<_, _>>()?,
        gateways: args.gateway.clone(),
        mtu: args.mtu,
        sysctls: args
            .sysctl
            .iter()
            .map(|text| sysctl(text))
            .collect::<Result<_, _>>()?,
        rules: args
            .rules
            .as_deref()
            .map(rules)
            .transpose()?
            .unwrap_or_default(),
        capture: args.capture.clone(),
        seed: args.seed,
        conditions: conditions(args)?,
        services: services.collect::<Result<_, _>>()?,
        errands: errand(args).into_iter().collect(),
        duration: args.duration.map(|span| span.0),
    })
}

fn address(text: &str) -> Result<(IpAddr, u8), Failure> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let length: u8 = length.parse().ok()?;
        (length <= IpVersion::of(address).bits()).then_some((address, length))
    });
    parsed.ok_or_else(|| {
        Failure::Usage(format!(
            "--address {text}: expected an address with its prefix length, such as 10.9.0.2/24"
        ))
    })
}

fn sysctl(text: &str) -> Result<(String, String), Failure> {
    let (name, value) = text.split_once('=').ok_or_else(|| {
        Failure::Usage(format!(
            "--sysctl {text}: expected NAME=VALUE, such as net.ipv4.tcp_sack=0"
        ))
    })?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn conditions(args: &HostArgs) -> Result<Conditions, Failure> {
    let share = |share: Option<Share>| {
        share
            .map(|share| transect_lab::Share::try_from(f64::from(share.0) / 1e6))
            .transpose()
            .map_err(Failure::usage)
    };
    Ok(Conditions {
        delay: args.delay.map(|Span(delay)| transect_lab::Span(delay)),
        loss: share(args.loss)?,
        reorder: share(args.reorder)?,
        duplication: share(args.duplicate)?,
        corruption: share(args.corrupt)?,
        ..Conditions::default()
    })
}

fn errand(args: &HostArgs) -> Option<ErrandPlan> {
    if let Some(url) = &args.fetch {
        return Some(ErrandPlan::Fetch {
            url: url.clone(),
            output: args.output.clone(),
            times: args.times,
        });
    }
    if let Some(to) = &args.iperf3 {
        return Some(ErrandPlan::Iperf3 {
            to: to.clone(),
            reverse: args.reverse,
            seconds: args.seconds,
        });
    }
    if let Some([to, statement]) = args.mysql.as_deref() {
        return Some(ErrandPlan::Mysql {
            to: to.clone(),
            statement: statement.clone(),
        });
    }
    match args.send.as_deref() {
        Some([to, file]) => Some(ErrandPlan::Send {
            to: to.clone(),
            file: file.into(),
            output: args.output.clone(),
        }),
        _ => None,
    }
}

/// Reads rules of any of the three forms. What is not understood is an error: a host without one of its rules is another host.
fn rules(path: &Path) -> Result<RuleSet, Failure> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let reading = if text.trim_start().starts_with('{') {
        read_nft_json(&text).unwrap_or_else(|complaint| Reading {
            complaints: vec![complaint],
            ..Reading::default()
        })
    } else if text.lines().any(|line| line.starts_with('*')) {
        read_iptables_save(&text, Family::Ip, RuleBackend::IptablesNft)
    } else {
        read_nft_text(&text)
    };
    match reading.complaints.first() {
        None => Ok(reading.rule_set),
        Some(complaint) => Err(Failure::failed(format!(
            "{}, line {}: expected {}, found \"{}\"",
            path.display(),
            complaint.line,
            complaint.expected,
            complaint.found
        ))),
    }
}

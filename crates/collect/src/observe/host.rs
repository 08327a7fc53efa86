//! One host of an observation: its capture, its readings, its logs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use transect_evidence::bundle::{HostRecord, HostWriter};
use transect_path::Unseen;

use super::HostSummary;
use super::log::LogWatch;
use super::sampler::{Sampled, Sampler};
use crate::capture::RunningCapture;
use crate::{CaptureOptions, Error, Filter, HostPlan, Namespace, NamespaceRef};

/// One host that is observed.
#[derive(Debug)]
pub(super) struct HostObservation {
    plan: HostPlan,
    namespace: Arc<Namespace>,
    /// For the readings' thread, until that is started.
    writer: Option<HostWriter>,
    sampler: Option<Sampler>,
    capture: RunningCapture,
    interfaces: Vec<String>,
    logs: Vec<LogWatch>,
}

/// What one host's part of the bundle holds.
#[derive(Debug)]
pub(super) struct HostResult {
    plan: HostPlan,
    pub(super) summary: HostSummary,
}

impl HostObservation {
    /// Starts the capture, without waiting for it.
    pub(super) fn start(
        plan: &HostPlan,
        namespace: Arc<Namespace>,
        filter: &Arc<Filter>,
        options: CaptureOptions,
        writer: HostWriter,
    ) -> Result<Self, Error> {
        let path = writer.capture_path();
        let capture = RunningCapture::start(&namespace, Arc::clone(filter), options, path)?;
        Ok(HostObservation {
            plan: plan.clone(),
            namespace,
            writer: Some(writer),
            sampler: None,
            capture,
            interfaces: Vec::new(),
            logs: Vec::new(),
        })
    }

    pub(super) fn add_log(&mut self, log: LogWatch) {
        self.logs.push(log);
    }

    pub(super) fn label(&self) -> &str {
        &self.plan.label
    }

    /// The interfaces that were captured from the start.
    pub(super) fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    pub(super) fn captures_ready(&mut self) -> Result<(), Error> {
        self.interfaces = self.capture.ready()?;
        Ok(())
    }

    /// Starts the readings, without waiting for the first one.
    pub(super) fn start_readings(&mut self, interval: Duration) -> Result<(), Error> {
        if let Some(writer) = self.writer.take() {
            self.sampler = Some(Sampler::start(&self.namespace, writer, interval)?);
        }
        Ok(())
    }

    pub(super) fn readings_ready(&mut self) -> Result<(), Error> {
        match &mut self.sampler {
            Some(sampler) => sampler.ready(),
            None => Ok(()),
        }
    }

    pub(super) fn ask_for_last_reading(&self) {
        if let Some(sampler) = &self.sampler {
            sampler.ask_to_end();
        }
    }

    /// Waits for the last reading.
    pub(super) fn finish_readings(&mut self) -> Result<Sampled, Error> {
        match self.sampler.take() {
            Some(sampler) => sampler.finish(),
            None => Err(Error::Stopped),
        }
    }

    pub(super) fn ask_capture_to_end(&self) {
        self.capture.ask_to_end();
    }

    /// Completes the capture and writes the logs.
    pub(super) fn finish(self, sampled: Sampled) -> Result<HostResult, Error> {
        let capture = self.capture.finish()?;
        let mut unseen = capture.unseen.clone();
        unseen.extend(sampled.unseen);
        write_logs(&sampled.writer, self.logs, &mut unseen)?;
        Ok(HostResult {
            summary: HostSummary {
                label: self.plan.label.clone(),
                capture,
                readings: sampled.readings,
                unseen,
            },
            plan: self.plan,
        })
    }

    /// The host's record while the observation goes on.
    pub(super) fn record(&self) -> HostRecord {
        record(&self.plan, Vec::new())
    }
}

impl HostResult {
    /// The host's record when the observation is over.
    pub(super) fn record(&self) -> HostRecord {
        record(&self.plan, self.summary.unseen.clone())
    }
}

fn record(plan: &HostPlan, unseen: Vec<Unseen>) -> HostRecord {
    let system = rustix::system::uname();
    let kernel = system.release().to_string_lossy().into_owned();
    let netns = match &plan.namespace {
        NamespaceRef::Current => None,
        named => Some(named.to_string()),
    };
    HostRecord {
        label: plan.label.clone(),
        netns,
        hz: timer_frequency(&kernel),
        kernel: Some(kernel),
        hostname: Some(system.nodename().to_string_lossy().into_owned()),
        clock: "realtime".to_owned(),
        unseen,
    }
}

/// The kernel's timer frequency, from the configuration that it was built with (where distributions put it).
fn timer_frequency(kernel: &str) -> Option<u32> {
    let beside = std::fs::read_to_string(format!("/boot/config-{kernel}")).ok();
    let text = beside.or_else(|| {
        use std::io::Read;
        let mut text = String::new();
        let packed = std::fs::File::open("/proc/config.gz").ok()?;
        let limit = 4 << 20;
        let unpacked = flate2::read::GzDecoder::new(packed);
        unpacked.take(limit).read_to_string(&mut text).ok()?;
        Some(text)
    })?;
    frequency_in(&text)
}

fn frequency_in(config: &str) -> Option<u32> {
    let line = |line: &str| line.strip_prefix("CONFIG_HZ=")?.trim().parse().ok();
    config.lines().find_map(line)
}

fn write_logs(
    writer: &HostWriter,
    logs: Vec<LogWatch>,
    unseen: &mut Vec<Unseen>,
) -> Result<(), Error> {
    let mut names: Vec<String> = Vec::new();
    for log in logs {
        let part = log.end();
        let path = Path::new(&part.record.path);
        let stem = path.file_stem().unwrap_or(path.as_os_str());
        let stem = stem.to_string_lossy().into_owned();
        let mut name = stem.clone();
        let mut number = 1_u32;
        while names.contains(&name) {
            number = number.saturating_add(1);
            name = format!("{stem}-{number}");
        }
        writer.write_log(&name, &part.record, &part.bytes)?;
        if let Some(why) = part.missing {
            unseen.push(Unseen {
                meter: format!("log/{name}"),
                why,
            });
        }
        names.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_frequency_is_read_from_the_configuration() {
        let config = "# CONFIG_HZ_100 is not set\nCONFIG_HZ_250=y\nCONFIG_HZ=250\n";
        assert_eq!(frequency_in(config), Some(250));
        assert_eq!(frequency_in("CONFIG_HZ=many\n"), None);
        assert_eq!(frequency_in(""), None);
    }
}

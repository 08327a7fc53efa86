//! What is attached: the host, its device, its programs.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use transect_config::rules::RuleSet;

use super::{ErrandPlan, ServicePlan};
use crate::scenario::Conditions;

/// What kind of device the host is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachKind {
    /// IP packets; there is no link layer, and nothing is resolved.
    Tun,
    /// Ethernet frames; the host resolves its neighbours and answers who asks for it.
    Tap,
}

/// A host at a device, and what it does.
#[derive(Debug, Clone)]
pub struct AttachPlan {
    /// The device's name, which is also that of the host's own interface.
    pub device: String,
    /// Its kind.
    pub kind: AttachKind,
    /// The host's addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Its default routes, at most one for each family.
    pub gateways: Vec<IpAddr>,
    /// The interface's MTU, bytes.
    pub mtu: u32,
    /// Settings, by name.
    pub sysctls: Vec<(String, String)>,
    /// Netfilter's rules.
    pub rules: RuleSet,
    /// Where to write what the host's interface sees.
    pub capture: Option<PathBuf>,
    /// From which everything is drawn that is random: of the host, and of the wire.
    pub seed: u64,
    /// What the wire between host and device does, in each direction.
    pub conditions: Conditions,
    /// Servers.
    pub services: Vec<ServicePlan>,
    /// Clients.
    pub errands: Vec<ErrandPlan>,
    /// How long it runs; without end where nothing is said.
    pub duration: Option<Duration>,
}

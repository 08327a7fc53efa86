//! The host, its device and its routes, as the kernel's namespace has them.

use transect_config::{HostConfig, IpVersion};
use transect_host::namespace::{self, RouteChange};
use transect_host::{DeviceId, DeviceKind, DeviceSetup, Features, Host, HostSetup};
use transect_path::Timestamp;

use super::super::WorldError;
use crate::options::Options;

/// The device's name.
pub(super) const NAME: &str = "tun0";
/// `CONFIG_HZ`, as of the kernel that the model was measured against.
pub(super) const HZ: u32 = 250;
/// Everything that the host draws at random comes from it: the same script gives the same run.
const SEED: u64 = 0x7061_636b_6574;

/// Makes the host.
pub(super) fn host(options: &Options, boot: Timestamp) -> Result<(Host, DeviceId), WorldError> {
    let host = Host::new(HostSetup {
        number: 0,
        config: configuration(options)?,
        rules: transect_config::rules::RuleSet::default(),
        devices: vec![DeviceSetup {
            name: NAME.to_owned(),
            kind: DeviceKind::Tun,
            // A TUN device without TUNSETOFFLOAD: the stack makes large packets, and cuts them before the driver.
            features: Features {
                gso: true,
                ..Features::NONE
            },
        }],
        seed: SEED,
        hz: HZ,
        boot,
        journeys: false,
    })
    .map_err(WorldError::doing("making the model host"))?;
    let device = host
        .device(NAME)
        .ok_or_else(|| WorldError(format!("the model host has no interface {NAME}")))?;
    Ok((host, device))
}

fn configuration(options: &Options) -> Result<HostConfig, WorldError> {
    let mut config = namespace::new_host();
    namespace::add_tun(&mut config, NAME, options.mtu);
    for name in ["all", "default"] {
        // The address is usable at once (`nodad`).
        let name = format!("net.ipv6.conf.{name}.accept_dad");
        config.sysctls.values.insert(name, "0".to_owned());
    }
    namespace::add_address(&mut config, NAME, options.local_ip, options.prefix);
    let version = IpVersion::of(options.local_ip);
    let route = format!("default dev {NAME}");
    namespace::change_route(&mut config, version, RouteChange::Add, &route)
        .map_err(WorldError::doing("the default route"))?;
    Ok(config)
}

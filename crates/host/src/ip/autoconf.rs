//! What IPv6 does by itself where a link comes up (net/ipv6/addrconf.c): duplicate address detection (RFC 4862 section 5.4, RFC
//! 7527), and the search for routers (RFC 4861 section 6.3.7, RFC 7559).

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use transect_config::{Address, HostConfig, IpVersion, Link};
use transect_path::Timestamp;

use super::group::ALL_ROUTERS;
use crate::device::{DeviceId, DeviceKind};
use crate::host::Host;
use crate::link::solicited_node;
use crate::stack::{Stack, TimerOwner};

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Autoconf {
    /// Whether links come up at a moment that somebody told; else they came up long ago.
    follows: bool,
    /// Addresses that nobody may have yet.
    tentative: Vec<Tentative>,
    /// Devices that look for a router: how often they have asked, and how long they wait, in milliseconds.
    searches: Vec<(DeviceId, u64, u64)>,
}

/// An address under duplicate address detection.
#[derive(Debug)]
struct Tentative {
    device: DeviceId,
    address: Ipv6Addr,
    /// Questions still to be asked (`dad_probes`).
    left: u64,
    /// What tells its questions from those of others (RFC 7527).
    nonce: [u8; 6],
}

impl Host {
    /// The links come up, now: addresses are checked, groups are reported, routers are looked for. A host of which this is
    /// never said came up long ago.
    pub fn come_up(&mut self, now: Timestamp) {
        self.begin(now);
        self.stack.ip.autoconf.follows = true;
        for id in self.stack.link.device_ids() {
            self.stack.device_came_up(id);
        }
        self.run();
    }
}

impl Stack {
    /// The configuration has changed: what was not there before begins now.
    pub(crate) fn addresses_changed(&mut self, before: &HostConfig) {
        if !self.ip.autoconf.follows {
            return;
        }
        for id in self.link.device_ids() {
            let name = self.device_name(id);
            let was_up = before.link(name).is_some_and(Link::is_up);
            let is_up = self.config.link(name).is_some_and(Link::is_up);
            if is_up && !was_up {
                self.device_came_up(id);
            } else if was_up && !is_up {
                self.device_went_down(id);
            } else if is_up {
                let had = addresses_in(before, name);
                let has = addresses_in(&self.config, name);
                for address in has.iter().filter(|address| !had.contains(address)) {
                    self.start_address(id, *address);
                }
                for gone in had.iter().filter(|address| !has.contains(address)) {
                    self.leave_group(id, solicited_node(*gone));
                }
            }
        }
    }

    /// Forwarding was switched on or off (`dev_forward_change`): routers listen to what is for all routers.
    pub(crate) fn forwarding_changed(&mut self) {
        if !self.ip.autoconf.follows {
            return;
        }
        for id in self.link.device_ids() {
            let forwarding = self.ipv6_setting(id, "forwarding") != 0;
            self.join_routers(id, forwarding, true);
        }
    }

    /// `addrconf_ifdown`.
    fn device_went_down(&mut self, device: DeviceId) {
        for address in self.ipv6_addresses(device) {
            self.timers.set(TimerOwner::Address(device, address), None);
        }
        let autoconf = &mut self.ip.autoconf;
        autoconf.tentative.retain(|one| one.device != device);
        autoconf.searches.retain(|(known, ..)| *known != device);
        for owner in [
            TimerOwner::Groups(device),
            TimerOwner::InitialReports(device),
            TimerOwner::Routers(device),
        ] {
            self.timers.set(owner, None);
        }
        self.leave_all_groups(device);
    }

    /// `addrconf_notify` for NETDEV_UP.
    pub(crate) fn device_came_up(&mut self, device: DeviceId) {
        if !self.configures_itself(device) {
            return;
        }
        if self.ipv6_setting(device, "forwarding") != 0 {
            self.join_routers(device, true, false);
        }
        for address in self.ipv6_addresses(device) {
            self.start_address(device, address);
        }
    }

    /// An address is new on its device (`addrconf_dad_start`, `addrconf_dad_begin`).
    pub(crate) fn start_address(&mut self, device: DeviceId, address: Ipv6Addr) {
        if !self.configures_itself(device) {
            return;
        }
        self.join_group(device, solicited_node(address));
        let accept = |interface| {
            let sysctls = &self.config.sysctls;
            sysctls
                .of_interface(IpVersion::V6, interface, "accept_dad")
                .unwrap_or(1)
        };
        let off = accept("all") < 1 && accept(self.device_name(device)) < 1;
        let own = self.own_address(device, address);
        if off || own.is_some_and(|own| own.has_flag("nodad")) {
            self.address_is_unique(device, address);
            return;
        }
        self.set_address_flag(device, address, "tentative", true);
        let nonce: [u8; 6] = std::array::from_fn(|_| self.random.u8(..));
        let left = u64::try_from(self.ipv6_setting(device, "dad_transmits")).unwrap_or(0);
        self.ip.autoconf.tentative.push(Tentative {
            device,
            address,
            left,
            nonce,
        });
        // `addrconf_dad_kick`: within the delay before the first router solicitation.
        let most = self
            .seconds(device, "router_solicitation_delay")
            .as_millis();
        let most = u64::try_from(most).unwrap_or(u64::MAX).max(1);
        let wait = self.random.u64(0..most);
        self.set_in(
            TimerOwner::Address(device, address),
            Duration::from_millis(wait),
        );
    }

    /// `addrconf_dad_work`.
    pub(crate) fn handle_address_timer(&mut self, device: DeviceId, address: Ipv6Addr) {
        let all = &mut self.ip.autoconf.tentative;
        let is = |one: &Tentative| (one.device, one.address) == (device, address);
        let Some(index) = all.iter().position(is) else {
            return;
        };
        let Some(one) = all.get_mut(index).filter(|one| one.left > 0) else {
            all.remove(index);
            self.address_is_unique(device, address);
            return;
        };
        one.left -= 1;
        let nonce = one.nonce;
        let retransmit = self.retransmit_time(device);
        self.set_in(TimerOwner::Address(device, address), retransmit);
        self.solicit_duplicate(device, address, nonce);
    }

    /// Nobody else has it (`addrconf_dad_completed`).
    fn address_is_unique(&mut self, device: DeviceId, address: Ipv6Addr) {
        self.set_address_flag(device, address, "tentative", false);
        if !address.is_unicast_link_local() {
            return;
        }
        // `ipv6_lonely_lladdr`
        let others = self.ipv6_addresses(device).into_iter().filter(|other| {
            *other != address
                && other.is_unicast_link_local()
                && self
                    .own_address(device, *other)
                    .is_some_and(Address::is_usable)
        });
        if others.count() > 0 {
            return;
        }
        self.report_all(device);
        if self.ipv6_setting(device, "router_solicitations") == 0 || !self.accepts_routers(device) {
            return;
        }
        self.solicit_routers(device, address);
        let interval = self
            .seconds(device, "router_solicitation_interval")
            .as_millis();
        let wait = self.about(interval, 1);
        self.ip
            .autoconf
            .searches
            .retain(|(known, ..)| *known != device);
        self.ip.autoconf.searches.push((device, 1, wait));
        self.set_in(TimerOwner::Routers(device), Duration::from_millis(wait));
    }

    /// `addrconf_rs_timer`.
    pub(crate) fn handle_router_timer(&mut self, device: DeviceId) {
        let most = self.ipv6_setting(device, "router_solicitations");
        let longest = self.seconds(device, "router_solicitation_max_interval");
        let Some(source) = self.usable_link_local(device) else {
            return;
        };
        if !self.accepts_routers(device) {
            return;
        }
        let is = |one: &&mut (DeviceId, u64, u64)| one.0 == device;
        let Some((_, asked, wait)) = self.ip.autoconf.searches.iter_mut().find(is) else {
            return;
        };
        if most >= 0 && *asked >= most.unsigned_abs() {
            return;
        }
        *asked += 1;
        let (last, before) = (*asked == most.unsigned_abs() && most >= 0, *wait);
        // `rfc3315_s14_backoff_update`
        let mut next = self.about(u128::from(before), 2);
        if u128::from(next) > longest.as_millis() {
            next = self.about(longest.as_millis(), 1);
        }
        for (known, _, wait) in &mut self.ip.autoconf.searches {
            if *known == device {
                *wait = next;
            }
        }
        self.solicit_routers(device, source);
        let wait = match last {
            true => self.seconds(device, "router_solicitation_delay"),
            false => Duration::from_millis(next),
        };
        self.set_in(TimerOwner::Routers(device), wait);
    }

    /// Whether an address is being checked, and the nonce of its questions.
    pub(crate) fn tentative(&self, device: DeviceId, address: Ipv6Addr) -> Option<[u8; 6]> {
        let all = self.ip.autoconf.tentative.iter();
        all.filter(|one| (one.device, one.address) == (device, address))
            .map(|one| one.nonce)
            .next()
    }

    /// Somebody else has it, or wants it too (`addrconf_dad_failure`): it stays, unusable.
    pub(crate) fn address_is_duplicate(&mut self, device: DeviceId, address: Ipv6Addr) {
        self.timers.set(TimerOwner::Address(device, address), None);
        let all = &mut self.ip.autoconf.tentative;
        all.retain(|one| (one.device, one.address) != (device, address));
        self.set_address_flag(device, address, "dadfailed", true);
    }

    /// A router has spoken: nobody need ask for one any more (`IF_RA_RCVD`).
    pub(crate) fn router_was_heard(&mut self, device: DeviceId) {
        self.timers.set(TimerOwner::Routers(device), None);
        self.ip
            .autoconf
            .searches
            .retain(|(known, ..)| *known != device);
    }

    /// A time, times `factor`, less or more by up to a tenth (`rfc3315_s14_backoff_init`); milliseconds.
    fn about(&mut self, milliseconds: u128, factor: u64) -> u64 {
        let parts = self
            .random
            .u64(factor * 1_000_000 - 100_000..=factor * 1_000_000 + 100_000);
        u64::try_from(milliseconds * u128::from(parts) / 1_000_000).unwrap_or(u64::MAX)
    }

    fn set_in(&mut self, owner: TimerOwner, wait: Duration) {
        let expires = self.ticks.at(self.now).saturating_add(self.ticks.of(wait));
        let at = self.ticks.wheel(self.now, expires);
        self.timers.set(owner, Some(at));
    }

    fn seconds(&self, device: DeviceId, setting: &str) -> Duration {
        let seconds = self.ipv6_setting(device, setting);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// `NEIGH_VAR(RETRANS_TIME)`, at least a hundredth of a second.
    fn retransmit_time(&self, device: DeviceId) -> Duration {
        let name = format!(
            "net.ipv6.neigh.{}.retrans_time_ms",
            self.device_name(device)
        );
        let milliseconds = self.config.sysctls.number(&name).unwrap_or(1000).max(10);
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or(1000))
    }

    /// `ipv6_accept_ra`.
    fn accepts_routers(&self, device: DeviceId) -> bool {
        let accept = self.ipv6_setting(device, "accept_ra");
        match self.ipv6_setting(device, "forwarding") {
            0 => accept != 0,
            _ => accept == 2,
        }
    }

    /// Loopback and what knows no neighbours have nobody to ask.
    fn configures_itself(&self, device: DeviceId) -> bool {
        let known = self.link.device(device);
        known.is_some_and(|device| {
            device.up && matches!(device.kind, DeviceKind::Ethernet | DeviceKind::Bridge)
        }) && self.ipv6_setting(device, "disable_ipv6") == 0
    }

    /// A number of `net.ipv6.conf.DEVICE`; 0 where it is none.
    pub(super) fn ipv6_setting(&self, device: DeviceId, setting: &str) -> i64 {
        let name = self.device_name(device);
        let sysctls = &self.config.sysctls;
        sysctls
            .of_interface(IpVersion::V6, name, setting)
            .unwrap_or(0)
    }

    pub(super) fn ipv6_addresses(&self, device: DeviceId) -> Vec<Ipv6Addr> {
        addresses_in(&self.config, self.device_name(device))
    }

    /// The link-local address, where there is one that may be used (`ipv6_get_lladdr`).
    pub(super) fn usable_link_local(&self, device: DeviceId) -> Option<Ipv6Addr> {
        let mut all = self.ipv6_addresses(device).into_iter();
        all.find(|address| {
            address.is_unicast_link_local()
                && self
                    .own_address(device, *address)
                    .is_some_and(Address::is_usable)
        })
    }

    fn own_address(&self, device: DeviceId, address: Ipv6Addr) -> Option<&Address> {
        let name = self.device_name(device);
        let mut own = self.config.addresses.iter().flatten();
        own.find(|own| own.device == name && own.local == address)
    }

    fn set_address_flag(&mut self, device: DeviceId, address: Ipv6Addr, flag: &str, on: bool) {
        let name = self.device_name(device).to_owned();
        let own = self.config.addresses.iter_mut().flatten();
        for own in own.filter(|own| own.device == name && own.local == address) {
            own.flags.retain(|known| known != flag);
            if on {
                own.flags.push(flag.to_owned());
            }
        }
        self.ip.forget_routes();
    }

    /// `ndisc_send_rs`.
    fn solicit_routers(&mut self, device: DeviceId, source: Ipv6Addr) {
        self.send_router_solicitation(device, source, ALL_ROUTERS);
    }
}

fn addresses_in(config: &HostConfig, device: &str) -> Vec<Ipv6Addr> {
    let own = config.addresses.iter().flatten();
    own.filter(|own| own.device == device)
        .filter_map(|own| match own.local {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;

//! The two hosts before the first move.

use transect_config::rules::RuleSet;
use transect_config::{ConfigText, HostConfig, IpVersion, default_policy_rules};
use transect_host::{DeviceId, DeviceKind, DeviceSetup, Features, Host, HostSetup};
use transect_path::Timestamp;

pub(super) const ETH0: DeviceId = DeviceId(1);
pub(super) const TUN0: DeviceId = DeviceId(2);

pub(super) fn host(number: u8, rules: RuleSet, forwards: bool, features: Features) -> Host {
    let device = |name: &str, kind| DeviceSetup {
        name: name.to_owned(),
        kind,
        features,
    };
    let setup = HostSetup {
        number: number.into(),
        config: config(number + 1, forwards),
        rules,
        devices: vec![
            device("eth0", DeviceKind::Ethernet),
            device("tun0", DeviceKind::Tun),
        ],
        seed: 7 + u64::from(number),
        hz: 250,
        boot: Timestamp(0),
        journeys: true,
    };
    let mut host = Host::new(setup).unwrap();
    // Every listener takes data with SYNs, and clients send it without cookies; those of host 1 are not asked for any.
    let fast_open = [0x407, 0x607][usize::from(number & 1)];
    host.set_sysctl("net.ipv4.tcp_fastopen", &fast_open.to_string())
        .unwrap();
    host.set_tapped(ETH0, true);
    host.keep_deaths(true);
    host
}

fn config(own: u8, forwards: bool) -> HostConfig {
    let links = format!(
        r#"[{{"ifindex":2,"ifname":"eth0","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"mtu":1500,"link_type":"ether",
        "address":"02:00:00:00:00:0{own}","linkinfo":{{"info_kind":"veth"}}}},
        {{"ifindex":3,"ifname":"tun0","flags":["POINTOPOINT","MULTICAST","NOARP","UP","LOWER_UP"],"mtu":1300,"link_type":"none",
        "linkinfo":{{"info_kind":"tun"}}}}]"#
    );
    let addresses = format!(
        r#"[{{"ifindex":2,"ifname":"eth0","addr_info":[
        {{"family":"inet","local":"10.0.0.{own}","prefixlen":24,"broadcast":"10.0.0.255","scope":"global"}},
        {{"family":"inet6","local":"fd00::{own}","prefixlen":64,"scope":"global"}}]}},
        {{"ifindex":3,"ifname":"tun0","addr_info":[
        {{"family":"inet","local":"10.1.0.{own}","prefixlen":24,"scope":"global"}},
        {{"family":"inet6","local":"fd01::{own}","prefixlen":64,"scope":"global"}}]}}]"#
    );
    let routes4 = format!(
        "default via 10.0.0.9 dev eth0
10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.{own}
10.1.0.0/24 dev tun0 proto kernel scope link src 10.1.0.{own}
blackhole 10.2.0.0/24
prohibit 10.3.0.0/24
local 10.0.0.{own} dev eth0 table local proto kernel scope host src 10.0.0.{own}
local 10.1.0.{own} dev tun0 table local proto kernel scope host src 10.1.0.{own}
broadcast 10.0.0.255 dev eth0 table local proto kernel scope link src 10.0.0.{own}
local 127.0.0.0/8 dev lo table local proto kernel scope host src 127.0.0.1"
    );
    let routes6 = format!(
        "fd00::/64 dev eth0 proto kernel metric 256 pref medium
fd01::/64 dev tun0 proto kernel metric 256 pref medium
local ::1 dev lo table local proto kernel metric 0 pref medium
local fd00::{own} dev eth0 table local proto kernel metric 0 pref medium
local fd01::{own} dev tun0 table local proto kernel metric 0 pref medium
multicast ff00::/8 dev eth0 table local proto kernel metric 256 pref medium"
    );
    let mut config = HostConfig::default();
    for text in [
        ConfigText::Ip(&links),
        ConfigText::Ip(&addresses),
        ConfigText::Routes(IpVersion::V4, &routes4),
        ConfigText::Routes(IpVersion::V6, &routes6),
    ] {
        assert_eq!(config.absorb(text), []);
    }
    config.policy_rules4 = Some(default_policy_rules(IpVersion::V4));
    config.policy_rules6 = Some(default_policy_rules(IpVersion::V6));
    let forwards = if forwards { "1" } else { "0" };
    for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        let values = &mut config.sysctls.values;
        values.insert(name.to_owned(), forwards.to_owned());
    }
    config
}

/// Rules of every kind that does something of its own.
pub(super) const RULES: &str = "\
table inet filter {
  chain input {
    type filter hook input priority filter; policy accept;
    ct state invalid counter drop
    tcp dport 81 counter reject with tcp reset
    udp dport 54 counter reject
    tcp dport 82 counter drop
    meta mark set 0x1
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established,related accept
    tcp dport 22 counter reject with icmpx admin-prohibited
  }
  chain output {
    type filter hook output priority filter; policy accept;
    tcp dport 83 counter drop
    udp dport 55 counter reject
  }
}
table ip nat {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    tcp dport 8080 redirect to :80
    tcp dport 8081 dnat to 10.0.0.2:80
    udp dport 5353 dnat to 10.1.0.7:53
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    oifname \"tun0\" masquerade
  }
}
";

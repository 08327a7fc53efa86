//! One end of a socket, as the tools write it.

use std::net::IpAddr;

use super::SocketAddress;

/// An end and the device or scope that some tools write behind the address.
pub(super) struct End {
    pub(super) address: SocketAddress,
    pub(super) interface: Option<String>,
}

/// Reads `10.0.0.1:80`, `[fd00::1]:80`, `127.0.0.1%lo:80`, `[fe80::1]%eth0:546`, `*:80`, `:::80`, `0.0.0.0:*`, `*%eth0:67`.
///
/// An IPv4 address inside IPv6 (`::ffff:10.0.0.1`) becomes the IPv4 address that is on the wire.
pub(super) fn read(text: &str) -> Option<End> {
    let (host, port) = match text.rsplit_once(':') {
        Some(parts) => parts,
        None if text == "*" => ("*", "*"),
        None => return None,
    };
    let (host, interface) = match host.split_once('%') {
        Some((host, interface)) => {
            // `fe80::1%eth0` without brackets, or `[fe80::1%eth0]`.
            (host, Some(interface.trim_end_matches(']').to_owned()))
        }
        None => (host, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address = match host {
        "*" | "" => None,
        _ => Some(host.parse::<IpAddr>().ok()?.to_canonical()),
    };
    let mut end = End {
        address: SocketAddress {
            address,
            port: None,
            port_name: None,
        },
        interface,
    };
    if port != "*" {
        match port.parse().ok().or_else(|| well_known(port)) {
            Some(port) => end.address.port = Some(port),
            None => end.address.port_name = Some(port.to_owned()),
        }
    }
    Some(end)
}

/// Names that Debian's /etc/services gives the ports met most often; tools print them without `-n`.
fn well_known(name: &str) -> Option<u16> {
    Some(match name {
        "ftp" => 21,
        "ssh" => 22,
        "telnet" => 23,
        "smtp" => 25,
        "domain" => 53,
        "bootps" => 67,
        "bootpc" => 68,
        "tftp" => 69,
        "http" | "www" => 80,
        "kerberos" => 88,
        "pop3" => 110,
        "sunrpc" => 111,
        "ntp" => 123,
        "netbios-ns" => 137,
        "netbios-dgm" => 138,
        "netbios-ssn" => 139,
        "imap2" | "imap" => 143,
        "snmp" => 161,
        "bgp" => 179,
        "ldap" => 389,
        "https" => 443,
        "microsoft-ds" => 445,
        "syslog" => 514,
        "dhcpv6-client" => 546,
        "dhcpv6-server" => 547,
        "submission" => 587,
        "ipp" => 631,
        "ldaps" => 636,
        "rsync" => 873,
        "imaps" => 993,
        "pop3s" => 995,
        "openvpn" => 1194,
        "ms-sql-s" => 1433,
        "nfs" => 2049,
        "mysql" => 3306,
        "ms-wbt-server" => 3389,
        "epmd" => 4369,
        "sip" => 5060,
        "xmpp-client" => 5222,
        "mdns" => 5353,
        "postgresql" => 5432,
        "amqp" => 5672,
        "x11" => 6000,
        "redis" => 6379,
        "http-alt" | "webcache" => 8080,
        "tproxy" => 8081,
        "zabbix-agent" => 10050,
        "zabbix-trapper" => 10051,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let shown = |text: &str| {
            let end = read(text).unwrap();
            format!(
                "{:?} {:?} {:?}",
                end.address.address, end.address.port, end.interface
            )
        };
        assert_eq!(shown("10.0.0.1:80"), "Some(10.0.0.1) Some(80) None");
        assert_eq!(shown("[fd00::1]:*"), "Some(fd00::1) None None");
        assert_eq!(
            shown("127.0.0.1%lo:8083"),
            "Some(127.0.0.1) Some(8083) Some(\"lo\")"
        );
        assert_eq!(
            shown("[fe80::1]%eth0:546"),
            "Some(fe80::1) Some(546) Some(\"eth0\")"
        );
        assert_eq!(
            shown("fe80::1%eth0:123"),
            "Some(fe80::1) Some(123) Some(\"eth0\")"
        );
        assert_eq!(shown("*%eth0:67"), "None Some(67) Some(\"eth0\")");
        assert_eq!(shown(":::80"), "Some(::) Some(80) None");
        assert_eq!(shown("*:http"), "None Some(80) None");
        assert_eq!(
            shown("[::ffff:10.0.0.1]:80"),
            "Some(10.0.0.1) Some(80) None"
        );
        assert_eq!(
            read("*:nonsuch").unwrap().address.port_name.as_deref(),
            Some("nonsuch")
        );
        for bad in ["", "x", "10.0.0.1", "300.0.0.1:80"] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}

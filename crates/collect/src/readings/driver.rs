//! What a device's driver says: its statistics as `ethtool -S` and its offload features as `ethtool -k` print them.

use std::fmt::Write;

use transect_sys::{Ethtool, OffloadFeature};

use super::Gathered;

/// `EOPNOTSUPP`: a driver without statistics, and nothing to say about it.
const NOT_SUPPORTED: i32 = 95;
/// `ENODEV`: the interface went away meanwhile.
const NO_DEVICE: i32 = 19;

/// The old names of groups of features that `ethtool -k` still leads with, and the patterns of the members.
const GROUPS: [(&str, &str); 12] = [
    ("rx-checksumming", "rx-checksum"),
    ("tx-checksumming", "tx-checksum-*"),
    ("scatter-gather", "tx-scatter-gather*"),
    ("tcp-segmentation-offload", "tx-tcp*-segmentation"),
    ("udp-fragmentation-offload", "tx-udp-fragmentation"),
    ("generic-segmentation-offload", "tx-generic-segmentation"),
    ("generic-receive-offload", "rx-gro"),
    ("large-receive-offload", "rx-lro"),
    ("rx-vlan-offload", "rx-vlan-hw-parse"),
    ("tx-vlan-offload", "tx-vlan-hw-insert"),
    ("ntuple-filters", "rx-ntuple-filter"),
    ("receive-hashing", "rx-hashing"),
];

/// Adds `ethtool/IFACE.statistics.txt` and `.features.txt` for each interface.
pub(super) fn read<'a>(
    ethtool: &Ethtool,
    interfaces: impl Iterator<Item = &'a str>,
    reading: &mut Gathered,
) {
    for interface in interfaces {
        // A name of the kernel's may hold anything but a slash and white space.
        match ethtool.statistics(interface) {
            Ok(statistics) => reading.file(
                format!("ethtool/{interface}.statistics.txt"),
                statistics_text(&statistics),
            ),
            Err(error) if matches!(error.raw_os_error(), Some(NOT_SUPPORTED | NO_DEVICE)) => {}
            Err(error) => reading.unseen(
                format!("ethtool/{interface}.statistics"),
                format!("the driver's statistics cannot be read: {error}"),
            ),
        }
        match ethtool.features(interface) {
            Ok(features) => reading.file(
                format!("ethtool/{interface}.features.txt"),
                features_text(interface, &features),
            ),
            Err(error) if matches!(error.raw_os_error(), Some(NOT_SUPPORTED | NO_DEVICE)) => {}
            Err(error) => reading.unseen(
                format!("ethtool/{interface}.features"),
                format!("the offload features cannot be read: {error}"),
            ),
        }
    }
}

fn statistics_text(statistics: &[(String, u64)]) -> Vec<u8> {
    let mut out = String::from("NIC statistics:\n");
    for (name, value) in statistics {
        let _ = writeln!(out, "     {name}: {value}");
    }
    out.into_bytes()
}

fn features_text(interface: &str, features: &[OffloadFeature]) -> Vec<u8> {
    let mut out = format!("Features for {interface}:\n");
    for (name, pattern) in GROUPS {
        let members: Vec<&OffloadFeature> = features
            .iter()
            .filter(|feature| fits(&feature.name, pattern))
            .collect();
        match members.as_slice() {
            [] => {}
            [one] => line(&mut out, "", name, one),
            many => {
                let on = many.iter().any(|feature| feature.on);
                let _ = writeln!(out, "{name}: {}", if on { "on" } else { "off" });
                for one in many {
                    line(&mut out, "\t", &one.name, one);
                }
            }
        }
    }
    for feature in features {
        if !GROUPS
            .iter()
            .any(|(_, pattern)| fits(&feature.name, pattern))
        {
            line(&mut out, "", &feature.name, feature);
        }
    }
    out.into_bytes()
}

/// One feature (ethtool's `dump_feature`).
fn line(out: &mut String, indent: &str, name: &str, feature: &OffloadFeature) {
    let note = if feature.fixed {
        " [fixed]"
    } else if feature.on != feature.requested {
        if feature.requested {
            " [requested on]"
        } else {
            " [requested off]"
        }
    } else {
        ""
    };
    let _ = writeln!(
        out,
        "{indent}{name}: {}{note}",
        if feature.on { "on" } else { "off" }
    );
}

/// Whether a name fits a pattern with at most one star.
fn fits(name: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| rest.ends_with(tail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lead_and_the_rest_follows() {
        let feature = |name: &str, on, requested, fixed| OffloadFeature {
            name: name.to_owned(),
            on,
            requested,
            fixed,
        };
        let features = [
            feature("tx-scatter-gather", true, true, false),
            feature("tx-checksum-ipv4", false, false, true),
            feature("tx-checksum-ip-generic", true, true, false),
            feature("rx-lro", false, false, true),
            feature("tx-tcp-segmentation", false, true, false),
            feature("tx-tcp-mangleid-segmentation", false, false, false),
            feature("highdma", true, false, false),
        ];
        assert_eq!(
            String::from_utf8(features_text("eth0", &features)).unwrap(),
            "Features for eth0:\n\
             tx-checksumming: on\n\
             \ttx-checksum-ipv4: off [fixed]\n\
             \ttx-checksum-ip-generic: on\n\
             scatter-gather: on\n\
             tcp-segmentation-offload: off\n\
             \ttx-tcp-segmentation: off [requested on]\n\
             \ttx-tcp-mangleid-segmentation: off\n\
             large-receive-offload: off [fixed]\n\
             highdma: on [requested off]\n"
        );
    }
}

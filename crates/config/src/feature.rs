//! Offload features, as `ethtool -k` shows them.

use crate::parse::Parsed;

/// Reads `ethtool -k IFACE`.
pub fn read_features(text: &str) -> Parsed<Vec<Feature>> {
    let mut parsed: Parsed<Vec<Feature>> = Parsed::default();
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty()
            || trimmed.starts_with("Features for ")
            || trimmed == "Offload parameters:"
        {
            continue;
        }
        match feature(trimmed) {
            Some(feature) => parsed.value.push(feature),
            None => parsed.problem(
                number + 1,
                "a feature, such as \"rx-checksumming: on [fixed]\"",
                line,
            ),
        }
    }
    parsed
}

/// The device that `ethtool -k` names in its headline.
pub fn features_device(text: &str) -> Option<&str> {
    text.lines()
        .find_map(|line| line.strip_prefix("Features for ")?.strip_suffix(':'))
}

/// `tx-checksum-ipv4: off [fixed]`, `rx-gro-list: off [requested on]`.
fn feature(line: &str) -> Option<Feature> {
    let (name, state) = line.split_once(": ")?;
    let mut words = state.split_whitespace();
    let on = match words.next()? {
        "on" => true,
        "off" => false,
        _ => return None,
    };
    Some(Feature {
        name: name.to_owned(),
        on,
        fixed: words.next() == Some("[fixed]"),
    })
}

/// One feature of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Name, `tcp-segmentation-offload`.
    pub name: String,
    /// Switched on.
    pub on: bool,
    /// Cannot be changed.
    pub fixed: bool,
}

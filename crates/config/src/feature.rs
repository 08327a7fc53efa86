//! Offload features, as `ethtool -k` shows them.

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

//! The commands that this build leaves out.

use crate::args::{CollectArgs, HostArgs, WhyArgs};
use crate::error::Failure;

fn left_out(command: &str) -> Result<u8, Failure> {
    Err(Failure::failed(format!(
        "`transect {command}` was left out of this build: it needs the feature \"live\" (and libpcap to build). Files can be \
         explained: `transect explain`"
    )))
}

/// Left out.
pub(crate) fn why(_: &WhyArgs) -> Result<u8, Failure> {
    left_out("why")
}

/// Left out.
pub(crate) fn collect(_: &CollectArgs) -> Result<u8, Failure> {
    left_out("collect")
}

/// Left out.
pub(crate) fn host(_: &HostArgs) -> Result<u8, Failure> {
    left_out("host")
}

//! What each command does: resolve, work, answer.

mod drill;
mod explain;
#[cfg(feature = "live")]
mod host;
mod inspect;
mod laboratory;
#[cfg(feature = "live")]
mod observe;
#[cfg(not(feature = "live"))]
mod without_live;

pub(crate) use drill::drill;
pub(crate) use explain::explain;
#[cfg(feature = "live")]
pub(crate) use host::host;
pub(crate) use inspect::{doctor, map};
pub(crate) use laboratory::{lab_compare, lab_list, lab_run};
#[cfg(feature = "live")]
pub(crate) use observe::{collect, why};
#[cfg(not(feature = "live"))]
pub(crate) use without_live::{collect, host, why};

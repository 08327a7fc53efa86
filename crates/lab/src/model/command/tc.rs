//! `tc qdisc add|replace|del dev DEVICE root KIND OPTIONS`.

use transect_config::Qdisc;

use crate::error::WorldError;
use crate::model::network::NodeId;
use crate::model::task::Clock;

/// The first handle that the kernel gives away by itself (`qdisc_alloc_handle`).
const FIRST_HANDLE: &str = "8001:";

/// Carries out one command; `arguments` are those behind `tc`.
pub(super) fn run(clock: &Clock, node: NodeId, arguments: &[&str]) -> Result<(), WorldError> {
    let unknown = || {
        WorldError(format!(
            "the model world does not know \"tc {}\"; it knows qdisc add|replace|del dev DEVICE root",
            arguments.join(" ")
        ))
    };
    let ["qdisc", verb, "dev", device, "root", rest @ ..] = arguments else {
        return Err(unknown());
    };
    let (handle, rest) = match rest {
        ["handle", handle, rest @ ..] => (*handle, rest),
        rest => (FIRST_HANDLE, rest),
    };
    let qdisc = match (*verb, rest) {
        ("add" | "replace", [kind, options @ ..]) => Some(Qdisc {
            device: (*device).to_owned(),
            kind: (*kind).to_owned(),
            handle: handle.to_owned(),
            parent: "root".to_owned(),
            options: options.join(" "),
            ..Qdisc::default()
        }),
        ("del" | "delete", _) => None,
        _ => return Err(unknown()),
    };
    clock
        .call(node, |host, now| {
            let Some(id) = host.device(device) else {
                return Err(format!("there is no interface {device}"));
            };
            host.replace_qdisc(now, id, qdisc)
        })?
        .map_err(WorldError)?;
    clock.network(|network| network.announce(node, "a queueing discipline"));
    Ok(())
}

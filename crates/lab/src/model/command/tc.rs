//! `tc qdisc add|replace|del dev DEVICE PARENT KIND OPTIONS`, `tc class add|change|replace|del dev DEVICE parent …`.

use transect_config::Qdisc;
use transect_host::{DeviceId, Host};
use transect_path::Timestamp;

use crate::error::WorldError;
use crate::model::network::NodeId;
use crate::model::task::Clock;

/// Carries out one command; `arguments` are those behind `tc`.
pub(super) fn run(clock: &Clock, node: NodeId, arguments: &[&str]) -> Result<(), WorldError> {
    let unknown = || {
        WorldError(format!(
            "the model world does not know \"tc {}\"; it knows qdisc add|replace|del dev DEVICE root|parent CLASS \
             and class add|change|replace|del dev DEVICE parent CLASS classid CLASS",
            arguments.join(" ")
        ))
    };
    let [object, verb, "dev", device, rest @ ..] = arguments else {
        return Err(unknown());
    };
    let words = Words::read(rest);
    let delete = matches!(*verb, "del" | "delete");
    if !delete && (!matches!(*verb, "add" | "replace" | "change") || words.kind.is_empty()) {
        return Err(unknown());
    }
    let named = Qdisc {
        device: (*device).to_owned(),
        parent: words.parent.to_owned(),
        kind: words.kind.to_owned(),
        options: words.options.join(" "),
        ..Qdisc::default()
    };
    match (*object, words.parent, words.class) {
        ("qdisc", "", _) | ("class", _, "") => return Err(unknown()),
        ("qdisc", ..) => {
            let kind = if delete { String::new() } else { named.kind };
            let handle = words.handle.to_owned();
            let qdisc = Qdisc {
                kind,
                handle,
                ..named
            };
            on_device(clock, node, device, move |host, now, id| {
                host.replace_qdisc(now, id, qdisc)
            })?;
        }
        ("class", _, class) if delete => on_device(clock, node, device, |host, now, id| {
            host.delete_class(now, id, class)
        })?,
        ("class", parent, class) if !parent.is_empty() => {
            let handle = class.to_owned();
            let class = Qdisc { handle, ..named };
            on_device(clock, node, device, |host, now, id| {
                host.set_class(now, id, &class)
            })?;
        }
        _ => return Err(unknown()),
    }
    clock.network(|network| network.announce(node, "a queueing discipline"));
    Ok(())
}

/// What stands behind the device.
#[derive(Default)]
struct Words<'a> {
    parent: &'a str,
    handle: &'a str,
    class: &'a str,
    kind: &'a str,
    options: &'a [&'a str],
}

impl<'a> Words<'a> {
    fn read(mut rest: &'a [&'a str]) -> Self {
        let mut words = Words::default();
        loop {
            rest = match rest {
                ["root", rest @ ..] => {
                    words.parent = "root";
                    rest
                }
                ["parent", parent, rest @ ..] => {
                    words.parent = parent;
                    rest
                }
                ["handle", handle, rest @ ..] => {
                    words.handle = handle;
                    rest
                }
                ["classid", class, rest @ ..] => {
                    words.class = class;
                    rest
                }
                [kind, options @ ..] => {
                    words.kind = kind;
                    words.options = options;
                    return words;
                }
                [] => return words,
            };
        }
    }
}

fn on_device(
    clock: &Clock,
    node: NodeId,
    device: &str,
    change: impl FnOnce(&mut Host, Timestamp, DeviceId) -> Result<(), String>,
) -> Result<(), WorldError> {
    clock
        .call(node, |host, now| {
            let id = host.device(device);
            let id = id.ok_or_else(|| format!("there is no interface {device}"))?;
            change(host, now, id)
        })?
        .map_err(WorldError)
}

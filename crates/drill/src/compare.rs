//! Whether a packet is the one that the script expects.

use crate::script::{
    Body, Ecn, Icmp, IpInfo, OptionList, Packet, Segment, TcpOption, TypeOfService,
};

/// How far the host's timestamps may be off, in ticks; nothing where they are not looked at.
pub(crate) type StampTolerance = Option<u32>;

/// Compares a packet with the expected one, both with the script's numbers; the error says which field differs.
pub(crate) fn compare(
    expected: &Packet,
    actual: &Packet,
    stamps: StampTolerance,
) -> Result<(), String> {
    ip(&expected.ip, &actual.ip)?;
    match (&expected.body, &actual.body) {
        (Body::Tcp(expected), Body::Tcp(actual)) => tcp(expected, actual, stamps),
        (Body::Udp(expected), Body::Udp(actual)) => {
            same("the length of the datagram", expected, actual)
        }
        (Body::Icmp(expected), Body::Icmp(actual)) => icmp(expected, actual),
        _ => Err("the protocol differs".to_owned()),
    }
}

fn same<T: PartialEq + std::fmt::Display>(
    what: &str,
    expected: &T,
    actual: &T,
) -> Result<(), String> {
    match expected == actual {
        true => Ok(()),
        false => Err(format!("{what}: expected {expected}, got {actual}")),
    }
}

/// The same, where the script says something.
fn said<T: PartialEq + std::fmt::Display>(
    what: &str,
    expected: Option<&T>,
    actual: Option<&T>,
) -> Result<(), String> {
    match (expected, actual) {
        (Some(expected), Some(actual)) => same(what, expected, actual),
        (Some(expected), None) => Err(format!("{what}: expected {expected}, got none")),
        (None, _) => Ok(()),
    }
}

fn ip(expected: &IpInfo, actual: &IpInfo) -> Result<(), String> {
    let byte = match actual.tos {
        Some(TypeOfService::Byte(byte)) => byte,
        _ => 0,
    };
    match expected.tos {
        None => {}
        Some(TypeOfService::Byte(expected)) => same("the type of service", &expected, &byte)?,
        Some(TypeOfService::Ecn(expected)) => {
            let got = match byte & 3 {
                0 => Ecn::None,
                1 => Ecn::Ect1,
                2 => Ecn::Ect0,
                _ => Ecn::Ce,
            };
            let either = expected == Ecn::Ect01 && matches!(got, Ecn::Ect0 | Ecn::Ect1);
            if !either {
                same("the ECN bits", &expected, &got)?;
            }
        }
    }
    said("the TTL", expected.ttl.as_ref(), actual.ttl.as_ref())?;
    said(
        "the flow label",
        expected.flow_label.as_ref(),
        actual.flow_label.as_ref(),
    )
}

fn tcp(expected: &Segment, actual: &Segment, stamps: StampTolerance) -> Result<(), String> {
    same("the flags", &expected.flags, &actual.flags)?;
    same("the sequence number", &expected.sequence, &actual.sequence)?;
    same(
        "the length of the payload",
        &expected.length,
        &actual.length,
    )?;
    said(
        "the acknowledgment number",
        expected.ack.as_ref(),
        actual.ack.as_ref(),
    )?;
    said(
        "the window",
        expected.window.as_ref(),
        actual.window.as_ref(),
    )?;
    said(
        "the urgent pointer",
        expected.urgent.as_ref(),
        actual.urgent.as_ref(),
    )?;
    options(&expected.options, &actual.options, stamps)
}

fn options(
    expected: &OptionList,
    actual: &OptionList,
    stamps: StampTolerance,
) -> Result<(), String> {
    let (OptionList::These(expected), OptionList::These(actual)) = (expected, actual) else {
        return Ok(());
    };
    let whole = || {
        let list = |options: &[TcpOption]| crate::script::OptionNotation(options).to_string();
        format!(
            "the TCP options: expected {}, got {}",
            list(expected),
            list(actual)
        )
    };
    if expected.len() != actual.len() {
        return Err(whole());
    }
    for (expected, actual) in expected.iter().zip(actual) {
        match (expected, actual) {
            (
                TcpOption::Timestamps { value, echo },
                TcpOption::Timestamps {
                    value: actual,
                    echo: actual_echo,
                },
            ) => {
                same("the echoed timestamp", echo, actual_echo)?;
                // The distance on the circle of 32 bits.
                let distance = value.wrapping_sub(*actual);
                let distance = distance.min(distance.wrapping_neg());
                if stamps.is_some_and(|tolerance| distance > tolerance) {
                    same("the timestamp", value, actual)?;
                }
            }
            (TcpOption::Md5(None), TcpOption::Md5(Some(_))) => {}
            (expected, actual) if expected == actual => {}
            _ => return Err(whole()),
        }
    }
    Ok(())
}

fn icmp(expected: &Icmp, actual: &Icmp) -> Result<(), String> {
    same("the ICMP type", &expected.kind, &actual.kind)?;
    said(
        "the ICMP code",
        expected.code.as_ref(),
        actual.code.as_ref(),
    )?;
    said("the MTU", expected.mtu.as_ref(), actual.mtu.as_ref())?;
    said("the identifier", expected.id.as_ref(), actual.id.as_ref())?;
    match (&expected.echoed, &actual.echoed) {
        (None, _) => Ok(()),
        (Some(expected), Some(actual)) if expected == actual => Ok(()),
        (Some(expected), actual) => Err(format!(
            "what the message quotes: expected {expected:?}, got {actual:?}"
        )),
    }
}

//! A script in the language's own notation; what is printed can be read again.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::{
    AccEcn, Action, Body, CallSpec, Direction, Echoed, Ecn, Event, EventTime, Expression, Flags,
    Icmp, IpInfo, OptionList, Packet, Script, ScriptOption, Segment, TcpOption, TypeOfService,
};

impl Display for Script {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for option in &self.options {
            writeln!(f, "{option}")?;
        }
        for event in &self.events {
            writeln!(f, "{event}")?;
        }
        Ok(())
    }
}

impl Display for ScriptOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "--{}", self.name)?;
        if self.value.is_empty() {
            return Ok(());
        }
        write!(f, "={}", self.value)
    }
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time)?;
        if let Action::Call(CallSpec {
            until: Some(until), ..
        }) = &self.action
        {
            write!(f, "...{}", Seconds(*until))?;
        }
        if self.time == EventTime::Before {
            return write!(f, "{}", self.action);
        }
        write!(f, " {}", self.action)
    }
}

/// A time as scripts write it: seconds, with as many digits as needed.
pub(crate) struct Seconds(pub(crate) Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.0.subsec_nanos());
        let fraction = fraction.trim_end_matches('0');
        write!(f, "{}", self.0.as_secs())?;
        if fraction.is_empty() {
            return Ok(());
        }
        write!(f, ".{fraction}")
    }
}

impl Display for EventTime {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            EventTime::Before => Ok(()),
            EventTime::Any => f.write_str("*"),
            EventTime::At(time) => write!(f, "{}", Seconds(time)),
            EventTime::After(time) => write!(f, "+{}", Seconds(time)),
            EventTime::Between(from, to) => write!(f, "{}~{}", Seconds(from), Seconds(to)),
            EventTime::AfterBetween(from, to) => write!(f, "+{}~+{}", Seconds(from), Seconds(to)),
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Action::Packet(packet) => write!(f, "{packet}"),
            Action::Call(call) => write!(f, "{call}"),
            Action::Command(text) => write!(f, "`{text}`"),
            Action::Snippet(snippet) => write!(f, "%{{{}}}%", snippet.text()),
        }
    }
}

impl Display for CallSpec {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        list(f, &self.arguments)?;
        write!(f, ") = {}", self.result)?;
        if let Some(errno) = &self.errno {
            write!(f, " {errno}")?;
        }
        match &self.note {
            Some(note) => write!(f, " ({note})"),
            None => Ok(()),
        }
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    Ok(())
}

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expression::Ellipsis => f.write_str("..."),
            Expression::Integer(value) => write!(f, "{value}"),
            Expression::Hex(value) => write!(f, "{value:#x}"),
            Expression::Word(word) => f.write_str(word),
            Expression::Text(bytes, begun) => {
                write!(f, "\"{}\"", bytes.escape_ascii())?;
                f.write_str(if *begun { "..." } else { "" })
            }
            Expression::Binary(operator, left, right) => {
                operand(f, left, operator.binding())?;
                write!(f, "{}", operator.symbol())?;
                operand(f, right, operator.binding().saturating_add(1))
            }
            Expression::Not(inner) => {
                f.write_str("~")?;
                operand(f, inner, u8::MAX)
            }
            Expression::Negative(inner) => {
                f.write_str("-")?;
                operand(f, inner, u8::MAX)
            }
            Expression::List(items) => {
                f.write_str("[")?;
                list(f, items)?;
                f.write_str("]")
            }
            Expression::Structure(fields) => {
                f.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    match name {
                        Some(name) => write!(f, "{comma}{name}={value}")?,
                        None => write!(f, "{comma}{value}")?,
                    }
                }
                f.write_str("}")
            }
            Expression::Function(name, arguments) => {
                write!(f, "{name}(")?;
                list(f, arguments)?;
                f.write_str(")")
            }
        }
    }
}

/// An operand, in parentheses where it binds less than it must.
fn operand(f: &mut Formatter<'_>, inner: &Expression, binding: u8) -> fmt::Result {
    let weak = match inner {
        Expression::Binary(operator, ..) => operator.binding() < binding,
        // `--1` would be an option, and `~-1` is hard to read.
        Expression::Integer(value) => binding == u8::MAX && *value < 0,
        Expression::Negative(_) => true,
        _ => false,
    };
    if weak {
        write!(f, "({inner})")
    } else {
        write!(f, "{inner}")
    }
}

impl Display for Packet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let arrow = match self.direction {
            Direction::In => '<',
            Direction::Out => '>',
        };
        write!(f, "{arrow} ")?;
        if !self.ip.is_empty() {
            write!(f, "{} ", self.ip)?;
        }
        let ports = self.ports.map_or_else(String::new, |ports| {
            format!("{} > {} ", ports.source, ports.destination)
        });
        match &self.body {
            Body::Tcp(segment) => write!(f, "{ports}{segment}"),
            Body::Udp(length) => write!(f, "udp {ports}({length})"),
            Body::Icmp(icmp) => write!(f, "{icmp}"),
        }
    }
}

impl Display for IpInfo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tos = self.tos.map(|tos| match tos {
            TypeOfService::Ecn(ecn) => ecn.to_string(),
            TypeOfService::Byte(byte) => format!("tos {byte:#04x}"),
        });
        let ttl = self.ttl.map(|ttl| format!("ttl {ttl}"));
        let label = self.flow_label.map(|label| format!("flowlabel {label:#x}"));
        let said: Vec<String> = [tos, ttl, label].into_iter().flatten().collect();
        write!(f, "[{}]", said.join(", "))
    }
}

impl Display for Ecn {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Ecn::None => "noecn",
            Ecn::Ect0 => "ect0",
            Ecn::Ect1 => "ect1",
            Ecn::Ect01 => "ect01",
            Ecn::Ce => "ce",
        })
    }
}

impl Display for Flags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self == Flags::default() {
            return f.write_str("-");
        }
        for (letter, flag) in Flags::LETTERS {
            if self.has(flag) {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

impl Display for Segment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}:{}({})",
            self.flags,
            self.sequence,
            self.end(),
            self.length
        )?;
        if let Some(ack) = self.ack {
            write!(f, " ack {ack}")?;
        }
        if let Some(window) = self.window {
            write!(f, " win {window}")?;
        }
        if let Some(urgent) = self.urgent {
            write!(f, " urg {urgent}")?;
        }
        match &self.options {
            OptionList::Any => f.write_str(" <...>"),
            OptionList::These(options) if options.is_empty() => Ok(()),
            OptionList::These(options) => write!(f, " {}", Options(options)),
        }
    }
}

/// Options in their brackets.
pub(crate) struct Options<'a>(pub(crate) &'a [TcpOption]);

impl Display for Options<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let options: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "<{}>", options.join(","))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Display for TcpOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            TcpOption::Nop => f.write_str("nop"),
            TcpOption::Eol => f.write_str("eol"),
            TcpOption::Mss(mss) => write!(f, "mss {mss}"),
            TcpOption::WindowScale(scale) => write!(f, "wscale {scale}"),
            TcpOption::SackPermitted => f.write_str("sackOK"),
            TcpOption::Sack(blocks) => {
                f.write_str("sack")?;
                for block in blocks {
                    write!(f, " {}:{}", block.left, block.right)?;
                }
                Ok(())
            }
            TcpOption::Timestamps { value, echo } => write!(f, "TS val {value} ecr {echo}"),
            TcpOption::FastOpen(cookie) => named(f, "FO", cookie),
            TcpOption::FastOpenExperimental(cookie) => named(f, "FOEXP", cookie),
            TcpOption::Md5(None) => f.write_str("md5"),
            TcpOption::Md5(Some(digest)) => named(f, "md5", digest),
            TcpOption::AccEcn(counters) => {
                f.write_str("ECN")?;
                for (counter, value) in counters {
                    let name = match counter {
                        AccEcn::Ect0 => "e0b",
                        AccEcn::Ce => "ceb",
                        AccEcn::Ect1 => "e1b",
                    };
                    write!(f, " {name} {value}")?;
                }
                Ok(())
            }
            TcpOption::Other(kind, data) => {
                write!(f, "opt {kind}")?;
                if data.is_empty() {
                    return Ok(());
                }
                write!(f, " {}", hex(data))
            }
        }
    }
}

fn named(f: &mut Formatter<'_>, name: &str, data: &[u8]) -> fmt::Result {
    f.write_str(name)?;
    if data.is_empty() {
        return Ok(());
    }
    write!(f, " {}", hex(data))
}

impl Display for Icmp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "icmp {}", self.kind)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if let Some(id) = self.id {
            write!(f, " id {id}")?;
        }
        match self.echoed {
            None => Ok(()),
            Some(Echoed::Tcp { sequence, length }) => {
                let end = sequence.wrapping_add(u32::from(length));
                write!(f, " [{sequence}:{end}({length})]")
            }
            Some(Echoed::Udp(length)) => write!(f, " [udp ({length})]"),
        }
    }
}

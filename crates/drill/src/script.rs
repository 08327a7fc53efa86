//! A script as plain data: what was written, before anything is looked up or mapped.

mod expression;
mod packet;
mod print;

use std::time::Duration;

pub use expression::{Expression, Operator};
pub use packet::{
    AccEcn, Body, Direction, Echoed, Ecn, Flags, Icmp, IpInfo, OptionList, Packet, Ports,
    SackBlock, Segment, TcpOption, TypeOfService,
};
pub(crate) use print::Options as OptionNotation;

use crate::parse::Defines;
use crate::snippet::Snippet;

/// A whole script.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Script {
    /// The `--name=value` lines at its top, in order.
    pub options: Vec<ScriptOption>,
    /// Names that stand for something else.
    pub defines: Defines,
    /// What happens, in order; the commands that come before the first time stand first, with the time 0.
    pub events: Vec<Event>,
}

/// One `--name=value` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptOption {
    /// Its line, from 1 on.
    pub line: u32,
    /// Without the dashes.
    pub name: String,
    /// Empty where there is none.
    pub value: String,
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its line, from 1 on.
    pub line: u32,
    /// When.
    pub time: EventTime,
    /// What.
    pub action: Action,
}

/// When an event happens, or must have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventTime {
    /// Before the script's clock starts: the commands at its top.
    Before,
    /// `*`: whenever.
    Any,
    /// `0.1`: so long after the script's beginning.
    At(Duration),
    /// `+0.1`: so long after the event before.
    After(Duration),
    /// `0.1~0.2`: between these, after the script's beginning.
    Between(Duration, Duration),
    /// `+0.1~+0.2`: between these, after the event before.
    AfterBetween(Duration, Duration),
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A packet from the remote side, or one that the host must send.
    Packet(Packet),
    /// A system call, and how it must end.
    Call(CallSpec),
    /// A command in back-ticks.
    Command(String),
    /// `%{ }%`: assertions about the connection.
    Snippet(Snippet),
}

/// A system call as it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct CallSpec {
    /// `...TIME` in front of it: it blocks until then, counted as the event's own time is.
    pub until: Option<Duration>,
    /// Its name.
    pub name: String,
    /// Its arguments.
    pub arguments: Vec<Expression>,
    /// What it must return; `...` for anything.
    pub result: Expression,
    /// The error that it must end with, by name.
    pub errno: Option<String>,
    /// What stands in parentheses behind it.
    pub note: Option<String>,
}

//! The scenario file: what an experiment is, as plain data.
//!
//! Reading goes in two passes. The text is deserialized once as it stands, so that a mistake is reported with its line; then it is
//! deserialized again for every combination of its axes, with the parts that do not apply removed (`when`) and the
//! variables (`${…}`) filled in.

mod action;
mod expand;
mod expectation;
mod model;
mod span;
mod variables;
mod when;

pub use action::{
    Action, Close, Connect, ConnectEnd, Counter, Datagrams, Exchange, Inject, Receive, ReceiveEnd,
    Run, Segment, SendData, SendEnd, SocketFilter, SocketState, Status, Step, Stop, TcpListen,
    TcpService, UdpListen, UdpService, Via, Wait, WaitFor,
};
pub use expand::{Scenario, parse};
pub use expectation::{
    AlternativeExpectation, Expectation, NullField, Packets, RuleExpectation, SettingExpectation,
};
pub use model::{
    Bridge, Conditions, Host, Link, LogSource, Meter, Neighbor, Observe, Program, ProgramKind,
    Scope, Setup, Share, TcDrop, TcHook, Twin, XdpDrop, XdpKind,
};
pub use span::Span;
pub(crate) use variables::mac;
pub use when::When;

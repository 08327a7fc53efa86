//! Evidence in, verdicts out.
//!
//! [`explain`] is one pure function. For every flow that the user's filter selects it
//!
//! 1. matches what the captures of all hosts saw (`flow`), also behind address translation;
//! 2. says from packets and sockets how the flow ended, and which classes of packets went missing (`tcp`, `datagram`,
//!    `refusal`, `stall`);
//! 3. draws the bracket on the path: the last edge that the missing packets passed, and the first that they did not
//!    (`chain`, `suspect`);
//! 4. asks the catalogue (`causes`) what can kill there and what evidence of its own each cause has;
//! 5. names the one that stands out, or says what is missing to name one (`judge`).
//!
//! What it is not: it reads no file and no host, and it never blames a rule by the rule's words alone.

mod case;
mod causes;
mod chain;
mod datagram;
mod ends;
mod explain;
mod fate;
mod finding;
mod flow;
mod group;
mod identity;
mod judge;
mod nat;
mod not_sent;
mod refusal;
mod route;
#[cfg(test)]
mod scene;
mod stall;
mod suspect;
mod tcp;
mod unseen_flow;
mod world;

pub use explain::explain;

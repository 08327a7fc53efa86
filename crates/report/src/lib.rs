//! Verdicts, the map of the path and the doctor's findings, rendered for terminals, programs and documents.
//!
//! Every output is made from one value: [`transect_path::Report`] feeds the terminal and the JSON, [`Map`] and
//! [`Doctor`] likewise. Text that comes from others (rules, log lines, labels, addresses) is stripped of control
//! characters on its way to a terminal, at the one place where text enters a [`Page`].
//!
//! What it is not: it decides nothing and reads nothing. A renderer says what it leaves out, and never adds a claim
//! that the value does not hold.

mod catalogue;
mod clean;
mod doctor;
mod json;
mod map;
mod page;
mod verdict;

pub use catalogue::{CATALOGUE_INTRODUCTION, catalogue_markdown, traces};
pub use clean::clean;
pub use doctor::{Check, DOCTOR_SCHEMA, Doctor, Standing};
pub use json::to_json;
pub use map::{Disturbance, JoinsAt, MAP_SCHEMA, Map, MapCause, MapPoint, MapTool, Priority, map};
pub use page::{Color, Page, Style};
pub use verdict::render_text;

//! What the diagnosis must say.

use super::When;
use serde::{Deserialize, Serialize};
use transect_path::{
    CauseId, Certainty, Direction, Outcome, Point, RuleBackend, SettingKind, Symptom, What,
};

/// One verdict that must be among the answers. What is not stated is not compared.
///
/// The first expectation is about the first verdict; each further one about another verdict. A verdict that no
/// expectation names must be `delivered`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expectation {
    /// How the flow ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What the user sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symptom: Option<Symptom>,
    /// The host on which it was lost, or `network`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The point at which it was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// The place's certainty, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place_certainty: Option<Certainty>,
    /// The cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<CauseId>,
    /// The cause's certainty, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certainty: Option<Certainty>,
    /// The class of the lost packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<What>,
    /// Where they were going.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// How many were lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<Packets>,
    /// The rule to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleExpectation>,
    /// The setting to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<SettingExpectation>,
    /// A host that must be named as misled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub misled: Option<String>,
    /// Texts each of which must stand in what some evidence says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<String>,
    /// What must be among the alternatives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<AlternativeExpectation>,
    /// How many transmissions TCP must have repaired, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<u64>,
    /// Fields that must be null.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub null: Vec<NullField>,
    /// Causes that must not be named; a twin's own are added by the runner.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_cause: Vec<CauseId>,
    /// When it applies; default always.
    #[serde(skip_serializing_if = "When::is_empty")]
    pub when: When,
}

/// How many packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Packets {
    /// Exactly so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<u64>,
    /// At least so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// What must be true of the rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleExpectation {
    /// The program that manages it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<RuleBackend>,
    /// Its family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Its table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Its place in the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// What its text must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What must be true of the setting.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SettingExpectation {
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<SettingKind>,
    /// What its name must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What its value must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What must be among the alternatives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlternativeExpectation {
    /// The cause.
    pub cause: CauseId,
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
}

/// A field of a verdict that can be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NullField {
    /// `host`
    Host,
    /// `point`
    Point,
    /// `cause`
    Cause,
    /// `rule`
    Rule,
    /// `setting`
    Setting,
    /// `lost`
    Lost,
}

impl Expectation {
    /// The expectation of an experiment without any fault.
    pub fn delivered() -> Self {
        Expectation {
            outcome: Some(Outcome::Delivered),
            ..Expectation::default()
        }
    }

    /// In a few words: `lost server/local_in netfilter_drop`.
    pub fn in_words(&self) -> String {
        let mut words = Vec::new();
        if let Some(outcome) = self.outcome {
            words.push(outcome.id().to_owned());
        }
        match (&self.host, self.point) {
            (Some(host), Some(point)) => words.push(format!("{host}/{point}")),
            (Some(host), None) => words.push(host.clone()),
            (None, Some(point)) => words.push(point.id().to_owned()),
            (None, None) => {}
        }
        if let Some(cause) = self.cause {
            words.push(cause.id().to_owned());
        }
        words.extend(
            self.alternatives
                .iter()
                .map(|alternative| format!("or {}", alternative.cause)),
        );
        words.join(" ")
    }
}

//! What one cause says about one suspicion, and how sure that makes it.

use transect_path::{
    Alternative, CauseId, Certainty, Contradiction, Evidence, Point, RuleRef, Setting,
};

use crate::chain::Chain;

/// How the amounts of a cause's own meter compare with what was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Amount {
    /// The cause has no meter here, or it was not read.
    Unmetered,
    /// It moved, by less than what was lost: it can explain a part.
    Partial,
    /// It moved by more than what was lost: others may have moved it too.
    Covers,
    /// It moved by exactly what was lost.
    Exact,
}

impl Amount {
    /// Compares a meter's difference with the packets lost; `lost` is `None` where nobody could count them.
    pub(crate) fn compare(delta: u64, lost: Option<u64>) -> Amount {
        match lost {
            Some(lost) if delta == lost => Amount::Exact,
            Some(lost) if delta < lost => Amount::Partial,
            _ => Amount::Covers,
        }
    }
}

/// What the configuration says that would happen to this packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Prediction {
    /// The configuration was not read, or says nothing about this cause.
    Unknown,
    /// It may happen; what decides was not seen.
    Possible,
    /// It happens.
    Certain,
}

/// One cause's case.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) cause: CauseId,
    /// Index of the host; `None` for the network.
    pub(crate) host: Option<usize>,
    pub(crate) point: Point,
    pub(crate) amount: Amount,
    pub(crate) prediction: Prediction,
    /// The meter belongs to this cause and this flow alone: a rule's counter, a socket's drops, a per-packet event.
    pub(crate) own_meter: bool,
    /// How many packets the meter accounts for.
    pub(crate) accounted: Option<u64>,
    /// The meter that accounts for them, for sums over several flows.
    pub(crate) meter: Option<String>,
    pub(crate) rule: Option<RuleRef>,
    pub(crate) setting: Option<Setting>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) against: Vec<Contradiction>,
    /// What would tell it apart from the others.
    pub(crate) tell: String,
    pub(crate) advice: Vec<String>,
}

impl Finding {
    /// A finding without any support yet.
    pub(crate) fn new(cause: CauseId, host: Option<usize>, point: Point, tell: &str) -> Self {
        Finding {
            cause,
            host,
            point,
            amount: Amount::Unmetered,
            prediction: Prediction::Unknown,
            own_meter: false,
            accounted: None,
            meter: None,
            rule: None,
            setting: None,
            evidence: Vec::new(),
            against: Vec::new(),
            tell: tell.to_owned(),
            advice: Vec::new(),
        }
    }

    /// How sure this cause would be if there were no other (design, "Verdict").
    pub(crate) fn certainty(&self) -> Certainty {
        match (self.amount, self.prediction) {
            (Amount::Exact, Prediction::Certain) if self.own_meter => Certainty::Proven,
            (Amount::Exact, _) => Certainty::Strong,
            (Amount::Covers, Prediction::Certain) => Certainty::Strong,
            (Amount::Covers, _) if self.own_meter => Certainty::Strong,
            (Amount::Covers, Prediction::Possible) => Certainty::Likely,
            (Amount::Partial | Amount::Unmetered, Prediction::Certain) => Certainty::Likely,
            _ => Certainty::Undetermined,
        }
    }

    /// Whether it says by itself that packets died: its own meter moved by as much, and what is configured ends them for sure.
    pub(crate) fn is_proof(&self) -> bool {
        self.own_meter && self.amount >= Amount::Covers && self.prediction == Prediction::Certain
    }

    /// The finding as another explanation.
    pub(crate) fn alternative(&self, chain: &Chain) -> Alternative {
        Alternative {
            cause: self.cause,
            host: Some(chain.label(self.host)),
            point: Some(self.point),
            rule: self.rule.clone(),
            setting: self.setting.clone(),
            tell: self.tell.clone(),
        }
    }

    /// Whether two findings accuse the same thing.
    pub(crate) fn accuses_the_same(&self, other: &Finding) -> bool {
        self.cause == other.cause
            && self.host == other.host
            && self.point == other.point
            && self.rule == other.rule
            && self.setting == other.setting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(amount: Amount, prediction: Prediction, own_meter: bool) -> Certainty {
        let new = Finding::new(CauseId::NetfilterDrop, Some(0), Point::LocalIn, "");
        Finding {
            amount,
            prediction,
            own_meter,
            ..new
        }
        .certainty()
    }

    #[test]
    fn proof_needs_the_own_meter_the_amount_and_the_configuration() {
        assert_eq!(
            finding(Amount::Exact, Prediction::Certain, true),
            Certainty::Proven
        );
        assert_eq!(
            finding(Amount::Exact, Prediction::Possible, true),
            Certainty::Strong
        );
        assert_eq!(
            finding(Amount::Exact, Prediction::Certain, false),
            Certainty::Strong
        );
    }

    #[test]
    fn what_did_not_move_is_at_most_likely() {
        assert_eq!(
            finding(Amount::Unmetered, Prediction::Certain, true),
            Certainty::Likely
        );
        assert_eq!(
            finding(Amount::Partial, Prediction::Certain, true),
            Certainty::Likely
        );
        assert_eq!(
            finding(Amount::Unmetered, Prediction::Possible, false),
            Certainty::Undetermined
        );
    }

    #[test]
    fn amounts_are_compared_only_with_what_was_counted() {
        assert_eq!(Amount::compare(7, Some(7)), Amount::Exact);
        assert_eq!(Amount::compare(9, Some(7)), Amount::Covers);
        assert_eq!(Amount::compare(6, Some(7)), Amount::Partial);
        assert_eq!(Amount::compare(6, None), Amount::Covers);
    }
}

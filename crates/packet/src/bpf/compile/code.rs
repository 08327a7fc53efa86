//! Conditions as instructions: every check ends in one jump, to what follows when it holds and when it does not.

use super::super::Instruction;

// As in <linux/bpf_common.h>.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_WORD: u16 = 0x20;
/// The indexed forms have this bit in place of "absolute".
const INDEXED: u16 = 0x60;
const ABSOLUTE: u16 = 0x20;
/// `X = 4 * (byte & 0xf)`: the length of an IPv4 header.
const LOAD_X_HEADER: u16 = 0xb1;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
/// How many bytes of a frame that matches are kept: all.
const WHOLE: u32 = 0x4_0000;

/// A value in the frame, compared with a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Check {
    load: u16,
    at: u32,
    mask: u32,
    low: u32,
    high: u32,
    /// Where the IPv4 header begins behind which `at` counts.
    header: Option<u32>,
}

impl Check {
    fn new(load: u16, at: u32, value: u32) -> Self {
        Check {
            load,
            at,
            mask: u32::MAX,
            low: value,
            high: value,
            header: None,
        }
    }

    /// One byte has this value.
    pub(super) fn byte(at: u32, value: u32) -> Self {
        Check::new(LOAD_BYTE, at, value)
    }

    /// Two bytes.
    pub(super) fn half(at: u32, value: u32) -> Self {
        Check::new(LOAD_HALF, at, value)
    }

    /// Four bytes.
    pub(super) fn word(at: u32, value: u32) -> Self {
        Check::new(LOAD_WORD, at, value)
    }

    /// Only these bits count.
    pub(super) fn under(self, mask: u32) -> Self {
        Check { mask, ..self }
    }

    /// At least the value, and at most this one.
    pub(super) fn to(self, high: u32) -> Self {
        Check { high, ..self }
    }

    /// At most the value.
    pub(super) fn at_zero(self) -> Self {
        Check { low: 0, ..self }
    }

    /// The place counts behind the IPv4 header that begins there.
    pub(super) fn behind_ipv4(self, header: u32) -> Self {
        Check {
            header: Some(header),
            ..self
        }
    }
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Holds for no frame.
    Never,
    /// One check.
    Check(Check),
    /// Not this.
    Not(Box<Condition>),
    /// All of these; of none: always.
    All(Vec<Condition>),
    /// One of these.
    Any(Vec<Condition>),
}

impl From<Check> for Condition {
    fn from(check: Check) -> Self {
        Condition::Check(check)
    }
}

impl Condition {
    pub(super) fn all(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Condition::All(conditions.into_iter().collect())
    }

    pub(super) fn any(conditions: impl IntoIterator<Item = Condition>) -> Self {
        Condition::Any(conditions.into_iter().collect())
    }
}

/// A place in the program that is not known yet.
type Label = usize;

/// An instruction whose jumps may still be labels.
struct Draft {
    code: u16,
    k: u32,
    jumps: Option<(Label, Label)>,
}

#[derive(Default)]
struct Generator {
    drafts: Vec<Draft>,
    /// Where each label stands.
    labels: Vec<Option<usize>>,
}

/// The program; nothing when a jump would be too far.
pub(super) fn generate(condition: &Condition) -> Option<Vec<Instruction>> {
    let mut generator = Generator::default();
    let (yes, no) = (generator.label(), generator.label());
    generator.condition(condition, yes, no);
    generator.place(yes);
    generator.draft(RETURN, WHOLE);
    generator.place(no);
    generator.draft(RETURN, 0);
    generator.finish()
}

impl Generator {
    fn label(&mut self) -> Label {
        self.labels.push(None);
        self.labels.len() - 1
    }

    /// The label stands where the next instruction will.
    fn place(&mut self, label: Label) {
        let here = self.drafts.len();
        if let Some(place) = self.labels.get_mut(label) {
            *place = Some(here);
        }
    }

    fn draft(&mut self, code: u16, k: u32) {
        self.drafts.push(Draft {
            code,
            k,
            jumps: None,
        });
    }

    fn jump(&mut self, code: u16, k: u32, yes: Label, no: Label) {
        self.drafts.push(Draft {
            code,
            k,
            jumps: Some((yes, no)),
        });
    }

    fn condition(&mut self, condition: &Condition, yes: Label, no: Label) {
        match condition {
            // Something is at least zero, always.
            Condition::Never => self.jump(JUMP_IF_AT_LEAST, 0, no, yes),
            Condition::Check(check) => self.check(*check, yes, no),
            Condition::Not(inner) => self.condition(inner, no, yes),
            Condition::All(conditions) => match conditions.split_last() {
                None => self.jump(JUMP_IF_AT_LEAST, 0, yes, no),
                Some((last, before)) => {
                    for condition in before {
                        let next = self.label();
                        self.condition(condition, next, no);
                        self.place(next);
                    }
                    self.condition(last, yes, no);
                }
            },
            Condition::Any(conditions) => match conditions.split_last() {
                None => self.condition(&Condition::Never, yes, no),
                Some((last, before)) => {
                    for condition in before {
                        let next = self.label();
                        self.condition(condition, yes, next);
                        self.place(next);
                    }
                    self.condition(last, yes, no);
                }
            },
        }
    }

    fn check(&mut self, check: Check, yes: Label, no: Label) {
        let mut load = check.load;
        if let Some(header) = check.header {
            self.draft(LOAD_X_HEADER, header);
            load = load - ABSOLUTE + (INDEXED - ABSOLUTE);
        }
        self.draft(load, check.at);
        if check.mask != u32::MAX {
            self.draft(AND, check.mask);
        }
        if check.low == check.high {
            self.jump(JUMP_IF_EQUAL, check.low, yes, no);
            return;
        }
        if check.low > 0 {
            let next = self.label();
            self.jump(JUMP_IF_AT_LEAST, check.low, next, no);
            self.place(next);
        }
        self.jump(JUMP_IF_GREATER, check.high, no, yes);
    }

    fn finish(self) -> Option<Vec<Instruction>> {
        let place = |label: Label| self.labels.get(label).copied().flatten();
        self.drafts
            .iter()
            .enumerate()
            .map(|(at, draft)| {
                let distance = |label: Label| -> Option<u8> {
                    let far = place(label)?.checked_sub(at + 1)?;
                    u8::try_from(far).ok()
                };
                let (jt, jf) = match draft.jumps {
                    None => (0, 0),
                    Some((yes, no)) => (distance(yes)?, distance(no)?),
                };
                Some(Instruction {
                    code: draft.code,
                    jt,
                    jf,
                    k: draft.k,
                })
            })
            .collect()
    }
}

//! Evidence in, verdicts out.

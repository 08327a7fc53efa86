//! One packet through one base chain.

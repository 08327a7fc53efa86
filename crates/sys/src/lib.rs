//! The few unsafe system calls that no library wraps.

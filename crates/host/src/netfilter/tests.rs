//! Hooks as a host runs them.

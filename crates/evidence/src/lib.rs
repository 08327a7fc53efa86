//! What was observed, its readers, and the bundle format.

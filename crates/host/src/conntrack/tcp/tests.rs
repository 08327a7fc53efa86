//! Segments as the tracker sees them.

//! Verdicts and the map, rendered for terminals, programs and documents.

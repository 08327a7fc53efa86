//! Experiments: scenario files and the worlds they run in.

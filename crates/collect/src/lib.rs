//! Live collectors: captures, readings, namespaces, the observation.

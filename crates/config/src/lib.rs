//! One host's configuration as plain data, and its readers.

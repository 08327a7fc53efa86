//! Wire formats, flow keys, captures and filter programs.

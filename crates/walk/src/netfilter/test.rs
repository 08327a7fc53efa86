//! One test on one packet.

//! What the comparison with the kernel needs: namespaces, packets, rule sets.

pub(crate) mod generate;
pub(crate) mod lab;
pub(crate) mod packet;

//! What the process asks of the system around it. Everything else takes it as an argument.

mod rng;

pub use rng::Rng;

//! What comes in from outside: the clock, randomness, the terminal, where state lies, what the process forbids
//! itself, and the allocator that wipes. Everything else takes these as arguments.
//!
//! Must not: decide anything. No variable of the environment fakes time, seeds keys or answers a question.

mod allocator;
mod clock;
mod harden;
mod interrupt;
mod rng;
mod state;
mod terminal;
mod variables;

pub use allocator::ZeroingAllocator;
pub use clock::now;
pub use harden::{forbid_network, harden, limits};
pub use interrupt::{Uninterrupted, end_on_interrupt, uninterrupted};
pub use rng::Rng;
pub use state::{StateError, state_dir};
pub use terminal::{Terminal, input, passphrase_from_fd, read_input};
pub use variables::{exec_info, git_identity, git_index, kubeconfig, own_command, pin_line, temporary, wants_color};

//! The variables of the environment that kluis reads besides those of the state folder and gpg-agent.

#![expect(clippy::disallowed_methods, reason = "env is where the environment is read")]

use std::io::IsTerminal as _;
use std::path::PathBuf;

/// `KLUIS_PIN`: the anchor for CI. `None` where it is not set or empty.
pub fn pin_line() -> Option<String> {
    std::env::var("KLUIS_PIN").ok().filter(|line| !line.is_empty())
}

/// Whether stdout is a terminal that wants colour: `NO_COLOR` (any value but empty) says no.
pub fn wants_color() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && std::io::stdout().is_terminal()
}

/// A path of this name in the temporary directory (`TMPDIR`).
pub fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

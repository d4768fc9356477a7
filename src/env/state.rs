//! Where this person's own state lies, outside every repository (FORMAT 11).

use std::ffi::OsString;
use std::path::PathBuf;

/// Why no place for the state was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Neither variable names an absolute folder.
    #[error("neither XDG_STATE_HOME nor HOME names an absolute folder, so there is no place for pins")]
    NoHome,
}

/// `$XDG_STATE_HOME/kluis`, else `~/.local/state/kluis`. It may not exist yet.
///
/// A relative `XDG_STATE_HOME` is ignored, as the XDG Base Directory specification asks: it would make
/// the pins depend on the folder that one happens to be in, which may be a stranger's repository.
#[expect(clippy::disallowed_methods, reason = "env is where the environment is read")]
pub fn state_dir() -> Result<PathBuf, StateError> {
    from(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
}

fn from(xdg: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, StateError> {
    let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(xdg)
        .or_else(|| absolute(home).map(|home| home.join(".local/state")))
        .map(|base| base.join("kluis"))
        .ok_or(StateError::NoHome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_lies_where_xdg_says_and_never_at_a_relative_path() {
        let some = |text: &str| Some(OsString::from(text));
        assert_eq!(from(some("/s"), some("/h")), Ok("/s/kluis".into()));
        assert_eq!(from(None, some("/h")), Ok("/h/.local/state/kluis".into()));
        assert_eq!(from(some("s"), some("/h")), Ok("/h/.local/state/kluis".into()));
        assert_eq!(from(some(""), some("")), Err(StateError::NoHome));
        assert_eq!(from(None, None), Err(StateError::NoHome));
    }
}

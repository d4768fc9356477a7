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

/// Who git's own variables say makes commits here: name and email, each where it is set (git-commit's manual, "COMMIT
/// INFORMATION"). It names the maker of a commit, and decides nothing.
pub fn git_identity() -> (Option<String>, Option<String>) {
    let first = |names: [&str; 2]| {
        let values = names.iter().filter_map(|name| std::env::var(name).ok());
        values.map(|value| value.trim().to_owned()).find(|value| !value.is_empty())
    };
    (first(["GIT_COMMITTER_NAME", "GIT_AUTHOR_NAME"]), first(["GIT_COMMITTER_EMAIL", "GIT_AUTHOR_EMAIL"]))
}

/// A path of this name in the temporary directory (`TMPDIR`).
pub fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

/// The index that git tells its hooks to look at, where a commit takes some paths alone. No other command obeys it (T63):
/// a hook has to see what is about to be committed, and whoever sets the variables of a hook can as well take it away.
pub fn git_index() -> Option<PathBuf> {
    std::env::var_os("GIT_INDEX_FILE").map(Into::into)
}

/// The file that kubectl writes to: the first of `KUBECONFIG`, else `~/.kube/config`. `None` where no home is known.
pub fn kubeconfig() -> Option<PathBuf> {
    let list = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let first = std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty());
    first.or_else(|| {
        let home = PathBuf::from(std::env::var_os("HOME")?);
        home.is_absolute().then(|| home.join(".kube/config"))
    })
}

/// `KUBERNETES_EXEC_INFO`: what kubectl tells a plugin that it runs (client.authentication.k8s.io). `None` where it is not
/// set or empty.
pub fn exec_info() -> Option<String> {
    std::env::var_os("KUBERNETES_EXEC_INFO")
        .map(|text| text.to_string_lossy().into_owned())
        .filter(|text| !text.is_empty())
}

/// What others call this program by: `kluis` where the PATH leads to this very executable, else its absolute path.
/// `None` where the system can't tell.
pub fn own_command() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let real = own.canonicalize().ok()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("kluis")).find(|path| path.is_file());
    // One that depends on the folder that one happens to be in is nobody's.
    let found = found.filter(|found| found.is_absolute()).and_then(|found| found.canonicalize().ok());
    let is_own = found.is_some_and(|found| found == real);
    Some(if is_own { PathBuf::from("kluis") } else { own })
}

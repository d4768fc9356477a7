//! Why a command failed: the exit code, what and where, because of what, and one command that helps.

use crate::model::{Finding, Remedy};

/// A failed command. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    /// 1 failed, 2 usage, 3 invalid, 4 anchor, 6 no usable OpenPGP key, 130 interrupted (docs/EXIT-CODES.md).
    pub exit: u8,
    /// What failed and where, as a clause.
    pub what: String,
    /// What mends it.
    pub help: Option<Remedy>,
    /// The findings behind it.
    pub findings: Vec<Finding>,
}

impl Failure {
    fn new(exit: u8, what: impl Into<String>) -> Self {
        Self { exit, what: what.into(), help: None, findings: Vec::new() }
    }

    /// Something outside the repository's rules failed: a disk, a program, a network of another kind.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(1, what)
    }

    /// The command was called wrongly.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(2, what)
    }

    /// The repository, a signature or policy refuses.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(3, what)
    }

    /// No usable OpenPGP key.
    pub fn no_key(what: impl Into<String>) -> Self {
        Self::new(6, what)
    }

    /// The person at the terminal said no, or interrupted.
    pub fn interrupted() -> Self {
        Self::new(130, "stopped before anything was changed")
    }

    /// Findings make the command impossible.
    pub fn findings(what: impl Into<String>, findings: Vec<Finding>) -> Self {
        let exit = crate::trust::exit_code(&findings);
        let help = findings.iter().filter(|f| f.level == crate::model::Level::Error).find_map(|f| f.fix.clone());
        Self { exit: if exit == 4 { 4 } else { 3 }, what: what.into(), help, findings }
    }

    /// Names the remedy.
    #[must_use]
    pub fn help(mut self, remedy: Remedy) -> Self {
        self.help = Some(remedy);
        self
    }

    /// Names what helps with every failure of `command`, where nothing closer to its cause is known: no error leaves
    /// a person without a next step.
    #[must_use]
    pub fn with_help(mut self, command: &str) -> Self {
        let known = self.help.is_some() || self.findings.iter().any(|finding| finding.fix.is_some());
        if !known {
            self.help = match self.exit {
                2 => Some(Remedy::Kluis([command, "--help"].join(" "))),
                3 => Some(Remedy::Kluis("trust show".to_owned())),
                4 => Some(Remedy::TrustPin),
                1 | 6 => Some(Remedy::Doctor),
                _ => None,
            };
        }
        self
    }
}

impl From<crate::trust::log::Reason> for Failure {
    fn from(reason: crate::trust::log::Reason) -> Self {
        let finding = Finding::new(reason.code, reason.why.clone());
        Self { findings: vec![finding], ..Self::refused(reason.why) }
    }
}

impl From<crate::openpgp::KeyError> for Failure {
    fn from(error: crate::openpgp::KeyError) -> Self {
        use crate::openpgp::KeyError;
        let remedy = match &error {
            KeyError::NoPinentry => Remedy::Run("export GPG_TTY=$(tty)".to_owned()),
            KeyError::NoCard(_) => Remedy::Run("gpg --card-status".to_owned()),
            KeyError::BadPassphrase | KeyError::Cancelled => Remedy::Passphrase,
            _ => Remedy::Doctor,
        };
        Self::no_key(error.to_string()).help(remedy)
    }
}

impl Failure {
    /// Names the place in front of what failed.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }
}

/// An error and its causes as one clause.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl From<crate::seal::delivery::DeliveryFault> for Failure {
    fn from(error: crate::seal::delivery::DeliveryFault) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<crate::repo::RepoError> for Failure {
    fn from(error: crate::repo::RepoError) -> Self {
        let exit = if matches!(error, crate::repo::RepoError::NoRevision { .. }) { 2 } else { 1 };
        Self { help: error.remedy(), ..Self::new(exit, whole(&error)) }
    }
}

impl From<crate::repo::PinsError> for Failure {
    fn from(error: crate::repo::PinsError) -> Self {
        match error {
            crate::repo::PinsError::Disk(error) => error.into(),
            error @ crate::repo::PinsError::Malformed { .. } => Self::failed(whole(&error)),
        }
    }
}

impl From<crate::disk::DiskError> for Failure {
    fn from(error: crate::disk::DiskError) -> Self {
        let what = whole(&error);
        Self { help: crate::repo::RepoError::from(error).remedy(), ..Self::failed(what) }
    }
}

impl From<crate::env::StateError> for Failure {
    fn from(error: crate::env::StateError) -> Self {
        Self::failed(whole(&error))
    }
}

impl From<crate::pki::PkiError> for Failure {
    fn from(error: crate::pki::PkiError) -> Self {
        Self::refused(whole(&error))
    }
}

impl From<crate::export::ExportError> for Failure {
    fn from(error: crate::export::ExportError) -> Self {
        Self { help: error.remedy(), ..Self::refused(whole(&error)) }
    }
}

impl From<crate::seal::SealFault> for Failure {
    fn from(error: crate::seal::SealFault) -> Self {
        Self::refused(whole(&error))
    }
}

impl From<crate::seal::OpenFault> for Failure {
    /// Where the file is at fault, that is invalid; where the person's keys are, nothing is said against the tree.
    fn from(error: crate::seal::OpenFault) -> Self {
        match (error.code(), error) {
            (Some(code), error) => {
                let what = whole(&error);
                Self { findings: vec![Finding::new(code, what.clone())], ..Self::refused(what) }
            }
            (None, crate::seal::OpenFault::Keys(error)) => error.into(),
            (None, error) => Self::refused(whole(&error)),
        }
    }
}

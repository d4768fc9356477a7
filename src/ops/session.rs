//! One run of a command: settings, clock, chance, terminal; opens the repository, verifies it first, and
//! finds out who is acting. The only place that joins work tree, trust and secret keys.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::pinning::Pinning;
use crate::env::{Rng, Terminal};
use crate::model::{ClusterName, Code, Finding, Fingerprint, Level, PersonName, Place, Remedy, Time, displayed};
use crate::openpgp::{Certificate, SecretKeys};
use crate::repo::{RepoError, WorkTree};
use crate::secret::Secret;
use crate::trust::anchor::PinLine;
use crate::trust::{self, Epoch, Verified};

/// What the command line says for every command.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where the repository is, or a folder in it.
    pub dir: PathBuf,
    /// Who acts, where the keys at hand leave a choice.
    pub actor: Option<PersonName>,
    /// An OpenPGP secret-key file instead of gpg-agent.
    pub identity: Option<PathBuf>,
    /// A file descriptor to read the passphrase from.
    pub passphrase_fd: Option<u32>,
    /// The anchor, instead of this machine's pins.
    pub pin: Option<PinLine>,
    /// Answers every question with yes.
    pub yes: bool,
    /// Shows what would be done, and does nothing.
    pub dry_run: bool,
    /// Writes and stages, and leaves the commit to the user.
    pub no_commit: bool,
    /// Goes on though the epoch expired or the log is silent.
    pub accept_stale: bool,
    /// Attention counts as invalid.
    pub strict: bool,
    /// Where pins and own keys lie; `None` for the user's state folder.
    pub state: Option<PathBuf>,
}

impl Settings {
    /// The folder of pins and own keys.
    pub fn state_dir(&self) -> Result<PathBuf, Failure> {
        match &self.state {
            Some(folder) => Ok(folder.clone()),
            None => Ok(crate::env::state_dir()?),
        }
    }
}

/// Which faults a command can work with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// None.
    Valid,
    /// A draft that lacks signatures.
    Draft,
    /// Edited cluster.toml files of these clusters.
    Edited(Vec<ClusterName>),
    /// Void records, which the command vouches for.
    Void,
    /// Sealed files and certificates of which two records say different things, and neither saw the other.
    Conflicts,
    /// Whatever two records say differently, steps of rotations too.
    Unsettled,
    /// Anything: the command reports what it sees.
    Anything,
}

/// Draws the progress of long work: what it is, how much is done, and of how much.
pub type Progress = Box<dyn FnMut(&str, usize, usize)>;

/// One run of a command.
pub struct Session {
    /// What the command line says.
    pub settings: Settings,
    /// The time of this run.
    pub now: Time,
    /// The source of chance.
    pub rng: Rng,
    /// The terminal.
    pub terminal: Terminal,
    /// What the person should know, beside the answer.
    pub notes: Vec<String>,
    /// Shows progress of long work: done and total. The command line draws it.
    pub progress: Progress,
}

/// The repository, verified.
pub struct Repository {
    /// The work tree; none in an unpacked archive, where commands can read.
    work: Option<WorkTree>,
    /// The folder that has the managed trees.
    root: PathBuf,
    /// What an interrupted command had begun and this one finished or rolled back, in words.
    pub recovered: Option<String>,
    /// What was checked.
    pub verified: Verified,
    /// The anchor and where it comes from.
    pub pinning: Pinning,
}

/// Who acts, and the keys that they act with.
pub struct Actor {
    /// The name.
    pub name: PersonName,
    /// The secret keys at hand.
    pub keys: SecretKeys,
}

impl Repository {
    /// The work tree. Fails in a folder that is in no git repository.
    pub fn work(&self) -> Result<&WorkTree, Failure> {
        let none = || RepoError::NoRepository { path: PathBuf::from(&self.root) };
        Ok(self.work.as_ref().ok_or_else(none)?)
    }

    /// The folder that has the managed trees.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The latest epoch that has its signatures.
    pub fn epoch(&self) -> Result<&Epoch, Failure> {
        let missing = || Failure::refused("there is no valid epoch").help(Remedy::Verify);
        self.verified.chain.latest().map(|latest| &latest.epoch).ok_or_else(missing)
    }

    /// The cluster's part of the latest epoch.
    pub fn cluster(&self, name: &ClusterName) -> Result<&trust::Cluster, Failure> {
        let unknown = || Failure::usage(format!("there is no cluster {name}")).help(Remedy::ClusterList);
        self.epoch()?.clusters.get(name).ok_or_else(unknown)
    }

    /// Every group that an epoch which counts, or counted, let somebody ask for on a cluster. Attack: a generation that
    /// was left behind, whose certificates still live, is handed out again once nobody has a later one.
    pub fn groups_ever(&self, name: &ClusterName) -> BTreeSet<&String> {
        let chain = &self.verified.chain;
        let last = chain.latest().map_or(0, |latest| latest.epoch.number);
        let counted = chain.all().iter().map(|one| &one.epoch).filter(|epoch| epoch.number <= last);
        counted
            .filter_map(|epoch| epoch.clusters.get(name))
            .flat_map(|cluster| cluster.groups.values().flatten())
            .collect()
    }
}

impl Session {
    /// Opens the repository, finishes or rolls back what a killed command left, and verifies.
    pub fn open(&mut self, gate: &Gate) -> Result<Repository, Failure> {
        let work = WorkTree::open(&self.settings.dir)?;
        self.open_tree(gate, work.root().to_owned(), Some(work))
    }

    /// As `open`, for commands that only read: an unpacked archive, which is in no git repository, will do.
    pub fn open_reading(&mut self, gate: &Gate) -> Result<Repository, Failure> {
        match WorkTree::open(&self.settings.dir) {
            Ok(work) => self.open_tree(gate, work.root().to_owned(), Some(work)),
            Err(RepoError::NoRepository { .. }) => {
                let root = super::verify::find_root(&self.settings.dir)?;
                self.open_tree(gate, root, None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open_tree(&mut self, gate: &Gate, root: PathBuf, work: Option<WorkTree>) -> Result<Repository, Failure> {
        let recovered = work.as_ref().map(WorkTree::recover).transpose()?.flatten();
        self.notes.extend(recovered.clone());
        let tree = crate::repo::read_tree(&root)?;
        let mut pinning = match &work {
            Some(work) => Pinning::find(&self.settings, work)?,
            None => Pinning::of_folder(&self.settings, &root)?,
        };
        let mut verified = trust::verify(tree, pinning.anchor().as_ref(), self.now, self.settings.strict);
        if pinning.is_first_use() && *gate != Gate::Anything && self.terminal.is_interactive() {
            pinning.first_use(&verified, &mut self.terminal)?;
            verified = trust::verify(verified.tree, pinning.anchor().as_ref(), self.now, self.settings.strict);
        }
        pinning.check_place(&mut verified);
        if *gate != Gate::Anything {
            admit(&verified, gate)?;
        }
        if matches!(verified.exit(), 0 | 5) {
            pinning.advance(&verified)?;
        }
        Ok(Repository { work, root, recovered, verified, pinning })
    }

    /// Who acts: the one person in the latest epoch, or in the draft, whose signing key is at hand. Fails with
    /// exit 6 where there is none, and with exit 2 where there are several and no `--as`.
    pub fn actor(&mut self, verified: &Verified) -> Result<Actor, Failure> {
        let mut keys = self.secret_keys()?;
        let name = self.actor_with(verified, &mut keys)?;
        Ok(Actor { name, keys })
    }

    /// As `actor`, for keys that are there already.
    pub fn actor_with(&self, verified: &Verified, keys: &mut SecretKeys) -> Result<PersonName, Failure> {
        self.actor_among(signing_keys(verified), keys)
    }

    /// Who of these listed signing keys' owners acts.
    pub(super) fn actor_among<'a>(
        &self,
        listed: impl IntoIterator<Item = (PersonName, &'a Certificate, Fingerprint)>,
        keys: &mut SecretKeys,
    ) -> Result<PersonName, Failure> {
        let mut held: Vec<PersonName> = Vec::new();
        for (name, certificate, key) in listed {
            if !held.contains(&name) && keys.holds(certificate, &key) {
                held.push(name);
            }
        }
        let source = match &self.settings.identity {
            Some(path) => format!("{} holds", path.display()),
            None => "your gpg-agent holds".to_owned(),
        };
        match (&self.settings.actor, held.as_slice()) {
            (Some(name), held) if held.contains(name) => Ok(name.clone()),
            (Some(name), _) => Err(Failure::no_key(format!("{source} no signing key that the epoch lists for {name}"))
                .help(Remedy::Doctor)),
            (None, [one]) => Ok(one.clone()),
            (None, []) => Err(Failure::no_key(format!("{source} no signing key that the epoch lists for anybody"))
                .help(Remedy::Doctor)),
            (None, [first, ..]) => {
                let names = held.iter().map(PersonName::as_str).collect::<Vec<_>>().join(", ");
                Err(Failure::usage(format!("{source} the keys of several persons: {names}; say which with --as"))
                    .help(Remedy::As(first.clone())))
            }
        }
    }

    /// The secret keys of this run: a key file, or gpg-agent.
    pub fn secret_keys(&mut self) -> Result<SecretKeys, Failure> {
        let given = match self.settings.passphrase_fd {
            Some(fd) => Some(crate::env::passphrase_from_fd(fd).map_err(|error| {
                Failure::usage(format!("the passphrase can't be read from file descriptor {fd}: {error}"))
            })?),
            None => None,
        };
        let Some(path) = self.settings.identity.clone() else {
            let keys = SecretKeys::agent(given)?;
            // The agent runs now, so nothing that it starts inherits the filter; and no secret was opened yet.
            crate::env::forbid_network();
            return Ok(keys);
        };
        let bytes = crate::disk::read_capped(&path, 1 << 20)?;
        let bytes = bytes.ok_or_else(|| Failure::no_key(format!("{} is not there", path.display())))?;
        let mut given = given;
        let terminal = &mut self.terminal;
        let mut ask = |what: &str| given.take().or_else(|| terminal.passphrase(&format!("Passphrase of {what}: ")));
        let place = displayed(&path.display().to_string());
        SecretKeys::file(Secret::new(bytes), &mut ask).map_err(|error| Failure::from(error).at(&place))
    }

    /// Asks before acting: on the terminal; elsewhere `--yes` is needed.
    pub fn confirm(&mut self, question: &str) -> Result<(), Failure> {
        if self.settings.yes || self.settings.dry_run {
            return Ok(());
        }
        if !self.terminal.is_interactive() {
            // An error is one line.
            let question = question.replace("\n- ", " ").replace('\n', " ");
            return Err(Failure::usage(format!(
                "{question} There is no terminal to ask on: repeat with --yes to go on"
            )));
        }
        if self.terminal.confirm(question) { Ok(()) } else { Err(Failure::interrupted()) }
    }
}

/// Every listed signing key of the latest epoch and of the draft, with the bytes that pin it.
fn signing_keys(verified: &Verified) -> Vec<(PersonName, &Certificate, Fingerprint)> {
    let chain = &verified.chain;
    let epochs = chain.latest().into_iter().chain(chain.draft());
    let persons = epochs.flat_map(|epoch| epoch.epoch.persons.iter());
    persons
        .filter_map(|(name, person)| Some((name, person, chain.certificate(&person.cert_sha256)?)))
        .flat_map(|(name, person, certificate)| {
            person.sign.iter().map(move |key| (name.clone(), certificate, key.clone()))
        })
        .collect()
}

/// Lets a command through whose gate fits what is wrong.
fn admit(verified: &Verified, gate: &Gate) -> Result<(), Failure> {
    let errors: Vec<&Finding> = verified.findings.iter().filter(|f| f.level == Level::Error).collect();
    let passes = |finding: &&Finding| match gate {
        Gate::Edited(clusters) => {
            // Whoever takes an edit back has an older version there: to `verify` a rollback, here what they ask for.
            let of_config = matches!(finding.code, Code::ConflictingGenerations | Code::Superseded);
            let place = finding.path.as_deref().and_then(|path| Place::parse(path).ok());
            (matches!(finding.code, Code::ConfigHash | Code::ApiMismatch)
                || of_config && matches!(place, Some(Place::Config(_))))
                && finding.cluster.as_ref().is_some_and(|cluster| clusters.contains(cluster))
        }
        Gate::Draft => verified.is_only_unsigned_draft() && !finding.code.is_anchor(),
        Gate::Void => is_void(verified, finding),
        Gate::Conflicts => {
            let place = finding.path.as_deref().and_then(|path| Place::parse(path).ok());
            let is_file = matches!(place, Some(Place::Sealed(..) | Place::NodeCert(..) | Place::PersonCert(..)));
            finding.code == Code::ConflictingGenerations && is_file
        }
        Gate::Unsettled => match finding.code {
            Code::ConflictingGenerations => true,
            // Of a keyset as a whole, and of no record.
            Code::BadPhase => finding.path.is_none() && finding.cluster.is_some(),
            _ => false,
        },
        Gate::Valid | Gate::Anything => false,
    };
    let left: Vec<Finding> = errors.into_iter().filter(|finding| !passes(finding)).cloned().collect();
    if left.is_empty() {
        return Ok(());
    }
    let what = match left.iter().find(|finding| !finding.code.is_anchor()) {
        Some(_) if verified.is_only_unsigned_draft() => "the draft of the next epoch lacks signatures".to_owned(),
        Some(first) => format!("this repository is invalid ({})", first.code),
        None => format!("this repository is not known to be the right one ({})", left[0].code),
    };
    Err(Failure::findings(what, left))
}

/// Whether a finding says that a record is void.
fn is_void(verified: &Verified, finding: &Finding) -> bool {
    let log = &verified.log;
    let record = log.records.iter().position(|logged| Some(&logged.path) == finding.path.as_ref());
    record.is_some_and(|index| log.void[index].is_some() && !log.broken[index])
}

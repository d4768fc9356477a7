//! `init`: the first epoch, with one founder. The one command that verifies nothing first, because there is
//! nothing yet; what it is about to write is verified like any other tree.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::equip::{self, Wanted};
use super::failure::Failure;
use super::given::Given;
use super::pinning::{self, Pinning};
use super::plan::{self, Written};
use super::session::Session;
use crate::model::{Digest, Finding, Fingerprint, HexId, Level, PersonName, Place, Remedy, Span};
use crate::openpgp::Kind;
use crate::repo::{ChangeSet, WorkTree, read_tree, with_attributes};
use crate::trust::{self, Epoch, Policy, Thresholds, Tree, TrustRole, Verified};

/// The templates that kluis was built with: path and content.
pub const TEMPLATES: &[(&str, &str)] = &[("templates/cluster.toml", include_str!("templates/cluster.toml"))];

/// What was founded.
#[derive(Debug, Serialize)]
pub struct Founded {
    /// The repository's id; none with `--dry-run`, which draws none.
    pub repo: Option<HexId<32>>,
    /// The hash of the first epoch.
    pub genesis: Option<Digest>,
    /// The founder.
    pub person: PersonName,
    /// The founder's certificate.
    pub cert: Fingerprint,
    /// The line that colleagues pin.
    pub pin: Option<String>,
    /// Whether this machine pinned it.
    pub pinned: bool,
    /// Where the pre-commit hook lies, if one was written.
    pub hook: Option<String>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Starts a repository with `name` as its first root.
pub fn init(session: &mut Session, name: &PersonName, given: &Given, wanted: &Wanted) -> Result<Founded, Failure> {
    let work = WorkTree::open(&session.settings.dir)?;
    if let Some(what) = work.recover()? {
        session.notes.push(what);
    }
    let tree = read_tree(work.root())?;
    check_empty(&tree)?;
    let hook = equip::check_hook(&work, wanted)?;
    let mut pinning = Pinning::find(&session.settings, &work)?;
    let epoch = genesis(session, name, given);
    let bytes = epoch.write().into_bytes();
    let mut changes = files(session, &work)?;
    equip::add(session, &work, wanted, &mut changes)?;
    changes.writes.insert(Place::Epoch(1).to_string(), bytes.clone());
    changes.writes.insert(Place::PublicKey(name.clone()).to_string(), given.stored.clone());
    let signature = Place::EpochSignature { number: 1, person: name.clone(), old: false };
    let mut founded = Founded {
        repo: None,
        genesis: None,
        person: name.clone(),
        cert: given.fingerprint(),
        pin: None,
        pinned: false,
        hook: None,
        written: Written { epoch: Some(1), dry_run: session.settings.dry_run, ..Written::default() },
    };
    let paths: BTreeSet<String> = changes.writes.keys().cloned().chain([signature.to_string()]).collect();
    founded.written.paths = paths.into_iter().collect();
    if session.settings.dry_run {
        return Ok(founded);
    }
    work.check_writable(&BTreeSet::new())?;
    changes.writes.insert(signature.to_string(), sign(session, name, given, &bytes)?);
    let verified = check(session, &tree, &changes)?;
    let message = plan::message(&format!("Start a repository of kluis with {name} as its root"), "", &founded.written);
    founded.written.commit = plan::commit(session, &work, &changes, message)?;
    if !pinning.is_given() {
        let noted = pinning.pin_tree(&verified).and_then(|()| pinning.note_signed(&epoch, &Digest::of(&bytes)));
        if let Err(failure) = noted {
            session.notes.push(plan::forgotten(&failure));
        }
    }
    founded.pinned = pinning.is_pinned();
    founded.hook = hook.map(|hook| hook.write(session.settings.dry_run)).transpose()?;
    founded.repo = Some(epoch.repo);
    founded.genesis = Some(Digest::of(&bytes));
    founded.pin = pinning::pin_line(&verified).map(|line| line.to_string());
    Ok(founded)
}

/// Refuses a tree that has anything where kluis keeps its own.
fn check_empty(tree: &Tree) -> Result<(), Failure> {
    let Some(path) = tree.entries.keys().find(|path| *path == "trust" || path.starts_with("trust/")) else {
        return match tree.entries.keys().next() {
            None => Ok(()),
            Some(path) => Err(Failure::refused(format!("{path} lies where kluis keeps its own files: move it first"))
                .help(Remedy::GitStatus)),
        };
    };
    let what = format!("{path} is there already: init starts a repository and never replaces one");
    Err(Failure::refused(what).help(Remedy::Verify))
}

fn genesis(session: &mut Session, name: &PersonName, given: &Given) -> Epoch {
    Epoch {
        repo: HexId(session.rng.bytes()),
        number: 1,
        previous: None,
        created: session.now,
        expires: session.now.plus(Span::days(365)),
        reason: format!("{name} starts this repository"),
        threshold: Thresholds { trust: 1, break_glass: 1 },
        policy: Policy::default(),
        persons: BTreeMap::from([(name.clone(), given.person(TrustRole::Root))]),
        clusters: BTreeMap::new(),
        former: Vec::new(),
        waived: Vec::new(),
        closes: None,
    }
}

/// The files beside the managed trees: attributes that keep git from changing bytes, and the templates.
fn files(session: &mut Session, work: &WorkTree) -> Result<ChangeSet, Failure> {
    let mut changes = ChangeSet::default();
    let existing = crate::disk::read_capped(&work.root().join(".gitattributes"), 1 << 20)?.unwrap_or_default();
    if let Some(attributes) = with_attributes(&existing) {
        changes.writes.insert(".gitattributes".to_owned(), attributes);
    }
    for (path, content) in TEMPLATES {
        match crate::disk::read_capped(&work.root().join(path), 256 << 10)? {
            None => drop(changes.writes.insert((*path).to_owned(), content.as_bytes().to_vec())),
            Some(_) => session.notes.push(format!("{path} is there already and was left as it is")),
        }
    }
    Ok(changes)
}

fn sign(session: &mut Session, name: &PersonName, given: &Given, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut keys = session.secret_keys()?;
    let held = given.usable.sign.iter().find(|key| keys.holds(&given.certificate, key));
    let Some(key) = held else {
        let source = match &session.settings.identity {
            Some(path) => path.display().to_string(),
            None => "your gpg-agent".to_owned(),
        };
        let what = format!("{source} holds no signing key of the certificate {}", given.fingerprint());
        return Err(Failure::no_key(what).help(Remedy::Run("gpg --list-secret-keys".to_owned())));
    };
    keys.explain(&format!("kluis: sign the first epoch as {name}"));
    Ok(keys.sign(bytes, Kind::Epoch, &given.certificate, key, session.now)?)
}

/// Verifies the tree that would result; nothing pins it yet.
fn check(session: &Session, tree: &Tree, changes: &ChangeSet) -> Result<Verified, Failure> {
    let verified = trust::verify(plan::overlay(tree, changes), None, session.now, false);
    let wrong = |f: &&Finding| f.level == Level::Error && !f.code.is_anchor();
    let errors: Vec<Finding> = verified.findings.iter().filter(wrong).cloned().collect();
    match errors.first() {
        None => Ok(verified),
        Some(first) => {
            let what = format!("this would make an invalid repository ({}: {})", first.code, first.why);
            Err(Failure { help: None, ..Failure::findings(what, errors) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClusterConfig;

    #[test]
    fn the_template_says_nothing_until_its_comments_are_taken_off_and_then_parses() {
        let (_, text) = TEMPLATES[0];
        assert!(text.lines().all(|line| line.is_empty() || line.starts_with("# ") || line == "#"));
        let setting =
            |line: &&str| line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        let settings: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# ")).filter(setting).collect();
        let config = ClusterConfig::parse(&settings.join("\n")).unwrap();
        assert_eq!(config.nodes.len(), 2);
    }
}

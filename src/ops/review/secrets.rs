//! Who could open which sealed file before, and who can afterwards, by the packets of the files themselves; and what
//! that gives to and takes from each person.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::material::Material;
use crate::model::{ClusterName, Digest, KeyId, PersonName, Place, SealedName};
use crate::openpgp::read_envelope;
use crate::ops::textconv::Names;
use crate::trust::record::Sealed;
use crate::trust::{Entry, Tree};

/// Somebody who can open a file, as its packets say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reader {
    /// The person whose key an epoch lists; none where no epoch does.
    pub person: Option<PersonName>,
    /// The 64-bit key id.
    pub key: KeyId,
}

impl Reader {
    /// The name, or the key that nobody knows.
    pub fn label(&self) -> String {
        self.person.as_ref().map_or_else(|| format!("UNKNOWN-{}", self.key), ToString::to_string)
    }
}

/// What happened to one sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It is new.
    New,
    /// It was sealed again.
    Resealed,
    /// It is gone.
    Removed,
    /// It is no sealed file any more.
    Damaged,
}

/// One sealed file that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretChange {
    /// Its path.
    pub path: String,
    /// Its cluster.
    pub cluster: ClusterName,
    /// What it holds: `ca.kubernetes.g1`, `node.cp-1`.
    pub name: String,
    /// What happened to it.
    pub fate: Fate,
    /// Who could open it before.
    pub before: Vec<Reader>,
    /// Who can open it afterwards.
    pub after: Vec<Reader>,
    /// Whether a record of this change vouches for it with exactly these recipients.
    pub recorded: bool,
}

/// What one person gains and loses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// Secrets that they can open now, by cluster.
    pub gains: BTreeMap<ClusterName, BTreeSet<String>>,
    /// Secrets that are no longer sealed to them, by cluster. What they opened before, they may have kept.
    pub loses: BTreeMap<ClusterName, BTreeSet<String>>,
}

/// Every sealed file that differs.
pub fn changes(material: &Material, names: &Names, vouched: &[Sealed]) -> Vec<SecretChange> {
    let mut found = Vec::new();
    for path in &material.changed {
        let Ok(Place::Sealed(cluster, name)) = Place::parse(path) else { continue };
        let before = readers(&material.before, path, names);
        let after = readers(&material.after, path, names);
        let fate = match (&before, &after) {
            (_, Some(Err(()))) => Fate::Damaged,
            (_, None) => Fate::Removed,
            (None, Some(Ok(_))) => Fate::New,
            (Some(_), Some(Ok(_))) => Fate::Resealed,
        };
        let list = |side: Option<Result<Vec<Reader>, ()>>| side.and_then(Result::ok).unwrap_or_default();
        let (before, after) = (list(before), list(after));
        let recorded = fate == Fate::Removed || is_recorded(material, path, &name, &after, vouched);
        found.push(SecretChange { path: path.clone(), cluster, name: name.to_string(), fate, before, after, recorded });
    }
    found
}

fn readers(tree: &Tree, path: &str, names: &Names) -> Option<Result<Vec<Reader>, ()>> {
    match tree.entries.get(path)? {
        Entry::File { bytes, .. } => Some(match read_envelope(bytes) {
            Ok(envelope) => {
                let reader = |key: &KeyId| Reader { person: names.find(*key).cloned(), key: *key };
                Ok(envelope.recipients.iter().map(reader).collect())
            }
            Err(_) => Err(()),
        }),
        _ => Some(Err(())),
    }
}

fn is_recorded(material: &Material, path: &str, name: &SealedName, after: &[Reader], vouched: &[Sealed]) -> bool {
    let Some(sha256) = material.after.bytes(path).map(Digest::of) else { return false };
    vouched.iter().any(|entry| {
        let keys = entry.recipients.iter().map(|recipient| recipient.key.key_id());
        entry.sha256 == sha256 && entry.name == *name && keys.eq(after.iter().map(|reader| reader.key))
    })
}

/// What the changes of files give and take, by the label of each reader.
pub fn access(changes: &[SecretChange]) -> BTreeMap<String, Access> {
    let mut access: BTreeMap<String, Access> = BTreeMap::new();
    for change in changes {
        let labels = |readers: &[Reader]| readers.iter().map(Reader::label).collect::<BTreeSet<_>>();
        let (before, after) = (labels(&change.before), labels(&change.after));
        for label in after.difference(&before) {
            let gains = &mut access.entry(label.clone()).or_default().gains;
            gains.entry(change.cluster.clone()).or_default().insert(change.name.clone());
        }
        // A file that is gone, or no sealed file any more, is lost to everybody.
        if matches!(change.fate, Fate::Resealed) {
            for label in before.difference(&after) {
                let loses = &mut access.entry(label.clone()).or_default().loses;
                loses.entry(change.cluster.clone()).or_default().insert(change.name.clone());
            }
        }
    }
    access
}

//! Sealing and opening through the verified repository: recipients come from the epoch alone, and what is
//! opened is used only if it is what its record says.

use std::collections::{BTreeMap, BTreeSet};

use super::failure::Failure;
use super::session::{Actor, Repository, Session};
use crate::model::{ClusterName, Digest, Fingerprint, PersonName, Place, Remedy, SealedName};
use crate::openpgp::Certificate;
use crate::seal::{self, Header, OpenFault, SealedKey};
use crate::trust::current::{Vouch, Vouched};
use crate::trust::owed::due_recipients;
use crate::trust::record::{PublicId, Recipient, Sealed};
use crate::trust::{Cluster, Epoch, Verified};

/// To whom a cluster's secrets are sealed, with their certificates, in the order of the packets.
pub struct Recipients<'a>(Vec<(Recipient, &'a Certificate)>);

impl<'a> Recipients<'a> {
    /// The keyholders of `cluster` under `epoch`. Fails where one of their keys has expired: it is never
    /// left out silently, and never sealed to (T81).
    pub fn of(verified: &'a Verified, epoch: &Epoch, cluster: &Cluster, session: &Session) -> Result<Self, Failure> {
        let mut recipients = Vec::new();
        for recipient in due_recipients(cluster, epoch) {
            let person = epoch.persons.get(&recipient.person);
            let certificate = person.and_then(|person| verified.chain.certificate(&person.cert_sha256));
            let missing = || Failure::refused(format!("the certificate of {} is not there", recipient.person));
            let certificate = certificate.ok_or_else(missing)?;
            let expired = certificate.life(&recipient.key).and_then(|(_, end)| end).filter(|end| *end <= session.now);
            if let Some(end) = expired {
                let what = format!(
                    "the encryption key {} of {} expired {end}; nothing is sealed to it",
                    recipient.key, recipient.person
                );
                return Err(Failure::refused(what).help(Remedy::PersonUpdate(recipient.person)));
            }
            recipients.push((recipient, certificate));
        }
        if recipients.is_empty() {
            return Err(Failure::refused("nobody would be able to open it: the cluster has no keyholder"));
        }
        Ok(Self(recipients))
    }

    fn keys(&self) -> Vec<(&Certificate, &Fingerprint)> {
        self.0.iter().map(|(recipient, certificate)| (*certificate, &recipient.key)).collect()
    }

    fn entries(&self) -> Vec<Recipient> {
        self.0.iter().map(|(recipient, _)| recipient.clone()).collect()
    }
}

/// The header that binds a secret to its repository, cluster, name and generation.
pub fn header(epoch: &Epoch, cluster: &Cluster, name: &SealedName) -> Header {
    Header { repo: epoch.repo, cluster: cluster.id, name: name.header_name(), generation: name.generation() }
}

/// The highest revision of every sealed file that the log has.
pub fn revisions(verified: &Verified) -> BTreeMap<Place, u32> {
    let mut revisions: BTreeMap<Place, u32> = BTreeMap::new();
    for entry in verified.log.records.iter().flat_map(|logged| &logged.record.sealed) {
        let highest = revisions.entry(entry.place()).or_default();
        *highest = entry.revision.max(*highest);
    }
    revisions
}

/// Seals `keys` to `recipients`. Returns the record's entry and the bytes of the file.
pub fn seal(
    header: &Header,
    (cluster, name): (&ClusterName, &SealedName),
    keys: &[SealedKey],
    recipients: &Recipients<'_>,
    revision: u32,
) -> Result<(Sealed, Vec<u8>), Failure> {
    let bytes = seal::seal(header, keys, &recipients.keys())?;
    let public = keys.iter().map(|key| {
        let unknown = || Failure::refused(format!("{} is no private key that kluis reads", key.name));
        Ok(PublicId { name: key.name.clone(), id: key.id().ok_or_else(unknown)? })
    });
    let mut public = public.collect::<Result<Vec<PublicId>, Failure>>()?;
    public.sort_by(|a, b| a.name.cmp(&b.name));
    let entry = Sealed {
        cluster: cluster.clone(),
        name: name.clone(),
        revision,
        sha256: Digest::of(&bytes),
        imported: false,
        recipients: recipients.entries(),
        public,
    };
    Ok((entry, bytes))
}

/// The current entry of a sealed file.
pub fn entry<'a>(repository: &'a Repository, place: &Place) -> Result<&'a Sealed, Failure> {
    match repository.verified.current.paths.get(place) {
        Some(Vouched { vouch: Vouch::Sealed(entry), .. }) => Ok(entry),
        _ => Err(Failure::refused(format!("there is no secret {place}"))),
    }
}

/// The entry that the sealed file in the tree fits: the current one; where versions are in conflict, the one that lies there.
pub fn entry_of_file<'a>(verified: &'a Verified, place: &Place) -> Option<&'a Sealed> {
    if let Some(Vouched { vouch, .. }) = verified.current.paths.get(place) {
        return match vouch {
            Vouch::Sealed(entry) => Some(entry),
            _ => None,
        };
    }
    let sha256 = Digest::of(verified.tree.bytes(&place.to_string())?);
    verified.current.last(&verified.log, place).into_iter().find_map(|vouched| match &vouched.vouch {
        Vouch::Sealed(entry) if entry.sha256 == sha256 => Some(entry),
        _ => None,
    })
}

/// Opens a current sealed file: one private-key operation. Fails unless its header and keys are those of its
/// record; then nothing of it is used.
pub fn open(repository: &Repository, actor: &mut Actor, place: &Place) -> Result<Vec<SealedKey>, Failure> {
    open_entry(repository, actor, entry(repository, place)?)
}

/// As `open`, for an entry that the file in the tree fits, whether it is the current one or one of several.
pub fn open_entry(repository: &Repository, actor: &mut Actor, entry: &Sealed) -> Result<Vec<SealedKey>, Failure> {
    opening(repository, actor, entry)?.map_err(|fault| Failure::from(fault).at(&entry.place().to_string()))
}

/// As `open_entry`, with the fault as it is where the file was reached and could not be opened.
pub fn opening(
    repository: &Repository,
    actor: &mut Actor,
    entry: &Sealed,
) -> Result<Result<Vec<SealedKey>, OpenFault>, Failure> {
    let place = entry.place();
    let verified = &repository.verified;
    let epoch = repository.epoch()?;
    let cluster = repository.cluster(&entry.cluster)?;
    let bytes = verified.tree.bytes(&place.to_string()).unwrap_or_default();
    let candidates = candidates(verified, &actor.name, entry);
    if candidates.is_empty() {
        let people: BTreeSet<&PersonName> = entry.recipients.iter().map(|recipient| &recipient.person).collect();
        let what = format!("{place} is not sealed to {}, but to {}", actor.name, super::names(people));
        return Err(Failure::no_key(what).help(Remedy::Reseal(Some(entry.cluster.clone()))));
    }
    let ids: Vec<(String, Digest)> = entry.public.iter().map(|key| (key.name.clone(), key.id)).collect();
    actor.keys.explain(&format!("kluis: open {} of cluster {}", entry.name, entry.cluster));
    let expected = header(epoch, cluster, &entry.name);
    Ok(seal::open(&mut actor.keys, bytes, &candidates, &expected, &ids))
}

/// The keys of `actor` among the recipients, with certificates that some epoch pins.
pub fn candidates<'a>(
    verified: &'a Verified,
    actor: &PersonName,
    entry: &'a Sealed,
) -> Vec<(&'a Certificate, &'a Fingerprint)> {
    let mut found: Vec<(&Certificate, &Fingerprint)> = Vec::new();
    for recipient in entry.recipients.iter().filter(|recipient| recipient.person == *actor) {
        let epochs = verified.chain.all().iter().rev();
        let mut persons = epochs.filter_map(|epoch| epoch.epoch.persons.get(actor));
        let person = persons.find(|person| person.encrypt.contains(&recipient.key));
        if let Some(certificate) = person.and_then(|person| verified.chain.certificate(&person.cert_sha256)) {
            found.push((certificate, &recipient.key));
        }
    }
    found
}

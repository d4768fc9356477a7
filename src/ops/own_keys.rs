//! A person's own keys: the private keys of their client and break-glass certificates. They never enter the
//! repository; each lies in the state folder, sealed to its owner's OpenPGP keys and named by its SPKI hash
//! (FORMAT 11), in the plaintext of FORMAT 9 with the header name `person.NAME` and one key, named by its profile.

use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::session::{Actor, Repository, Session};
use crate::model::{ClusterName, Digest, Fingerprint, Generation, PersonName, Profile, Remedy};
use crate::openpgp::{Certificate, SecretKeys};
use crate::pki::PrivateKey;
use crate::seal::{self, Header, KeyBody, SealedKey};
use crate::trust::{Cluster, Epoch, Verified};

/// The largest file that is read: as any sealed file.
const LARGEST: u64 = 256 << 10;

/// Where the key with this SPKI hash lies.
pub fn path(session: &Session, spki: &Digest) -> Result<PathBuf, Failure> {
    Ok(session.settings.state_dir()?.join("keys").join(format!("{spki}.asc")))
}

fn header(epoch: &Epoch, cluster: &Cluster, person: &PersonName) -> Header {
    let name = format!("person.{person}");
    Header { repo: epoch.repo, cluster: cluster.id, name, generation: Generation::FIRST }
}

/// The person's encryption keys that the latest epoch lists, with the certificate that it pins.
fn listed<'a>(verified: &'a Verified, person: &PersonName) -> Vec<(&'a Certificate, &'a Fingerprint)> {
    let latest = verified.chain.latest().and_then(|latest| latest.epoch.persons.get(person));
    let Some(listed) = latest else { return Vec::new() };
    let Some(certificate) = verified.chain.certificate(&listed.cert_sha256) else { return Vec::new() };
    listed.encrypt.iter().map(|key| (certificate, key)).collect()
}

/// Seals a new key of `person` for `cluster` of `epoch`, which may be a draft, to themself alone, under the keys
/// that the latest valid epoch lists. Returns where it belongs and the bytes.
pub fn seal(
    session: &Session,
    verified: &Verified,
    (epoch, cluster): (&Epoch, &Cluster),
    person: &PersonName,
    (profile, key): (Profile, &PrivateKey),
) -> Result<OwnKey, Failure> {
    let header = header(epoch, cluster, person);
    let keys = [SealedKey::new(profile.to_string(), KeyBody::Pkcs8(key.to_pkcs8()))];
    let bytes = seal::seal(&header, &keys, &listed(verified, person))?;
    Ok(OwnKey { path: path(session, &key.spki_id())?, bytes })
}

/// A sealed key that is not on disk yet.
pub struct OwnKey {
    /// Where it belongs.
    pub path: PathBuf,
    bytes: Vec<u8>,
}

impl OwnKey {
    /// Writes it, runs `commit`, and takes it away again where that fails. In this order, so that no certificate
    /// ever goes on record whose key was lost; a kill in between leaves a sealed key that nothing names.
    pub fn keep<T>(self, commit: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let folder = crate::disk::private_folder(parent)?;
        crate::disk::write_private(&self.path, &self.bytes)?;
        let outcome = commit();
        if let (Err(_), Some(name)) = (&outcome, self.path.file_name()) {
            // What failed first is the news; a leftover is sealed and harmless.
            let _ = folder.remove(name);
        }
        outcome
    }
}

/// Opens the actor's own key with this SPKI hash: one private-key operation. `None` if it is not on this machine.
pub fn open(
    session: &Session,
    repository: &Repository,
    actor: &mut Actor,
    cluster: &ClusterName,
    (profile, spki): (Profile, &Digest),
) -> Result<Option<PrivateKey>, Failure> {
    let Some(sealed) = find(session, spki)? else { return Ok(None) };
    let of = (repository.epoch()?, cluster);
    let candidates = listed(&repository.verified, &actor.name);
    open_sealed(&mut actor.keys, &sealed, of, (&actor.name, &candidates), (profile, spki)).map(Some)
}

/// A sealed key as it lies in the state folder.
pub struct Sealed {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// The sealed key with this SPKI hash; `None` if it is not on this machine.
pub fn find(session: &Session, spki: &Digest) -> Result<Option<Sealed>, Failure> {
    let path = path(session, spki)?;
    let bytes = crate::disk::read_capped(&path, LARGEST)?;
    Ok(bytes.map(|bytes| Sealed { path, bytes }))
}

/// Opens the key of `person` for `cluster` of `epoch` with one of their encryption keys `candidates`: one private-key
/// operation. What is returned has the SPKI hash asked for.
pub fn open_sealed(
    keys: &mut SecretKeys,
    sealed: &Sealed,
    (epoch, cluster): (&Epoch, &ClusterName),
    (person, candidates): (&PersonName, &[(&Certificate, &Fingerprint)]),
    (profile, spki): (Profile, &Digest),
) -> Result<PrivateKey, Failure> {
    let unknown = || Failure::usage(format!("there is no cluster {cluster}")).help(Remedy::ClusterList);
    let header = header(epoch, epoch.clusters.get(cluster).ok_or_else(unknown)?, person);
    let ids = [(profile.to_string(), *spki)];
    keys.explain(&format!("kluis: open your own {profile} key of cluster {cluster}"));
    let opened = seal::open(keys, &sealed.bytes, candidates, &header, &ids);
    let place = sealed.path.display().to_string();
    let opened = opened.map_err(|fault| Failure::from(fault).at(&place).help(Remedy::Doctor))?;
    match opened.into_iter().next().map(SealedKey::into_body) {
        Some(KeyBody::Pkcs8(der)) => Ok(PrivateKey::from_pkcs8(&der)?),
        _ => Err(Failure::refused(format!("{place} holds no private key")).help(Remedy::Doctor)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_whose_certificate_did_not_come_about_is_taken_away_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/a.asc");
        let own = |bytes: &[u8]| OwnKey { path: path.clone(), bytes: bytes.to_vec() };
        let failed = own(b"x").keep(|| Err::<(), _>(Failure::failed(path.is_file().to_string())));
        assert_eq!(failed.unwrap_err().what, "true");
        assert!(!path.exists());
        own(b"y").keep(|| Ok(())).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"y");
    }
}

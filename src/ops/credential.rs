//! `credential`: hands kubectl a person's certificate and its key, at every call. Decides what has to be checked before a
//! key is opened, and checks no more than that, because it must cost as little as reading a file.
//!
//! What is verified: the epochs (chain, signatures, this machine's pin) and the one certificate: that a CA issued it that
//! the latest epoch lists for the cluster, that it is the person's and of the kind asked for, that it lives, and that the
//! key opened is its own. Nothing of the log is.
//!
//! Attack: somebody who can write to the work tree lays another certificate there, so that the key, or the person's name,
//! is used for something else. A certificate of a foreign CA is refused by the epoch, another person's by its name, one
//! that belongs to another key by the key; an older one of the same person and key says nothing that was not issued to
//! them. What the log could say against a certificate (void record, revoked, replaced) no API server hears either. The
//! options were verifying everything, seconds at every call in a large repository, and a cache of an earlier verify,
//! which whoever can write to the state folder forges. Where the key is used is not decided here: the endpoint and its
//! CAs stand in the kubeconfig, which a command wrote that verified everything.

use std::path::PathBuf;

use super::access::Access;
use super::failure::Failure;
use super::own_keys;
use super::pinning::Pinning;
use super::session::Session;
use crate::model::{ClusterName, Code, Digest, Finding, PersonName, Place, Profile, Remedy, Time};
use crate::openpgp::Certificate;
use crate::pki::{self, Facts};
use crate::repo;
use crate::secret::Secret;
use crate::trust::latest::{certificate, latest};
use crate::trust::{self, Epoch, Person, Tree};

/// The epoch that rules, and the files that it was read from.
pub struct Standing {
    root: PathBuf,
    tree: Tree,
    /// The latest valid epoch.
    pub epoch: Epoch,
}

/// What kubectl gets.
pub struct Credential {
    /// The certificate, PEM.
    pub certificate: Vec<u8>,
    /// Its key, PKCS#8 PEM.
    pub key: Secret,
    /// Its last second.
    pub not_after: Time,
}

impl Standing {
    /// Reads the epochs of the repository and checks them against this machine's pin, which it never moves. Clusters other
    /// than `cluster` may be left out.
    pub fn open(session: &Session, cluster: Option<&ClusterName>) -> Result<Self, Failure> {
        let root = super::verify::find_root(&session.settings.dir)?;
        let tree = repo::read_part(&root, &["trust/epoch", "pubkeys"])?;
        let pinning = Pinning::of_folder(&session.settings, &root)?;
        if let Some(finding) = pinning.misplaced() {
            return Err(refused(vec![finding]));
        }
        let epoch = latest(&tree, pinning.anchor().as_ref(), cluster).map_err(refused)?;
        Ok(Self { root, tree, epoch })
    }

    /// Opens the key of the acting person's certificate: one private-key operation.
    pub fn credential(
        &self,
        session: &mut Session,
        cluster: &ClusterName,
        profile: Profile,
    ) -> Result<Credential, Failure> {
        // A person who is named is looked for before an agent is: what is wrong with the certificate is said first.
        let (person, keys) = match session.settings.actor.clone() {
            Some(person) => (person, None),
            None => {
                let mut keys = session.secret_keys()?;
                let certificates = self.certificates();
                let listed = certificates.iter().flat_map(|(name, person, certificate)| {
                    person.sign.iter().map(move |key| ((*name).clone(), certificate, key.clone()))
                });
                (session.actor_among(listed, &mut keys)?, Some(keys))
            }
        };
        let access = Access { cluster, person: &person, profile };
        let listed = self.epoch.persons.get(&person).ok_or_else(|| {
            Failure::refused(format!("epoch {} lists no {person}", self.epoch.number)).help(Remedy::PersonList)
        })?;
        let (der, facts) = self.leaf(&access)?;
        access.check_life(&facts, session.now)?;
        let sealed = own_keys::find(session, &facts.spki_id)?.ok_or_else(|| access.elsewhere())?;
        let owner = certificate(&self.tree, &person, listed).map_err(refused)?;
        let candidates: Vec<_> = listed.encrypt.iter().map(|key| (&owner, key)).collect();
        let mut keys = match keys {
            Some(keys) => keys,
            None => session.secret_keys()?,
        };
        let of = (&self.epoch, cluster);
        let wanted = (profile, &facts.spki_id);
        let key = own_keys::open_sealed(&mut keys, &sealed, of, (&person, &candidates), wanted)?;
        session.notes.extend(access.ending(&facts, session.now));
        let certificate = pki::certificate_pem(&der);
        Ok(Credential { certificate, key: key.to_pkcs8_pem(), not_after: facts.not_after })
    }

    fn certificates(&self) -> Vec<(&PersonName, &Person, Certificate)> {
        let persons = self.epoch.persons.iter();
        persons.filter_map(|(name, person)| Some((name, person, certificate(&self.tree, name, person).ok()?))).collect()
    }

    /// The person's certificate, checked as the head of this file says.
    fn leaf(&self, access: &Access<'_>) -> Result<(Vec<u8>, Facts), Failure> {
        let Access { cluster, person, profile } = *access;
        let place = Place::PersonCert(cluster.clone(), person.clone(), profile).to_string();
        let authorities = format!("clusters/{cluster}/ca");
        let files = repo::read_part(&self.root, &[&place, &authorities])?;
        let unreadable = trust::check_files(&files);
        if !unreadable.is_empty() {
            return Err(refused(unreadable));
        }
        let pem = files.bytes(&place).ok_or_else(|| access.missing())?;
        let fault = |code, why: String| {
            let finding = Finding::new(code, why).at(&place).in_cluster(cluster).of(person);
            refused(vec![finding.fix(Remedy::GitRestore(place.clone()))])
        };
        let der = pki::parse_pem(pem, "CERTIFICATE").map_err(|error| fault(Code::CertFormat, error.to_string()))?;
        let facts = Facts::read(&der).map_err(|error| fault(Code::CertFormat, error.to_string()))?;
        pki::check_leaf(&facts, profile, person.as_str()).map_err(|(code, why)| fault(code, why))?;
        let of = &self.epoch.clusters[cluster];
        let keyset = trust::keyset_of(of, profile);
        let issuer = of.generations(keyset).find(|(generation, sha256)| {
            let path = Place::Ca(cluster.clone(), keyset, *generation).to_string();
            let ca = files.bytes(&path).and_then(|pem| pki::parse_pem(pem, "CERTIFICATE").ok());
            let ca = ca.filter(|der| Digest::of(der) == *sha256).and_then(|der| Facts::read(&der).ok());
            ca.is_some_and(|ca| pki::check_issued_by(&facts, &ca).is_ok())
        });
        match issuer {
            Some(_) => Ok((der, facts)),
            None => {
                let number = self.epoch.number;
                let why =
                    format!("no CA of {keyset} that epoch {number} lists for {cluster}, and that is here, issued it");
                Err(fault(Code::UnknownIssuer, why))
            }
        }
    }
}

fn refused(findings: Vec<Finding>) -> Failure {
    let what = match findings.iter().find(|finding| !finding.code.is_anchor()).or(findings.first()) {
        Some(first) if first.code.is_anchor() => {
            format!("this repository is not known to be the right one ({})", first.code)
        }
        Some(first) => format!("this repository is invalid ({})", first.code),
        None => "this repository is invalid".to_owned(),
    };
    Failure::findings(what, findings)
}

/// Checks what kubectl says of itself: an answer in another version than it asked for would be taken for none.
pub fn check_exec_info(info: Option<&str>, spoken: &str) -> Result<(), Failure> {
    let Some(info) = info else { return Ok(()) };
    let asked = serde_json::from_str::<serde_json::Value>(info).ok();
    let asked = asked.as_ref().and_then(|info| info["apiVersion"].as_str());
    if asked == Some(spoken) {
        return Ok(());
    }
    let what = match asked {
        Some(asked) => format!("KUBERNETES_EXEC_INFO asks for {asked}, and this answers {spoken} alone"),
        None => "KUBERNETES_EXEC_INFO is not what kubectl writes".to_owned(),
    };
    Err(Failure::usage(what).help(Remedy::Kluis("kubeconfig --help".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_of_the_plugin_interface_is_refused() {
        let info = |version: &str| format!(r#"{{"apiVersion":"{version}","kind":"ExecCredential","spec":{{}}}}"#);
        assert!(check_exec_info(None, "a/v1").is_ok());
        assert!(check_exec_info(Some(&info("a/v1")), "a/v1").is_ok());
        assert!(check_exec_info(Some(&info("a/v1beta1")), "a/v1").unwrap_err().what.contains("a/v1beta1"));
        for text in ["x", "{}", "[]", r#"{"apiVersion":1}"#] {
            assert_eq!(check_exec_info(Some(text), "a/v1").unwrap_err().exit, 2, "{text}");
        }
    }
}

//! Sealing what was found, one key to a file, into one record and one plan. Each entry says `imported`: the key was in
//! plaintext before.

use std::collections::BTreeMap;

use super::super::super::draft::Draft;
use super::super::super::failure::Failure;
use super::super::super::issuing::{self, Target};
use super::super::super::plan::Plan;
use super::super::super::secrets::Recipients;
use super::super::super::session::{Repository, Session};
use crate::import::Found;
use crate::model::{ClusterConfig, ClusterName, Digest, Generation, Keyset, NodeName, Place, SealedName, State};
use crate::pki::{self, PrivateKey};
use crate::seal::{KeyBody, SealedKey};
use crate::trust::record::{Config, Phase, Record};
use crate::trust::{Cluster, keyset_of};

/// Into what is sealed.
pub(super) struct Sealing<'a> {
    pub name: &'a ClusterName,
    pub config: &'a ClusterConfig,
    pub text: String,
    pub record: &'a mut Record,
    pub plan: &'a mut Plan,
}

impl Sealing<'_> {
    /// Seals it all, and lists the cluster in the draft.
    pub fn everything(
        mut self,
        session: &mut Session,
        repository: &Repository,
        (draft, cluster): (&mut Draft, &mut Cluster),
        found: Found,
    ) -> Result<(), Failure> {
        let name = self.name.clone();
        let text = std::mem::take(&mut self.text).into_bytes();
        self.record.config.push(Config { cluster: name.clone(), sha256: Digest::of(&text) });
        self.plan.write(&Place::Config(name.clone()), text);
        let mut sealed: Vec<(Keyset, Vec<SealedKey>)> = Vec::new();
        let first = |digest| BTreeMap::from([(Generation::FIRST, digest)]);
        for (keyset, authority) in &found.authorities {
            cluster.keysets.insert(*keyset, first(Digest::of(&authority.certificate)));
            let place = Place::Ca(name.clone(), *keyset, Generation::FIRST);
            self.plan.write(&place, pki::certificate_pem(&authority.certificate));
            sealed.push((*keyset, pair(*keyset, authority.key.as_ref())));
        }
        if let Some(one) = &found.service_account {
            cluster.keysets.insert(Keyset::ServiceAccount, first(Digest::of(&one.public)));
            let place = Place::ServiceAccount(name.clone(), Generation::FIRST);
            self.plan.write(&place, pki::public_pem(&one.public));
            sealed.push((Keyset::ServiceAccount, pair(Keyset::ServiceAccount, one.key.as_ref())));
        }
        let mut symmetric =
            |key: String, bytes| SealedKey::new(key, KeyBody::Symmetric { salt: session.rng.bytes(), bytes });
        if let Some(bytes) = found.encryption {
            sealed.push((Keyset::Encryption, vec![symmetric("encryption".to_owned(), bytes)]));
        }
        if !found.tokens.is_empty() {
            let tokens = found.tokens.into_iter().map(|(key, bytes)| symmetric(key, bytes)).collect();
            sealed.push((Keyset::Tokens, tokens));
        }
        let recipients = Recipients::of(&repository.verified, repository.epoch()?, cluster, session)?;
        let epoch = draft.epoch.clone();
        let target = Target { epoch: &epoch, name: &name, cluster, config: self.config, recipients: &recipients };
        for (keyset, keys) in sealed {
            if !keys.is_empty() {
                self.seal(&target, &SealedName::Keyset(keyset, Generation::FIRST), &keys)?;
            }
            // An authority whose key is kept elsewhere issues too: not here, and not by us.
            self.record.phase.push(Phase {
                cluster: name.clone(),
                keyset,
                generation: Generation::FIRST,
                state: State::Issuing,
                gates: Vec::new(),
            });
        }
        if let (Some(node), false) = (&found.surroundings.node, found.leaves.is_empty()) {
            let node = NodeName::parse(node).map_err(|error| Failure::usage(error.to_string()))?;
            let mut keys = Vec::new();
            for (profile, leaf) in &found.leaves {
                let place = Place::NodeCert(name.clone(), node.clone(), *profile);
                let keyset = keyset_of(target.cluster, *profile);
                let issuer = found.authorities.get(&keyset).map(|authority| Digest::of(&authority.certificate));
                let gone = || Failure::refused(format!("{place}: the authority {keyset} is not among what was taken"));
                let entry = issuing::entry(place.clone(), &leaf.certificate, issuer.ok_or_else(gone)?)?;
                self.record.issued.push(entry);
                self.plan.write(&place, pki::certificate_pem(&leaf.certificate));
                keys.push(SealedKey::new(profile.to_string(), KeyBody::Pkcs8(leaf.key.to_pkcs8())));
            }
            self.seal(&target, &SealedName::Node(node), &keys)?;
        }
        draft.epoch.clusters.insert(name, cluster.clone());
        Ok(())
    }

    fn seal(&mut self, target: &Target<'_>, name: &SealedName, keys: &[SealedKey]) -> Result<(), Failure> {
        let (entry, bytes) = target.seal(name, keys, (1, true))?;
        self.plan.write(&entry.place(), bytes);
        self.record.sealed.push(entry);
        Ok(())
    }
}

fn pair(keyset: Keyset, key: Option<&PrivateKey>) -> Vec<SealedKey> {
    let name = SealedName::Keyset(keyset, Generation::FIRST).header_name();
    key.into_iter().map(|key| SealedKey::new(name.clone(), KeyBody::Pkcs8(key.to_pkcs8()))).collect()
}

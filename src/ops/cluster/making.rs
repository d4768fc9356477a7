//! Making a new cluster: keys, authorities, certificates and sealed files, into one record and one plan. What to
//! make is decided in `new`; nothing is written here.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::super::draft::Draft;
use super::super::failure::Failure;
use super::super::issuing::{self, Authority, BACKDATE, Bundle, BundleWork, Content, Keys, NodeWork, Opened, Target};
use super::super::own_keys;
use super::super::plan::Plan;
use super::super::secrets::Recipients;
use super::super::session::{Actor, Repository, Session};
use super::super::tokens;
use super::new::{NewCluster, Wanted, bounded};
use crate::model::{
    Algorithm, ClusterConfig, ClusterName, Digest, Distribution, Generation, Host, KeyUse, Keyset, PersonName, Place,
    Profile, SealedName, Span, State, Time,
};
use crate::pki::{self, CaSpec, Facts, NameConstraints, PrivateKey, Validity};
use crate::seal::{KeyBody, SealedKey};
use crate::secret::Secret;
use crate::trust::record::{Config, Phase, Record};
use crate::trust::{Cluster, Epoch};

/// Making: keys, authorities, certificates, sealed files, into one record and one plan.
pub(super) struct Making<'a> {
    pub wanted: &'a Wanted,
    pub config: &'a ClusterConfig,
    pub record: &'a mut Record,
    pub plan: &'a mut Plan,
    pub report: &'a mut NewCluster,
}

impl Making<'_> {
    /// Makes it all. Lists the cluster in the draft; returns the founder's own key where one was asked for.
    pub fn everything(
        &mut self,
        session: &mut Session,
        repository: &Repository,
        (draft, cluster): (&mut Draft, &mut Cluster),
        actor: &Actor,
    ) -> Result<Option<own_keys::OwnKey>, Failure> {
        let name = &self.wanted.name;
        let works: Vec<NodeWork> =
            self.config.nodes.iter().map(|node| all_of((node, self.config.distribution))).collect();
        let distribution = self.config.distribution;
        let algorithm = |keyset| distribution.algorithm(keyset, self.config.algorithm);
        let leaves: usize = works.iter().map(|work| work.fresh.len()).sum();
        let mut wanted: BTreeMap<Algorithm, usize> = BTreeMap::from([(self.config.algorithm, leaves)]);
        for keyset in distribution.keysets().iter().filter(|keyset| !keyset.is_symmetric()) {
            *wanted.entry(algorithm(*keyset)).or_default() += 1;
        }
        let mut keys = Keys::make(session, &wanted);
        let text = self.wanted.text.clone().into_bytes();
        self.record.config.push(Config { cluster: name.clone(), sha256: Digest::of(&text) });
        self.plan.write(&Place::Config(name.clone()), text);
        let mut opened = Opened::new();
        for keyset in distribution.keysets().iter().copied().filter(|keyset| keyset.is_ca()) {
            let key = keys.take(algorithm(keyset), 1).pop().ok_or_else(issuing::too_few_keys)?;
            let certificate = self.authority(keyset, &key, session)?;
            cluster.keysets.insert(keyset, BTreeMap::from([(Generation::FIRST, Digest::of(&certificate))]));
            opened.insert(keyset, Authority { certificate, key });
        }
        let service_account =
            keys.take(algorithm(Keyset::ServiceAccount), 1).pop().ok_or_else(issuing::too_few_keys)?;
        self.service_account(&service_account, cluster);
        let recipients = Recipients::of(&repository.verified, repository.epoch()?, cluster, session)?;
        let epoch = draft.epoch.clone();
        let target = Target { epoch: &epoch, name, cluster, config: self.config, recipients: &recipients };
        self.seal_keysets(session, &target, &opened, &service_account)?;
        for work in &works {
            let own = keys.take(self.config.algorithm, work.fresh.len());
            let made = target.node(&opened, work, own, Bundle::new(), (session.now, &mut session.rng))?;
            made.add_to(self.record, self.plan);
        }
        let own_key = self.break_glass(session, repository, &target, &opened, actor)?;
        draft.epoch.clusters.insert(name.clone(), cluster.clone());
        Ok(own_key)
    }

    fn authority(&mut self, keyset: Keyset, key: &PrivateKey, session: &mut Session) -> Result<Vec<u8>, Failure> {
        let der = new_authority((keyset, Generation::FIRST), key, self.config, session)?;
        let facts = Facts::read(&der)?;
        self.plan.write(&Place::Ca(self.wanted.name.clone(), keyset, Generation::FIRST), pki::certificate_pem(&der));
        self.made(keyset, Some(facts.sha256), Some(facts.not_after));
        Ok(der)
    }

    fn service_account(&mut self, key: &PrivateKey, cluster: &mut Cluster) {
        let keyset = Keyset::ServiceAccount;
        cluster.keysets.insert(keyset, BTreeMap::from([(Generation::FIRST, key.spki_id())]));
        let place = Place::ServiceAccount(self.wanted.name.clone(), Generation::FIRST);
        self.plan.write(&place, pki::public_pem(&key.spki()));
        self.made(keyset, Some(key.spki_id()), None);
    }

    fn made(&mut self, keyset: Keyset, sha256: Option<Digest>, not_after: Option<Time>) {
        if let Some(made) = self.report.keysets.iter_mut().find(|made| made.keyset == keyset) {
            (made.sha256, made.not_after) = (sha256, not_after);
        }
    }

    /// Seals every keyset's first generation, one to a file, and lets it issue.
    fn seal_keysets(
        &mut self,
        session: &mut Session,
        target: &Target<'_>,
        opened: &Opened,
        service_account: &PrivateKey,
    ) -> Result<(), Failure> {
        let distribution = self.config.distribution;
        let mut sealed: Vec<(Keyset, Vec<SealedKey>)> = Vec::new();
        for keyset in distribution.keysets().iter().copied() {
            let of = |body| vec![SealedKey::new(SealedName::Keyset(keyset, Generation::FIRST).header_name(), body)];
            let keys = match keyset {
                Keyset::Tokens => tokens::make(distribution, &mut session.rng),
                Keyset::Encryption => {
                    let bytes = Zeroizing::new(session.rng.bytes::<32>());
                    of(KeyBody::Symmetric { salt: session.rng.bytes(), bytes: Secret::new(bytes.to_vec()) })
                }
                Keyset::ServiceAccount => of(KeyBody::Pkcs8(service_account.to_pkcs8())),
                _ => {
                    let authority = opened.get(&keyset).ok_or_else(issuing::too_few_keys)?;
                    of(KeyBody::Pkcs8(authority.key.to_pkcs8()))
                }
            };
            sealed.push((keyset, keys));
        }
        for (keyset, keys) in sealed {
            let name = SealedName::Keyset(keyset, Generation::FIRST);
            let (entry, bytes) = target.seal(&name, &keys, (1, false))?;
            self.plan.write(&entry.place(), bytes);
            self.record.sealed.push(entry);
            self.record.phase.push(Phase {
                cluster: self.wanted.name.clone(),
                keyset,
                generation: Generation::FIRST,
                state: State::Issuing,
                gates: Vec::new(),
            });
        }
        Ok(())
    }

    /// The founder's own `system:masters`, named, short-lived and on record. Its key is sealed to them alone and
    /// never enters the repository, where every keyholder could open it.
    fn break_glass(
        &mut self,
        session: &mut Session,
        repository: &Repository,
        target: &Target<'_>,
        opened: &Opened,
        actor: &Actor,
    ) -> Result<Option<own_keys::OwnKey>, Failure> {
        let Some(own) = &mut self.report.break_glass else { return Ok(None) };
        self.record.reason = own.reason.clone();
        let life = bounded(self.config.lifetime.break_glass, target.epoch.policy.max_break_glass);
        let of = (target.epoch, target.name, target.cluster, target.config);
        let (issued, pem, own_key) =
            own_certificate(session, repository, of, opened, (&actor.name, Profile::BreakGlass, &[], life))?;
        own.serial = Some(issued.serial.clone());
        own.not_after = issued.not_after;
        own.key = Some(own_key.path.display().to_string());
        self.plan.write(&issued.place, pem);
        self.record.issued.push(issued);
        Ok(Some(own_key))
    }
}

/// The certificate (DER) of a new authority. Its subject names its generation, so that no two of one cluster look alike
/// (kubernetes-pki H.4).
pub(in crate::ops) fn new_authority(
    (keyset, generation): (Keyset, Generation),
    key: &PrivateKey,
    config: &ClusterConfig,
    session: &mut Session,
) -> Result<Vec<u8>, Failure> {
    let common_name = format!("{keyset}-ca-{generation}");
    let validity =
        Validity { not_before: session.now.minus(BACKDATE), not_after: session.now.plus(config.lifetime.authority) };
    let hosts = constrained(keyset, config);
    let networks = if keyset == Keyset::Kubernetes { config.service_cidrs.as_slice() } else { &[] };
    let name_constraints = hosts.as_ref().map(|hosts| NameConstraints { hosts, networks });
    let spec = CaSpec { common_name: &common_name, validity, name_constraints };
    Ok(pki::issue_ca(key, &spec, &mut session.rng))
}

/// Issues `person`'s certificate with a new key, and seals the key to them alone. `groups` are for `client`; those of
/// break-glass are its profile's. Nothing is sealed to the cluster's keyholders, so their keys are not asked after: a
/// colleague's that has expired keeps nobody from break-glass.
pub(in crate::ops) fn own_certificate(
    session: &mut Session,
    repository: &Repository,
    (epoch, name, cluster, config): (&Epoch, &ClusterName, &Cluster, &ClusterConfig),
    opened: &Opened,
    (person, profile, groups, life): (&PersonName, Profile, &[String], Span),
) -> Result<(crate::trust::record::Issued, Vec<u8>, own_keys::OwnKey), Failure> {
    let keyset = crate::trust::keyset_of(cluster, profile);
    let missing = || Failure::refused(format!("the authority {keyset} of cluster {name} is not open"));
    let authority = opened.get(&keyset).ok_or_else(missing)?;
    let key = PrivateKey::generate(config.algorithm, &mut session.rng);
    let fixed = pki::organizations(profile, config);
    let content = Content {
        place: Place::PersonCert(name.clone(), person.clone(), profile),
        organizations: if profile == Profile::Client { groups } else { &fixed },
        sans: &[],
        life,
    };
    let (issued, pem) = issuing::leaf(authority, &key.spki(), content, session.now, &mut session.rng)?;
    let place = (epoch, cluster);
    let own_key = own_keys::seal(session, &repository.verified, place, person, (profile, &key))?;
    Ok((issued, pem, own_key))
}

/// Every certificate of a new node.
fn all_of((node, distribution): (&crate::model::Node, Distribution)) -> NodeWork {
    let fresh = node.profiles(distribution).map(|profile| (profile, "new".to_owned())).collect();
    NodeWork { node: node.clone(), fresh, gone: Vec::new(), bundle: BundleWork::New, public: BTreeMap::new() }
}

/// The names that an authority is good for, where name constraints are asked for: those of every server that it
/// vouches for today, and everything below the cluster's domain. An authority of clients alone has none.
fn constrained(keyset: Keyset, config: &ClusterConfig) -> Option<Vec<Host>> {
    if !config.name_constraints {
        return None;
    }
    let mut hosts: Vec<Host> = Vec::new();
    for node in &config.nodes {
        let servers = node
            .profiles(config.distribution)
            .filter(|profile| profile.fallback_keyset() == keyset && !matches!(profile.key_use(), KeyUse::Client));
        for profile in servers {
            hosts.extend(pki::subject_alt_names(profile, node, config));
        }
    }
    if keyset == Keyset::Kubernetes {
        hosts.extend(Host::parse(&config.dns_domain));
        hosts.push(config.endpoint.host.clone());
        hosts.extend(config.extra_sans.iter().cloned());
    }
    hosts.sort();
    hosts.dedup();
    (!hosts.is_empty()).then_some(hosts)
}

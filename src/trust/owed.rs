//! What is owed though the tree is valid (FORMAT 10): expiry, silence, wrong recipients, certificates and
//! secrets that outlived the trust in their owners.

use std::collections::{BTreeMap, BTreeSet};

use super::Authorities;
use super::chain::Chain;
use super::current::{Current, Vouch, Vouched};
use super::epoch::{Cluster, Epoch, FormerReason};
use super::log::Log;
use super::record::{Issued, Recipient, Sealed};
use super::verify::Verified;
use crate::model::{
    ClusterName, Code, Finding, Fingerprint, Keyset, PersonName, Place, Profile, Remedy, SealedName, Span, State, Time,
};

/// What expires within this is attention.
pub const SOON: Span = Span::days(30);
/// A clock may be this far ahead.
const AHEAD: Span = Span::minutes(10);

/// Everything that judging debts looks at.
pub struct Debts<'a> {
    /// The epochs.
    pub chain: &'a Chain,
    /// The log.
    pub log: &'a Log,
    /// What is current.
    pub current: &'a Current,
    /// The CA certificates.
    pub authorities: &'a Authorities,
    /// The time of asking.
    pub now: Time,
    /// Whether `unconfirmed` is asked for.
    pub strict: bool,
}

impl<'a> Debts<'a> {
    /// Looks at what was verified.
    pub fn of(verified: &'a Verified, now: Time, strict: bool) -> Self {
        let Verified { chain, log, current, authorities, .. } = verified;
        Self { chain, log, current, authorities, now, strict }
    }

    /// All debts.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let Some(latest) = self.chain.latest().map(|latest| &latest.epoch) else { return findings };
        self.times(latest, &mut findings);
        self.keys(latest, &mut findings);
        let index = Index::of(self, latest);
        let nothing = OfCluster::default();
        for (name, cluster) in latest.clusters.iter().filter(|(_, cluster)| !cluster.retired) {
            let of = index.clusters.get(name).unwrap_or(&nothing);
            self.expiring(name, cluster, of, &mut findings);
            self.recipients(name, cluster, (of, latest), &mut findings);
            self.excess(cluster, (of, latest), &mut findings);
            self.exposed(name, cluster, (of, &index, latest), &mut findings);
        }
        if latest.threshold.trust == 1 {
            let why = "one signature is enough to change who is trusted: a single key controls everything";
            let voters = latest.persons.values().filter(|person| person.role.votes()).count();
            let fix = match voters {
                0 | 1 => Remedy::Kluis("person add NAME --pgp FILE --role root".to_owned()),
                _ => Remedy::Kluis("trust set threshold.trust 2".to_owned()),
            };
            findings.push(Finding::new(Code::SingleKey, why).fix(fix));
        }
        findings
    }

    fn times(&self, latest: &Epoch, findings: &mut Vec<Finding>) {
        if self.now > latest.expires {
            let why = format!("epoch {} expired {}", latest.number, latest.expires);
            let at = super::chain::epoch_path(latest.number);
            findings.push(Finding::new(Code::EpochExpired, why).at(at).fix(Remedy::TrustExpires));
        }
        let epochs = self.chain.all().iter().map(|e| (super::chain::epoch_path(e.epoch.number), e.epoch.created));
        let records = self.log.records.iter().map(|logged| (logged.path.clone(), logged.record.time));
        let mut newest = Time::from_unix(0);
        for (path, time) in epochs.chain(records) {
            if time > self.now.plus(AHEAD) {
                findings.push(Finding::new(Code::FutureTime, format!("it is dated {time}")).at(path));
            } else {
                newest = newest.max(time);
            }
        }
        if newest.plus(latest.policy.max_quiet) < self.now {
            let why = format!("the newest statement is of {newest}, more than {} ago", latest.policy.max_quiet);
            findings.push(Finding::new(Code::Stale, why).fix(Remedy::TrustExpires));
        }
    }

    fn keys(&self, latest: &Epoch, findings: &mut Vec<Finding>) {
        for (name, person) in &latest.persons {
            let Some(certificate) = self.chain.certificate(&person.cert_sha256) else { continue };
            let keys: BTreeSet<&Fingerprint> = person.sign.iter().chain(&person.encrypt).collect();
            for key in keys {
                let Some((_, Some(end))) = certificate.life(key) else { continue };
                if end <= self.now.plus(SOON) {
                    let verb = if end <= self.now { "expired" } else { "expires" };
                    let path = Place::PublicKey(name.clone()).to_string();
                    let finding = Finding::new(Code::KeyExpiring, format!("{key} {verb} {end}")).at(path).of(name);
                    findings.push(finding.fix(Remedy::PersonUpdate(name.clone())));
                }
            }
        }
    }

    pub(super) fn state(
        &self,
        cluster: &ClusterName,
        keyset: Keyset,
        generation: crate::model::Generation,
    ) -> Option<State> {
        let states = self.current.states.get(&(cluster.clone(), keyset))?.get(&generation)?;
        states.iter().next().copied()
    }

    fn expiring(&self, name: &ClusterName, cluster: &Cluster, of: &OfCluster<'_>, findings: &mut Vec<Finding>) {
        let mut soon = |place: Place, end: Time, fix: Option<Remedy>| {
            if end > self.now.plus(SOON) {
                return;
            }
            let verb = if end <= self.now { "expired" } else { "expires" };
            let finding = Finding::new(Code::CertExpiring, format!("it {verb} {end}")).at(place.to_string());
            findings.push(match fix {
                Some(fix) => finding.fix(fix),
                None => finding,
            });
        };
        for (place, not_after) in &of.leaves {
            if let Place::NodeCert(_, node, _) = place {
                soon((*place).clone(), *not_after, Some(Remedy::CertIssue(name.clone(), node.clone())));
            }
        }
        for keyset in cluster.keysets.keys().filter(|keyset| keyset.is_ca()) {
            for (generation, digest) in cluster.generations(*keyset) {
                let in_use = self.state(name, *keyset, generation) != Some(State::Distrusted);
                if let (true, Some(ca)) = (in_use, self.authorities.get(&digest)) {
                    soon(Place::Ca(name.clone(), *keyset, generation), ca.not_after, None);
                }
            }
        }
    }

    /// Whether somebody may still need what lies there: a node's keys, or a generation that is listed and not
    /// distrusted.
    pub(super) fn in_use(&self, name: &ClusterName, cluster: &Cluster, sealed: &SealedName) -> bool {
        match sealed {
            SealedName::Node(_) => true,
            SealedName::Keyset(keyset, generation) => {
                let listed = keyset.is_symmetric() || cluster.generations(*keyset).any(|(g, _)| g == *generation);
                listed && self.state(name, *keyset, *generation) != Some(State::Distrusted)
            }
        }
    }

    /// Current sealed files of the cluster that somebody may still need, and who can open them.
    fn recipients(
        &self,
        name: &ClusterName,
        cluster: &Cluster,
        (of, latest): (&OfCluster<'_>, &Epoch),
        findings: &mut Vec<Finding>,
    ) {
        let due = due_recipients(cluster, latest);
        for (record, entry) in of.sealed.iter().filter(|(_, entry)| self.in_use(name, cluster, &entry.name)) {
            let at = |code, why: String, person: &PersonName| {
                let finding = Finding::new(code, why).at(entry.place().to_string()).of(person);
                finding.fix(Remedy::Reseal(Some(name.clone())))
            };
            let lacking = due.iter().filter(|recipient| !entry.recipients.contains(recipient));
            findings.extend(
                lacking
                    .map(|r| at(Code::MissingRecipient, format!("{} ({}) can't open it", r.person, r.key), &r.person)),
            );
            let surplus = entry.recipients.iter().filter(|recipient| !due.contains(recipient));
            findings.extend(
                surplus.map(|r| {
                    at(Code::ExtraRecipient, format!("{} ({}) can still open it", r.person, r.key), &r.person)
                }),
            );
            if self.strict {
                self.unconfirmed(*record, entry, cluster, findings);
            }
        }
    }

    fn unconfirmed(&self, record: usize, entry: &Sealed, cluster: &Cluster, findings: &mut Vec<Finding>) {
        let sealed = &self.log.records[record].record;
        if sealed.time.plus(SOON) > self.now {
            return;
        }
        for person in cluster.keyholders.iter().filter(|person| **person != sealed.actor) {
            let confirmed = self.log.counted().any(|(_, logged)| {
                logged.record.actor == *person
                    && logged.record.confirm.iter().any(|c| c.place() == entry.place() && c.sha256 == entry.sha256)
            });
            if !confirmed {
                let why = format!("{person} has not opened it in 30 days");
                let finding = Finding::new(Code::Unconfirmed, why).at(entry.place().to_string()).of(person);
                findings.push(finding.fix(Remedy::Kluis("doctor --confirm".to_owned())));
            }
        }
    }

    /// Live certificates, replaced ones too, beyond what the epoch gives today.
    fn excess(&self, cluster: &Cluster, (of, latest): (&OfCluster<'_>, &Epoch), findings: &mut Vec<Finding>) {
        for (place, said) in &of.history {
            let Place::PersonCert(_, person, _) = place else { continue };
            let live: Vec<&Issued> = said
                .iter()
                .filter_map(|vouched| match &vouched.vouch {
                    Vouch::Issued(entry) if entry.not_after > self.now => Some(entry),
                    _ => None,
                })
                .collect();
            for entry in live {
                let why = match excess(entry, person, latest, cluster) {
                    Some(Excess::Gone) => format!(
                        "{person} is gone, and the certificate {} lives until {}",
                        entry.serial, entry.not_after
                    ),
                    Some(Excess::Group(group)) => {
                        format!(
                            "{person} may no longer have {group}, and the certificate {} lives until {}",
                            entry.serial, entry.not_after
                        )
                    }
                    None => continue,
                };
                findings.push(Finding::new(Code::ExcessCert, why).at(place.to_string()).of(person));
            }
        }
    }

    /// Secrets that somebody could open who should not, and that are still in use.
    fn exposed(
        &self,
        name: &ClusterName,
        cluster: &Cluster,
        (of, index, latest): (&OfCluster<'_>, &Index<'_>, &Epoch),
        findings: &mut Vec<Finding>,
    ) {
        let mut seen = BTreeSet::new();
        for (place, said) in &of.history {
            let Place::Sealed(_, sealed) = place else { continue };
            if !self.in_use(name, cluster, sealed) {
                continue;
            }
            for entry in said.iter().filter_map(|vouched| match &vouched.vouch {
                Vouch::Sealed(entry) if self.holds_current_key(entry) => Some(entry),
                _ => None,
            }) {
                for recipient in &entry.recipients {
                    let outsider = !cluster.keyholders.contains(&recipient.person);
                    let lost = outsider || index.compromised.contains(&(&recipient.person, &recipient.key));
                    let fresh = lost && !self.is_waived(name, &recipient.person, latest);
                    if fresh && seen.insert((*place, &recipient.person)) {
                        findings.push(exposure(place, &recipient.person));
                    }
                }
            }
        }
    }

    /// Whether a key inside is in use: for a generation always, for a node's bundle if a current certificate
    /// has one of its keys.
    pub(super) fn holds_current_key(&self, entry: &Sealed) -> bool {
        let SealedName::Node(node) = &entry.name else { return true };
        entry.public.iter().any(|key| {
            let place =
                Profile::parse(&key.name).map(|profile| Place::NodeCert(entry.cluster.clone(), node.clone(), profile));
            place.and_then(|place| self.current.leaves.get(&place)).is_some_and(|facts| facts.spki_id == key.id)
        })
    }

    fn is_waived(&self, cluster: &ClusterName, person: &PersonName, latest: &Epoch) -> bool {
        self.waived_until(cluster, person, latest).is_some()
    }

    /// Until when the quorum decided to live with what `person` can open of a cluster; none if it did not, or no longer.
    pub(super) fn waived_until(&self, cluster: &ClusterName, person: &PersonName, latest: &Epoch) -> Option<Time> {
        let what = format!("exposure:{person}");
        let waived = latest.waived.iter().filter(|waived| waived.cluster == *cluster && waived.what == what);
        waived.map(|waived| waived.until).filter(|until| *until > self.now).max()
    }
}

/// What a person's certificate gives beyond what an epoch does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Excess {
    /// The person is not listed.
    Gone,
    /// They may not have this group.
    Group(String),
}

/// What a certificate of `person` gives beyond what `epoch` does, in `cluster` of that epoch. `system:masters` is no
/// group of the epoch's: whoever may ask for anything may ask for it.
pub fn excess(entry: &Issued, person: &PersonName, epoch: &Epoch, cluster: &Cluster) -> Option<Excess> {
    if !epoch.persons.contains_key(person) {
        return Some(Excess::Gone);
    }
    let bound = cluster.groups.get(person);
    let beyond = |group: &String| bound.is_none_or(|bound| !bound.contains(group) && group != "system:masters");
    entry.organizations().into_iter().find(beyond).map(Excess::Group)
}

/// What is said of one cluster, so that judging many clusters takes time in their number and not in its square.
#[derive(Default)]
struct OfCluster<'a> {
    /// Current sealed files, with the index of their record.
    sealed: Vec<(usize, &'a Sealed)>,
    /// Current leaf certificates and their ends.
    leaves: Vec<(&'a Place, Time)>,
    /// Everything that records which count ever said, by path.
    history: Vec<(&'a Place, &'a Vec<Vouched>)>,
}

/// What judging debts looks up again and again.
#[derive(Default)]
struct Index<'a> {
    clusters: BTreeMap<&'a ClusterName, OfCluster<'a>>,
    /// Keys that were revoked, or belong to certificates that were called compromised.
    compromised: BTreeSet<(&'a PersonName, &'a Fingerprint)>,
}

impl<'a> Index<'a> {
    fn of(debts: &Debts<'a>, latest: &'a Epoch) -> Self {
        let mut index = Self::default();
        for (place, vouched) in &debts.current.paths {
            if let (Some(cluster), Vouch::Sealed(entry)) = (place.cluster(), &vouched.vouch) {
                index.clusters.entry(cluster).or_default().sealed.push((vouched.record, entry));
            }
        }
        for (place, facts) in &debts.current.leaves {
            if let Some(cluster) = place.cluster() {
                index.clusters.entry(cluster).or_default().leaves.push((place, facts.not_after));
            }
        }
        for (place, said) in &debts.current.history {
            if let Some(cluster) = place.cluster() {
                index.clusters.entry(cluster).or_default().history.push((place, said));
            }
        }
        let revoked = debts.log.counted().flat_map(|(_, logged)| &logged.record.revoke_key);
        index.compromised.extend(revoked.map(|entry| (&entry.person, &entry.key)));
        for former in latest.former.iter().filter(|former| former.reason == FormerReason::Compromised) {
            let persons = debts.chain.all().iter().filter_map(|epoch| epoch.epoch.persons.get(&former.person));
            let keys = persons.filter(|person| person.cert == former.cert).flat_map(|person| &person.encrypt);
            index.compromised.extend(keys.map(|key| (&former.person, key)));
        }
        index
    }
}

fn exposure(place: &Place, person: &PersonName) -> Finding {
    let why = format!("{person} could open it, is no keyholder now, and what is inside is still in use");
    let finding = Finding::new(Code::ExposureOpen, why).at(place.to_string()).of(person);
    match place {
        Place::Sealed(cluster, SealedName::Node(node)) => finding.fix(Remedy::CertIssue(cluster.clone(), node.clone())),
        // What replaces it depends on what else they know: the plan says.
        _ => finding.fix(Remedy::Kluis(format!("exposure {person}"))),
    }
}

/// To whom everything of a cluster is sealed under `epoch`, in order: keyholders by name, their keys as listed.
pub fn due_recipients(cluster: &Cluster, epoch: &Epoch) -> Vec<Recipient> {
    let keys = |person: &PersonName| {
        let keys = epoch.persons.get(person).map_or(&[][..], |found| &found.encrypt);
        keys.iter().map(|key| Recipient { person: person.clone(), key: key.clone() }).collect::<Vec<_>>()
    };
    cluster.keyholders.iter().flat_map(keys).collect()
}

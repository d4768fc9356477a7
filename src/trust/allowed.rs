//! What one epoch allows a record to do (FORMAT 5, "Who may" and "A record is allowed by epoch k if").
//! Pure: the view of the log is passed in, and nothing is decided about whether the record counts.

use std::collections::BTreeSet;

use super::chain::{Chain, ChainedEpoch};
use super::epoch::{Cluster, Epoch};
use super::log::{Log, Reason};
use super::phases::{self, Steps};
use super::record::{Issued, Record, Sealed};
use super::{Authorities, requests};
use crate::model::{ClusterName, Code, Keyset, PersonName, Place, Profile, SealedName, Span, State, Subject};

/// What judging a record may look at.
pub struct View<'a> {
    /// The log.
    pub log: &'a Log,
    /// The epochs.
    pub chain: &'a Chain,
    /// The requests of the tree.
    pub requests: &'a requests::Index,
    /// The CA certificates of the tree.
    pub authorities: &'a Authorities,
    /// The steps of all rotations.
    pub steps: &'a Steps,
}

/// Lifetimes may exceed their bound by this much, for backdating.
pub const GRACE: Span = Span::minutes(5);
/// `not_before` may be this far after a record's time.
const AHEAD: Span = Span::minutes(10);

/// Reasons against a record. Of several the one whose code stands first is reported.
#[derive(Default)]
struct Reasons(Vec<Reason>);

impl Reasons {
    fn push(&mut self, code: Code, why: impl Into<String>) {
        self.0.push(Reason::new(code, why));
    }

    fn first(self) -> Result<(), Reason> {
        self.0.into_iter().min_by_key(|reason| reason.code).map_or(Ok(()), Err)
    }
}

/// Whether epoch `k` allows the record at `index`. Break-glass thresholds are judged by `break_glass`.
pub fn check(view: &View<'_>, index: usize, k: u32) -> Result<(), Reason> {
    let logged = &view.log.records[index];
    let Some(epoch) = view.chain.get(k) else {
        return Err(Reason::new(Code::UnknownEpoch, format!("there is no epoch {k}")));
    };
    signer(view, index, epoch)?;
    let mut reasons = Reasons::default();
    let actor = &logged.record.actor;
    powers(view, index, &epoch.epoch, actor, &mut reasons);
    let record = &logged.record;
    if record.is_heartbeat() && !is_root_or_issuer(&epoch.epoch, actor) {
        reasons.push(Code::NotAllowed, format!("{actor} is neither root nor issuer"));
    }
    for entry in &record.revoke_key {
        if entry.person != *actor && !is_root_or_issuer(&epoch.epoch, actor) {
            reasons.push(Code::NotAllowed, format!("{actor} is neither root nor issuer nor {}", entry.person));
        }
    }
    for target in record.adopt.iter().filter_map(|target| view.log.dag.find(target)) {
        powers(view, target, &epoch.epoch, actor, &mut reasons);
    }
    reasons.first()
}

/// The key is listed for the actor, and the bytes that this epoch pins verify the signature.
fn signer(view: &View<'_>, index: usize, epoch: &ChainedEpoch) -> Result<(), Reason> {
    let logged = &view.log.records[index];
    let actor = &logged.record.actor;
    let number = epoch.epoch.number;
    let person = epoch.epoch.persons.get(actor).filter(|person| person.sign.contains(&logged.key));
    let unlisted =
        || Reason::new(Code::UnlistedSigner, format!("epoch {number} does not list {} for {actor}", logged.key));
    match logged.verified.get(&person.ok_or_else(unlisted)?.cert_sha256) {
        Some(Ok(())) => Ok(()),
        Some(Err(fault)) => Err(Reason::new(fault.code(), fault.to_string())),
        None => Err(unlisted()),
    }
}

fn is_root_or_issuer(epoch: &Epoch, person: &PersonName) -> bool {
    epoch.persons.get(person).is_some_and(|found| found.role == super::TrustRole::Root)
        || epoch.clusters.values().any(|cluster| cluster.issuers.contains(person))
}

/// Whether `actor` may do under `epoch` what the record at `index` does; for the record's own actor, and for
/// whoever adopts it. Its own `adopt` and `revoke_key` are not looked at: adopted, they have no effect.
fn powers(view: &View<'_>, index: usize, epoch: &Epoch, actor: &PersonName, reasons: &mut Reasons) {
    let record = &view.log.records[index].record;
    let judged = record.approve.iter().chain(record.deny.iter().map(|deny| &deny.request));
    for hash in judged.filter(|hash| view.requests.get(hash).is_none() && !requests::was_closed(view.log, index)) {
        reasons.push(Code::RequestMissing, format!("the request {} is not there", hash.h16()));
    }
    for name in clusters(view, record) {
        let Some(cluster) = epoch.clusters.get(&name) else {
            reasons.push(Code::UnknownCluster, format!("epoch {} lists no cluster {name}", epoch.number));
            continue;
        };
        if cluster.retired {
            reasons.push(Code::Retired, format!("cluster {name} is retired"));
            continue;
        }
        let scope = Scope { view, index, record, epoch, name: &name, cluster, actor };
        scope.who(reasons);
        scope.sealed(reasons);
        scope.issued(reasons);
        scope.phase(reasons);
        scope.removed(reasons);
        scope.judged_requests(reasons);
    }
}

fn clusters(view: &View<'_>, record: &Record) -> BTreeSet<ClusterName> {
    let places = record.config.iter().map(|e| e.cluster.clone());
    let places = places.chain(record.sealed.iter().map(|e| e.cluster.clone()));
    let places = places.chain(record.issued.iter().filter_map(|e| e.place.cluster().cloned()));
    let places = places.chain(record.phase.iter().map(|e| e.cluster.clone()));
    let places = places.chain(record.confirm.iter().map(|e| e.cluster.clone()));
    let places = places.chain(record.removed.iter().filter_map(|place| place.cluster().cloned()));
    let requests = record.approve.iter().chain(record.deny.iter().map(|deny| &deny.request));
    places.chain(requests.filter_map(|request| view.requests.get(request)).map(|filed| filed.cluster.clone())).collect()
}

/// One record, one epoch, one cluster.
struct Scope<'a> {
    view: &'a View<'a>,
    index: usize,
    record: &'a Record,
    epoch: &'a Epoch,
    name: &'a ClusterName,
    cluster: &'a Cluster,
    actor: &'a PersonName,
}

impl Scope<'_> {
    fn here(&self, place: &Place) -> bool {
        place.cluster() == Some(self.name)
    }

    fn who(&self, reasons: &mut Reasons) {
        let record = self.record;
        let issuer = self.cluster.issuers.contains(self.actor);
        let keyholder = self.cluster.keyholders.contains(self.actor);
        let mut demand = |right: bool, has: bool, what: &str| {
            if has && !right {
                reasons.push(Code::NotAllowed, format!("{} is no {what} of cluster {}", self.actor, self.name));
            }
        };
        let issues = record.sealed.iter().any(|e| e.cluster == *self.name)
            || record.issued.iter().any(|e| self.here(&e.place))
            || record.phase.iter().any(|e| e.cluster == *self.name)
            || record.removed.iter().any(|place| self.here(place));
        demand(issuer, issues, "issuer");
        demand(issuer && keyholder, record.config.iter().any(|e| e.cluster == *self.name), "issuer and keyholder");
        demand(keyholder, record.confirm.iter().any(|e| e.cluster == *self.name), "keyholder");
        for request in &record.approve {
            let here = self.view.requests.get(request).is_some_and(|filed| filed.cluster == *self.name);
            demand(issuer, here, "issuer");
        }
        for deny in &record.deny {
            let Some(filed) = self.view.requests.get(&deny.request).filter(|filed| filed.cluster == *self.name) else {
                continue;
            };
            demand(issuer || filed.person() == Some(self.actor), true, "issuer");
        }
    }

    fn sealed(&self, reasons: &mut Reasons) {
        for entry in self.record.sealed.iter().filter(|entry| entry.cluster == *self.name) {
            let place = entry.place();
            for recipient in &entry.recipients {
                let listed =
                    self.epoch.persons.get(&recipient.person).is_some_and(|p| p.encrypt.contains(&recipient.key));
                if !self.cluster.keyholders.contains(&recipient.person) || !listed {
                    let why = format!(
                        "{place} is sealed to {} ({}), who is no keyholder with that key",
                        recipient.person, recipient.key
                    );
                    reasons.push(Code::RecipientNotAllowed, why);
                }
            }
            if let SealedName::Keyset(keyset, generation) = &entry.name
                && !keyset.is_symmetric()
                && !self.cluster.generations(*keyset).any(|(listed, _)| listed == *generation)
            {
                reasons.push(
                    Code::UnknownGeneration,
                    format!("epoch {} lists no {keyset} {generation} of {}", self.epoch.number, self.name),
                );
                continue;
            }
            if let Err((code, why)) = self.ids(entry) {
                reasons.push(code, format!("{place}: {why}"));
            }
        }
    }

    /// The keys inside are the ones that the epoch lists, and are called what their file is called.
    fn ids(&self, entry: &Sealed) -> Result<(), (Code, String)> {
        let mismatch = |why: &str| Err((Code::SpkiMismatch, why.to_owned()));
        match &entry.name {
            SealedName::Node(_) => {
                let foreign = entry.public.iter().find(|key| Profile::parse(&key.name).is_none_or(Profile::is_person));
                foreign.map_or(Ok(()), |key| Err((Code::BadProfile, format!("{:?} is no profile of a node", key.name))))
            }
            SealedName::Keyset(Keyset::Tokens, _) => Ok(()),
            SealedName::Keyset(keyset, generation) => {
                let [only] = entry.public.as_slice() else { return mismatch("it holds one key") };
                if only.name != entry.name.header_name() {
                    return mismatch(&format!("its key is called {}", only.name));
                }
                let listed = self.cluster.generations(*keyset).find(|(g, _)| g == generation).map(|(_, digest)| digest);
                let id = match keyset {
                    Keyset::ServiceAccount => listed,
                    _ => listed.and_then(|listed| self.view.authorities.get(&listed)).map(|ca| ca.spki_id),
                };
                if id.is_some_and(|id| id != only.id) {
                    mismatch("its key is not the one that the epoch lists")
                } else {
                    Ok(())
                }
            }
        }
    }

    fn issued(&self, reasons: &mut Reasons) {
        for entry in self.record.issued.iter().filter(|entry| self.here(&entry.place)) {
            let mut push = |code, why: String| reasons.push(code, format!("{}: {why}", entry.place));
            let (profile, owner) = match &entry.place {
                Place::NodeCert(_, node, profile) => (*profile, node.as_str()),
                Place::PersonCert(_, person, profile) => (*profile, person.as_str()),
                _ => continue,
            };
            if let Err(why) = check_subject(entry, profile, owner) {
                push(Code::BadSubject, why);
            }
            self.issuer(entry, profile, &mut push);
            self.lifetime(entry, profile, &mut push);
            if let Place::PersonCert(_, person, _) = &entry.place {
                self.person(entry, person, profile, &mut push);
            }
        }
    }

    fn issuer(&self, entry: &Issued, profile: Profile, push: &mut impl FnMut(Code, String)) {
        let keyset = keyset_of(self.cluster, profile);
        let Some((_, generation)) = self.cluster.authority(&entry.issuer).filter(|(found, _)| *found == keyset) else {
            let why =
                format!("its issuer {} is no {keyset} CA that epoch {} lists", entry.issuer.h16(), self.epoch.number);
            return push(Code::UnknownIssuer, why);
        };
        if self.view.authorities.get(&entry.issuer).is_some_and(|ca| entry.not_after > ca.not_after) {
            push(Code::Lifetime, "it outlives its CA".to_owned());
        }
        let states = self.states(keyset);
        if phases::issuing(&states) != [generation] {
            push(Code::BadPhase, format!("{keyset} {generation} does not issue in the view of this record"));
        }
    }

    /// The states of a keyset after this record.
    fn states(&self, keyset: Keyset) -> phases::States {
        let log = self.view.log;
        let see = |index: usize| index == self.index || log.dag.is_before(index, self.index);
        self.view.steps.states(log, self.name, keyset, see)
    }

    fn lifetime(&self, entry: &Issued, profile: Profile, push: &mut impl FnMut(Code, String)) {
        if entry.not_after <= entry.not_before {
            push(Code::Lifetime, "it ends before it begins".to_owned());
        }
        if entry.not_before > self.record.time.plus(AHEAD) {
            push(Code::Lifetime, "it begins more than 10 minutes after its record".to_owned());
        }
        let bound = match profile {
            _ if entry.is_break_glass() => self.epoch.policy.max_break_glass,
            Profile::Client => self.epoch.policy.max_client,
            _ => return,
        };
        if entry.not_after.since(entry.not_before) > bound.seconds() + GRACE.seconds() {
            push(Code::Lifetime, format!("it lives longer than {bound}"));
        }
    }

    fn person(&self, entry: &Issued, person: &PersonName, profile: Profile, push: &mut impl FnMut(Code, String)) {
        let Some(bound) = self.cluster.groups.get(person) else {
            return push(
                Code::NotARequester,
                format!("epoch {} gives {person} no groups on {}", self.epoch.number, self.name),
            );
        };
        if profile == Profile::Client {
            for group in entry.organizations().iter().filter(|group| !bound.contains(*group)) {
                push(Code::GroupNotAllowed, format!("{person} may not have the group {group}"));
            }
        }
        match &entry.request {
            None if person == self.actor => {}
            None => push(Code::RequestMissing, format!("{person} has not asked for it")),
            Some(request) => {
                let asked = requests::grants(self.view, self.index, entry, request, self.epoch);
                if let Err(reason) = asked {
                    push(reason.code, reason.why);
                }
            }
        }
    }

    fn phase(&self, reasons: &mut Reasons) {
        for entry in self.record.phase.iter().filter(|entry| entry.cluster == *self.name) {
            let known = if entry.keyset.is_symmetric() {
                self.is_sealed(entry.keyset, entry.generation)
            } else {
                self.cluster.generations(entry.keyset).any(|(generation, _)| generation == entry.generation)
            };
            if !known {
                let why = format!("there is no {} {} of {}", entry.keyset, entry.generation, self.name);
                reasons.push(Code::UnknownGeneration, why);
            }
        }
    }

    /// Whether this record or one before it sealed that generation.
    fn is_sealed(&self, keyset: Keyset, generation: crate::model::Generation) -> bool {
        let name = SealedName::Keyset(keyset, generation);
        let here = |record: &Record| record.sealed.iter().any(|e| e.cluster == *self.name && e.name == name);
        let log = self.view.log;
        here(self.record) || (0..self.index).any(|i| log.dag.is_before(i, self.index) && here(&log.records[i].record))
    }

    fn removed(&self, reasons: &mut Reasons) {
        for place in self.record.removed.iter().filter(|place| self.here(place)) {
            match place {
                Place::Sealed(_, SealedName::Keyset(keyset, generation)) => {
                    let listed = if keyset.is_symmetric() {
                        let states = self.states(*keyset);
                        states.get(generation).is_none_or(|states| states.iter().any(|s| *s != State::Distrusted))
                    } else {
                        self.cluster.generations(*keyset).any(|(g, _)| g == *generation)
                    };
                    if listed {
                        reasons.push(Code::StillListed, format!("{place} is removed while its generation is in use"));
                    }
                }
                Place::Request(_, h16) | Place::RequestSignature(_, h16, _)
                    if requests::is_needed(self.view, h16, self.epoch.number) =>
                {
                    let why = format!("{place} is removed before an epoch closed every record that names it");
                    reasons.push(Code::RequestMissing, why);
                }
                _ => {}
            }
        }
    }

    fn judged_requests(&self, reasons: &mut Reasons) {
        for hash in &self.record.approve {
            let Some(filed) = self.view.requests.get(hash).filter(|filed| filed.cluster == *self.name) else {
                continue;
            };
            if let Err(reason) = requests::approvable(self.view, self.index, filed, self.epoch) {
                reasons.push(reason.code, reason.why);
            }
        }
    }
}

/// The keyset that signs `profile` in this cluster (FORMAT 6).
pub fn keyset_of(cluster: &Cluster, profile: Profile) -> Keyset {
    let own = profile.keyset();
    if cluster.keysets.contains_key(&own) { own } else { profile.fallback_keyset() }
}

/// Whether the recorded subject is one that the profile may have for `owner`.
fn check_subject(entry: &Issued, profile: Profile, owner: &str) -> Result<(), String> {
    let organizations = entry.organizations();
    let refused = || Err(format!("its subject {} is not that of {profile} for {owner}", entry.subject));
    let mut sorted = organizations.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    sorted.dedup();
    // RFC 4514 names the last RDN first: CN, then the organisations from the last to the first.
    let parts = organizations.iter().map(|group| format!("O={group}"));
    let expected: Vec<String> = [format!("CN={}", profile.common_name(owner))].into_iter().chain(parts).collect();
    if sorted != organizations || expected.join(",") != entry.subject {
        return refused();
    }
    let right = match profile.organizations() {
        None => true,
        Some(choices) => choices.iter().any(|choice| choice.iter().eq(organizations.iter())),
    };
    let node = matches!(profile.subject(), Subject::SystemNode | Subject::Node | Subject::Fixed(_));
    if right && (node || profile.is_person()) { Ok(()) } else { refused() }
}

/// Whether enough distinct issuers stood behind each break-glass certificate of a record, under epoch `k`:
/// its actor, those who approved its request in ancestors of it that count, and its owner if an issuer.
pub fn break_glass(log: &Log, chain: &Chain, requests: &requests::Index, index: usize, k: u32) -> Result<(), Reason> {
    let Some(epoch) = chain.get(k) else { return Ok(()) };
    let record = &log.records[index].record;
    for entry in record.issued.iter().filter(|entry| entry.is_break_glass()) {
        let Some(cluster) = entry.place.cluster().and_then(|name| epoch.epoch.clusters.get(name)) else { continue };
        let mut people = BTreeSet::from([record.actor.clone()]);
        if let Place::PersonCert(_, person, _) = &entry.place {
            people.insert(person.clone());
        }
        if let Some(request) = entry.request {
            if requests.get(&request).is_none() && requests::was_closed(log, index) {
                continue; // the request left after the quorum that closed this had judged it
            }
            people.extend(approvers(log, index, &request));
        }
        people.retain(|person| cluster.issuers.contains(person));
        let needed = epoch.epoch.threshold.break_glass as usize;
        if people.len() < needed {
            let why = format!("{}: {} of {needed} issuers stood behind it", entry.place, people.len());
            return Err(Reason::new(Code::BreakGlassThreshold, why));
        }
    }
    Ok(())
}

/// Who approved a request before the record at `index`; an adopted approval is its adopters'.
pub fn approvers(log: &Log, index: usize, request: &crate::model::Digest) -> BTreeSet<PersonName> {
    let mut people = BTreeSet::new();
    for earlier in (0..index).filter(|earlier| log.dag.is_before(*earlier, index)) {
        let logged = &log.records[earlier];
        if log.broken[earlier] || !logged.record.approve.contains(request) {
            continue;
        }
        if log.void[earlier].is_none() {
            people.insert(logged.record.actor.clone());
        } else {
            let seen = log.adopters[earlier].iter().filter(|by| log.dag.is_before(**by, index) || **by == index);
            people.extend(seen.map(|by| log.records[*by].record.actor.clone()));
        }
    }
    people
}

/// Whether a void record that issues break-glass has as many distinct adopters as its threshold.
pub fn enough_adopters(log: &Log, chain: &Chain, index: usize) -> bool {
    let people: BTreeSet<_> = log.adopters[index].iter().map(|by| &log.records[*by].record.actor).collect();
    let needed = log.adopters[index].iter().flat_map(|by| &log.ruling[*by]).max();
    let needed = needed.and_then(|k| chain.get(*k)).map_or(1, |epoch| epoch.epoch.threshold.break_glass);
    people.len() >= needed as usize
}

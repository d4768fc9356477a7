//! Requests of a tree: who signed them, whether an epoch would grant them, and what they were used for
//! (FORMAT 7). Only the public key of a CSR is ever used; the certificate is built from epoch and policy.

use std::collections::{BTreeMap, HashSet, btree_map};
use std::sync::Arc;

use super::allowed::{GRACE, View};
use super::chain::Chain;
use super::epoch::{Cluster, Epoch};
use super::log::{Log, Reason};
use super::parallel;
use super::record::Issued;
use super::request::Request;
use super::tree::{Entry, Tree};
use super::uses::Uses;
use crate::model::{ClusterName, Code, Digest, Finding, Fingerprint, PersonName, Place, Profile, Remedy};
use crate::openpgp::{Kind, Signature, SignatureFault};
use crate::pki;

/// A request file with its signature.
pub struct Filed {
    /// The cluster in whose folder it lies.
    pub cluster: ClusterName,
    /// Its path.
    pub path: String,
    /// The hash of its file.
    pub sha256: Digest,
    /// What it says, if it says it well.
    pub request: Result<Request, Reason>,
    /// Who signed it: the name in the file name, the signature, and what verifying it said by certificate.
    pub signed: Result<Signed, Reason>,
    /// The hash of the public key (SPKI DER) that it asks a certificate for, if its CSR can be read.
    pub key: Option<Digest>,
    /// Whether its CSR says what it must and proves that the asker has the key. No epoch decides that, so it is
    /// looked at once.
    csr: Result<(), Reason>,
    /// The hash of the signature's bytes, if there is one.
    signature: Option<Digest>,
}

/// A request's signature.
pub struct Signed {
    /// The name in the signature's file name.
    pub person: PersonName,
    /// The signature.
    pub signature: Signature,
    verified: BTreeMap<Digest, Result<(), SignatureFault>>,
}

impl Filed {
    /// The person who asks, if the request can be read.
    pub fn person(&self) -> Option<&PersonName> {
        self.request.as_ref().ok().map(|request| &request.person)
    }

    /// Whose signature it has, and the key that made it, if it is good.
    pub fn signer(&self) -> Option<(&PersonName, &Fingerprint)> {
        self.signed.as_ref().ok().map(|signed| (&signed.person, signed.signature.issuer()))
    }
}

/// All requests of a tree, by hash.
#[derive(Default)]
pub struct Index {
    filed: BTreeMap<Digest, Arc<Filed>>,
    /// The latest epoch that signatures were verified under.
    under: Option<Digest>,
    /// The requests with one key, by its hash: mostly one.
    keys: BTreeMap<Digest, Vec<Digest>>,
    /// Files with the bytes of a request that is filed elsewhere: in the folder of another cluster than its own.
    copies: Vec<Arc<Filed>>,
}

impl Index {
    /// Reads the requests of `tree`. What `known` has of the same bytes, verified under the same epochs, is taken from
    /// there: a batch of a thousand would else be verified again to see what granting it makes of the tree.
    pub fn read(tree: &Tree, chain: &Chain, known: Option<&Self>) -> Self {
        let under = chain.latest().map(|latest| latest.sha256);
        let known = known.filter(|known| known.under.is_some() && known.under == under);
        let mut signatures: BTreeMap<(ClusterName, String), (PersonName, String)> = BTreeMap::new();
        for (path, _) in tree.in_clusters(&["requests"]) {
            if let Ok(Place::RequestSignature(cluster, h16, person)) = Place::parse(path) {
                signatures.entry((cluster, h16)).or_insert((person, path.clone()));
            }
        }
        let mut files = Vec::new();
        for (path, entry) in tree.in_clusters(&["requests"]) {
            if let (Ok(Place::Request(cluster, h16)), Entry::File { bytes, .. }) = (Place::parse(path), entry) {
                files.push((path, cluster, h16, bytes));
            }
        }
        let read = parallel::map(&files, |(path, cluster, h16, bytes)| {
            let sha256 = Digest::of(bytes);
            let request = Request::parse(bytes).map_err(|fault| Reason::new(fault.code, fault.why));
            let request = match request {
                _ if sha256.h16() != *h16 => {
                    Err(Reason::new(Code::RecordName, format!("its hash is {}", sha256.h16())))
                }
                request => request,
            };
            let signature = signatures.get(&(cluster.clone(), h16.clone()));
            let signature_sha256 = signature.and_then(|(_, path)| tree.bytes(path)).map(Digest::of);
            let seen = known.and_then(|known| known.filed.get(&sha256));
            let seen = seen.filter(|seen| seen.path == **path && seen.signature == signature_sha256);
            if let (Some(seen), Some((person, _))) = (seen, signature)
                && seen.signed.as_ref().is_ok_and(|signed| signed.person == *person)
            {
                return seen.clone();
            }
            let signed = sign(tree, chain, bytes, signature);
            let (key, csr) = match &request {
                Ok(request) => csr(request),
                Err(reason) => (None, Err(reason.clone())),
            };
            let (cluster, path, signature) = (cluster.clone(), (*path).clone(), signature_sha256);
            Arc::new(Filed { cluster, path, sha256, request, signed, key, csr, signature })
        });
        let mut index = Self { under, ..Self::default() };
        // Attack (T47): a request copied to another cluster's folder has the same hash. It must neither hide the one
        // that lies where it belongs nor hide behind it.
        let is_home = |filed: &Filed| {
            let cluster = chain.latest().and_then(|latest| latest.epoch.clusters.get(&filed.cluster));
            filed.request.as_ref().is_ok_and(|request| cluster.is_some_and(|cluster| cluster.id == request.cluster))
        };
        for filed in read {
            match index.filed.entry(filed.sha256) {
                btree_map::Entry::Vacant(place) => {
                    if let Some(key) = filed.key {
                        index.keys.entry(key).or_default().push(filed.sha256);
                    }
                    place.insert(filed);
                }
                btree_map::Entry::Occupied(mut place) if is_home(&filed) => index.copies.push(place.insert(filed)),
                btree_map::Entry::Occupied(_) => index.copies.push(filed),
            }
        }
        index
    }

    /// The requests for a certificate of this key.
    fn with_key(&self, key: &Digest) -> impl Iterator<Item = &Filed> {
        self.keys.get(key).into_iter().flatten().filter_map(|sha256| self.get(sha256))
    }

    /// The request with this hash.
    pub fn get(&self, sha256: &Digest) -> Option<&Filed> {
        self.filed.get(sha256).map(AsRef::as_ref)
    }

    /// All requests, by hash.
    pub fn all(&self) -> impl Iterator<Item = &Filed> {
        self.filed.values().map(AsRef::as_ref)
    }
}

fn sign(tree: &Tree, chain: &Chain, data: &[u8], signature: Option<&(PersonName, String)>) -> Result<Signed, Reason> {
    let (person, path) = signature.ok_or_else(|| Reason::new(Code::Unsigned, "nobody has signed it"))?;
    let Some(Entry::File { bytes, .. }) = tree.entries.get(path) else {
        return Err(Reason::new(Code::Unsigned, "its signature is no file"));
    };
    let fault = |fault: SignatureFault| Reason::new(fault.code(), fault.to_string());
    let signature = Signature::parse(bytes, Kind::Request).map_err(fault)?;
    let verified = super::log::verify(chain, person, &signature, data).map_err(fault)?;
    Ok(Signed { person: person.clone(), signature, verified })
}

/// Whether `epoch` would grant the request: signer, cluster, groups, CSR. Use and expiry are not looked at.
pub fn judge(filed: &Filed, epoch: &Epoch) -> Result<(), Reason> {
    let refuse = |code, why: String| Err(Reason::new(code, why));
    let request = filed.request.as_ref().map_err(Clone::clone)?;
    let signed = filed.signed.as_ref().map_err(Clone::clone)?;
    if request.repo != epoch.repo {
        return refuse(Code::WrongRepo, format!("it is a request to repository {}", request.repo));
    }
    let Some(cluster) = epoch.clusters.get(&filed.cluster) else {
        return refuse(Code::UnknownCluster, format!("epoch {} lists no cluster {}", epoch.number, filed.cluster));
    };
    if request.cluster != cluster.id {
        return refuse(Code::WrongClusterId, format!("it is a request for the cluster with id {}", request.cluster));
    }
    let person = epoch.persons.get(&signed.person).filter(|person| person.sign.contains(signed.signature.issuer()));
    match person.and_then(|person| signed.verified.get(&person.cert_sha256)) {
        Some(Ok(())) => {}
        Some(Err(fault)) => return refuse(fault.code(), fault.to_string()),
        None => return refuse(Code::UnlistedSigner, format!("epoch {} does not list its signer's key", epoch.number)),
    }
    if request.person != signed.person {
        return refuse(
            Code::SubjectNotSigner,
            format!("{} asks for a certificate of {}", signed.person, request.person),
        );
    }
    groups(request, cluster)?;
    filed.csr.clone()
}

fn groups(request: &Request, cluster: &Cluster) -> Result<(), Reason> {
    let Some(bound) = cluster.groups.get(&request.person) else {
        return Err(Reason::new(Code::NotARequester, format!("{} may not ask here", request.person)));
    };
    let masters = request.groups.iter().eq(["system:masters"]);
    let beyond = request.groups.iter().find(|group| !bound.contains(*group));
    match (request.profile, beyond) {
        (Profile::BreakGlass, _) if !masters => {
            Err(Reason::new(Code::RequestMismatch, "a break-glass request asks for exactly system:masters"))
        }
        (Profile::Client, Some(group)) => {
            Err(Reason::new(Code::GroupNotAllowed, format!("{} may not have the group {group}", request.person)))
        }
        _ => Ok(()),
    }
}

/// The public key of a CSR, and whether the CSR is one: the person's name and nothing else, a strong key, and
/// proof that whoever made it has the key. Attack: O=system:masters, CA:TRUE, a foreign name or address in the CSR
/// of somebody who may ask. The certificate is built from epoch and policy anyway; to refuse what else a CSR says
/// keeps a reviewer from reading one thing and an issuer from granting another (T49).
fn csr(request: &Request) -> (Option<Digest>, Result<(), Reason>) {
    let facts = match pki::read_csr(&request.csr) {
        Ok(facts) => facts,
        Err(error) => return (None, Err(Reason::new(Code::CsrContent, error.to_string()))),
    };
    let judged = || {
        if facts.common_name_only.as_deref() != Some(request.person.as_str()) || facts.has_extensions_or_attributes {
            let why = format!("its CSR has another subject than CN={}, or extensions", request.person);
            return Err(Reason::new(Code::CsrContent, why));
        }
        pki::spki_strength(&facts.spki).map_err(|why| Reason::new(Code::WeakKey, why))?;
        pki::check_csr_pop(&request.csr).map_err(|why| Reason::new(Code::CsrPop, why))
    };
    (Some(facts.spki_id), judged())
}

/// Whether the request that an `[[issued]]` entry names grants it under `epoch`.
pub fn grants(view: &View<'_>, index: usize, entry: &Issued, hash: &Digest, epoch: &Epoch) -> Result<(), Reason> {
    let refuse = |code, why: String| Err(Reason::new(code, why));
    let Some(filed) = view.requests.get(hash) else {
        return if was_closed(view.log, index) {
            Ok(()) // the quorum that closed the record judged what it proved
        } else {
            refuse(Code::RequestMissing, format!("its request {} is not there", hash.h16()))
        };
    };
    judge(filed, epoch)?;
    let Ok(request) = &filed.request else { return Ok(()) };
    let (person, profile) = match &entry.place {
        Place::PersonCert(_, person, profile) => (person, *profile),
        _ => return refuse(Code::RequestMismatch, "a node has no request".to_owned()),
    };
    let mismatch = request.person != *person
        || request.profile != profile
        || entry.place.cluster() != Some(&filed.cluster)
        || filed.key != Some(entry.spki)
        || entry.organizations().iter().any(|group| !request.groups.contains(group))
        || entry.not_after.since(entry.not_before) > request.lifetime.seconds() + GRACE.seconds();
    if mismatch {
        return refuse(Code::RequestMismatch, "it is not what was asked for".to_owned());
    }
    if view.log.records[index].record.time >= request.expires {
        return refuse(Code::RequestExpired, format!("its request expired {}", request.expires));
    }
    unused(view, index, entry, hash, &filed.sha256)
}

/// Used once, not denied before, and its key never seen elsewhere before.
fn unused(view: &View<'_>, index: usize, entry: &Issued, hash: &Digest, own: &Digest) -> Result<(), Reason> {
    let log = view.log;
    let first = |records: &[usize]| records.iter().copied().find(|earlier| log.dag.is_before(*earlier, index));
    let denied = first(view.uses.denied(hash)).map(|at| (at, 0, Code::RequestDenied, "its request was denied in"));
    let used = first(view.uses.granted(hash)).map(|at| (at, 1, Code::RequestUsed, "its request was used in"));
    let keyed =
        first(view.uses.certified(&entry.spki)).map(|at| (at, 2, Code::SpkiReuse, "its key has a certificate from"));
    if let Some((at, _, code, what)) = [denied, used, keyed].into_iter().flatten().min() {
        return Err(Reason::new(code, format!("{what} {}", log.records[at].sha256.h16())));
    }
    let mut twins = log.records[index].record.issued.iter().filter(|other| other.request == Some(*hash));
    if twins.nth(1).is_some() {
        return Err(Reason::new(Code::RequestUsed, "its request is used twice in one record"));
    }
    older_twin(view.requests, own)
}

/// An older request with the same key: by `created`, then by hash.
fn older_twin(index: &Index, own: &Digest) -> Result<(), Reason> {
    let Some(filed) = index.get(own) else { return Ok(()) };
    let (Ok(request), Some(key)) = (&filed.request, &filed.key) else { return Ok(()) };
    let twin = index.with_key(key).find(|other| {
        let Ok(theirs) = &other.request else { return false };
        other.sha256 != *own && (theirs.created, other.sha256) < (request.created, *own)
    });
    match twin {
        Some(twin) => {
            Err(Reason::new(Code::SpkiReuse, format!("its key is also that of the request {}", twin.sha256.h16())))
        }
        None => Ok(()),
    }
}

/// Whether an approval makes sense: a break-glass request that the epoch would grant, alive and not denied.
pub fn approvable(view: &View<'_>, index: usize, filed: &Filed, epoch: &Epoch) -> Result<(), Reason> {
    judge(filed, epoch)?;
    let Ok(request) = &filed.request else { return Ok(()) };
    if request.profile != Profile::BreakGlass {
        return Err(Reason::new(Code::RequestMismatch, "approvals are for break-glass requests only"));
    }
    if view.log.records[index].record.time >= request.expires {
        return Err(Reason::new(Code::RequestExpired, format!("the request expired {}", request.expires)));
    }
    if view.uses.denied(&filed.sha256).iter().any(|earlier| view.log.dag.is_before(*earlier, index)) {
        return Err(Reason::new(Code::RequestDenied, "the request was denied before"));
    }
    Ok(())
}

fn names(record: &super::record::Record, hash: &Digest) -> bool {
    record.issued.iter().any(|entry| entry.request == Some(*hash))
        || record.approve.contains(hash)
        || record.deny.iter().any(|deny| deny.request == *hash)
}

/// Whether some epoch closed the record: then a quorum judged the requests that it names, and they may be gone.
pub fn was_closed(log: &Log, index: usize) -> bool {
    log.closed.iter().any(|closed| closed.contains(index))
}

/// Whether some record that names the request is not closed by epoch `k` yet.
pub fn is_needed(view: &View<'_>, h16: &str, k: u32) -> bool {
    let Some(filed) = view.requests.all().find(|filed| filed.sha256.h16() == *h16) else { return false };
    let closed = view.log.closed.get(k as usize - 1);
    let unclosed = |index: usize| !closed.is_some_and(|closed| closed.contains(index));
    view.log.records.iter().enumerate().any(|(index, l)| names(&l.record, &filed.sha256) && unclosed(index))
}

/// Findings on the request files themselves: shape and signature always, the rest while pending.
pub fn check(index: &Index, tree: &Tree, chain: &Chain, log: &Log) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(latest) = chain.latest() else { return findings };
    let mut wanted: HashSet<String> = HashSet::new();
    let uses = Uses::of(log);
    let copies = index.copies.iter().map(|copy| (copy.as_ref(), true));
    for (filed, is_copy) in index.all().map(|filed| (filed, false)).chain(copies) {
        let at = |reason: &Reason| {
            let finding = Finding::new(reason.code, reason.why.clone()).at(&filed.path);
            let finding = finding.fix(Remedy::GitRestore(filed.path.clone()));
            filed.person().map_or(finding.clone(), |person| finding.of(person))
        };
        if let Ok(signed) = &filed.signed {
            wanted.insert(
                Place::RequestSignature(filed.cluster.clone(), filed.sha256.h16(), signed.person.clone()).to_string(),
            );
        }
        let shape = filed.request.as_ref().err().or(filed.signed.as_ref().err());
        if let Some(reason) = shape {
            findings.push(at(reason));
            continue;
        }
        if is_copy {
            findings.extend(judge(filed, &latest.epoch).err().map(|reason| at(&reason)));
            continue;
        }
        let done = uses.granted(&filed.sha256).iter().chain(uses.denied(&filed.sha256));
        if done.into_iter().any(|record| log.counts(*record)) {
            continue;
        }
        if let Err(reason) = grantable(index, (log, &uses), filed, &latest.epoch) {
            let once = chain.all().iter().filter(|e| e.epoch.number < latest.epoch.number);
            let once_good = once.into_iter().any(|epoch| judge(filed, &epoch.epoch).is_ok());
            if once_good {
                let why = format!("it can't be granted any more: {}", reason.why);
                let deny = Remedy::Kluis(format!("request deny {} --reason TEXT", filed.sha256.h16()));
                findings.push(Finding {
                    code: Code::RequestDead,
                    level: Code::RequestDead.level(),
                    why,
                    ..at(&reason).fix(deny)
                });
            } else if reason.code == Code::KeyRevoked {
                // A request that waits is vouched for by its own signature alone, so it may go without a record; and
                // it must not stand in the way of a revocation.
                let files = filed.path.trim_end_matches("toml");
                findings.push(at(&reason).fix(Remedy::Run(format!("git rm '{files}*'"))));
            } else {
                findings.push(at(&reason));
            }
        }
    }
    for (path, _) in tree.in_clusters(&["requests"]) {
        if let Ok(Place::RequestSignature(cluster, h16, person)) = Place::parse(path)
            && !wanted.contains(path)
        {
            let whole = Place::Request(cluster, h16).to_string();
            let refused = findings.iter().any(|finding| finding.path.as_deref() == Some(&whole));
            if !refused {
                findings.push(Finding::new(Code::UnexpectedPath, "it signs no request").at(path).of(&person));
            }
        }
    }
    findings
}

/// Whether `epoch`, the latest, would grant a request that waits, by all that is known today: signer, cluster,
/// groups, CSR, a key that was never seen and is not revoked. Use, denial and expiry are not looked at.
pub fn grantable(index: &Index, (log, uses): (&Log, &Uses), filed: &Filed, epoch: &Epoch) -> Result<(), Reason> {
    judge(filed, epoch).and_then(|()| fresh(index, (log, uses), filed))
}

/// A pending request's key is nowhere yet.
fn fresh(index: &Index, (log, uses): (&Log, &Uses), filed: &Filed) -> Result<(), Reason> {
    older_twin(index, &filed.sha256)?;
    // What a void record says of it is that record's fault, and no reason against whoever asked.
    let used = filed.key.map_or(&[][..], |key| uses.certified(&key));
    if used.iter().any(|record| log.counts(*record)) {
        return Err(Reason::new(Code::SpkiReuse, "its key has a certificate already"));
    }
    revoked(log, filed)
}

/// A revocation also voids requests signed with the key that no record before it used.
fn revoked(log: &Log, filed: &Filed) -> Result<(), Reason> {
    let Ok(signed) = &filed.signed else { return Ok(()) };
    let revoked = log.counted().any(|(_, logged)| {
        logged
            .record
            .revoke_key
            .iter()
            .any(|entry| entry.key == *signed.signature.issuer() && entry.person == signed.person)
            && logged.record.epoch as usize == log.closed.len() // a later epoch lists whom it trusts anew
    });
    if revoked {
        return Err(Reason::new(Code::KeyRevoked, format!("{} was revoked", signed.signature.issuer())));
    }
    Ok(())
}

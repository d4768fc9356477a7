//! `audit --k8s-audit`: which requests to an API server were made with which certificate, by the log of that API server.
//!
//! Attack (T36): whoever may open a CA key can sign a certificate with it and tell nobody. Nothing in the repository shows
//! it, so the one place left is where it is used: since Kubernetes 1.32 the API server writes the hash of the certificate
//! into its audit log, and every certificate that kluis issues has its hash in a signed record.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::deny::{self, Denied};
use super::join::{self, BadLine, Join, Joined, Known, Standing, Use};
use super::log::{credential_id, owner};
use crate::disk::Stream;
use crate::model::{ClusterName, Code, Finding, Level, Remedy, Time, displayed};
use crate::ops::{Failure, Session};
use crate::trust::Verified;
use crate::trust::record::Issued;

/// How much is read at once.
const PIECE: usize = 1 << 20;

/// What was done with the recorded certificates of one person or node.
#[derive(Debug, Clone, Serialize)]
pub struct Owner {
    /// The cluster.
    pub cluster: ClusterName,
    /// `node` or `person`.
    pub kind: &'static str,
    /// The node's or person's name.
    pub owner: String,
    /// Certificates that were used.
    pub certificates: u64,
    /// Events of all stages.
    pub events: u64,
    /// Requests that ended.
    pub requests: u64,
}

/// A certificate that nobody recorded, and what was done with it.
#[derive(Debug, Clone, Serialize)]
pub struct Unknown {
    /// Why it is not known.
    pub why: String,
    /// What was done.
    #[serde(flatten)]
    pub used: Use,
}

/// A certificate that was used after it was denied.
#[derive(Debug, Clone, Serialize)]
pub struct DeniedUse {
    /// Whose it is, and why it is denied.
    pub denied: Denied,
    /// What was done since.
    #[serde(flatten)]
    pub used: Use,
}

/// What the log says; `data` of the report.
#[derive(Debug, Serialize)]
pub struct K8sAudit {
    /// The files, as they were named.
    pub files: Vec<String>,
    /// Bytes read.
    pub bytes: u64,
    /// Lines that are not empty.
    pub lines: u64,
    /// Events.
    pub events: u64,
    /// Requests that ended.
    pub requests: u64,
    /// Whose certificates were used: persons first, each by the number of events.
    pub recorded: Vec<Owner>,
    /// Events of tokens.
    pub token_events: u64,
    /// Events that name no credential.
    pub events_without_credential: u64,
    /// Certificates that nobody recorded, in the order of the log.
    pub unknown: Vec<Unknown>,
    /// Events of more such certificates than are told apart.
    pub unknown_events_left_out: u64,
    /// Certificates that were used after they were denied, in the order of the log.
    pub denied: Vec<DeniedUse>,
    /// Lines that are no events; the first hundred.
    pub unreadable: Vec<BadLine>,
    /// How many there are.
    pub unreadable_lines: u64,
}

/// Every certificate that any record names.
struct Certificates<'a> {
    known: Known,
    /// By the numbers of `known`.
    entries: Vec<&'a Issued>,
    denied: HashMap<usize, Denied>,
    /// Why those of standing `Unknown` are none of ours, by credential id.
    reasons: HashMap<String, String>,
}

impl<'a> Certificates<'a> {
    fn of(verified: &'a Verified, clusters: &[ClusterName], now: Time) -> Self {
        let mut of =
            Self { known: Known::default(), entries: Vec::new(), denied: HashMap::new(), reasons: HashMap::new() };
        // What a log of last year shows may have ended since, so all that were ever denied are asked for.
        let denied = deny::list(verified, clusters, Time::from_unix(0));
        let mut denied: HashMap<_, _> = denied.into_iter().map(|one| (one.sha256, one)).collect();
        denied.retain(|_, one| one.since().is_none_or(|since| since <= now));
        let log = &verified.log;
        // Those that count come last, and stand.
        let mut order: Vec<usize> = (0..log.records.len()).collect();
        order.sort_by_key(|index| log.counts(*index));
        for index in order {
            for entry in &log.records[index].record.issued {
                let number = of.entries.len();
                of.entries.push(entry);
                let cluster = entry.place.cluster();
                let here = clusters.is_empty() || cluster.is_some_and(|cluster| clusters.contains(cluster));
                let id = credential_id(&entry.sha256);
                let standing = match (log.counts(index), here, denied.get(&entry.sha256)) {
                    (false, _, _) => {
                        let record = log.records[index].sha256.h16();
                        of.reasons.insert(id, format!("only record {record} names it, which does not count"));
                        Standing::Unknown
                    }
                    (true, false, _) => {
                        let at = cluster.map(ClusterName::as_str).unwrap_or_default();
                        of.reasons.insert(id, format!("it is recorded for cluster {at}"));
                        Standing::Unknown
                    }
                    (true, true, Some(one)) => {
                        of.denied.insert(number, one.clone());
                        Standing::Denied(one.since())
                    }
                    (true, true, None) => Standing::Recorded,
                };
                of.known.add(entry.sha256.to_string(), number, standing);
            }
        }
        of
    }
}

/// Joins the files, in their order, with what is recorded for these clusters (all, if there are none). Fails where a file
/// can't be read.
pub fn join(
    session: &mut Session,
    verified: &Verified,
    files: &[PathBuf],
    clusters: &[ClusterName],
) -> Result<(K8sAudit, Vec<Finding>), Failure> {
    if files.iter().filter(|file| is_input(file)).count() > 1 {
        return Err(Failure::usage("standard input can be read once: give - once"));
    }
    let certificates = Certificates::of(verified, clusters, session.now);
    let joined = read(session, &certificates.known, files)?;
    let audit = report(&certificates, joined, files);
    let findings = findings(&audit);
    Ok((audit, findings))
}

fn is_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn shown(file: &Path) -> String {
    displayed(&file.display().to_string())
}

fn read(session: &mut Session, known: &Known, files: &[PathBuf]) -> Result<Joined, Failure> {
    // All are opened before the first is read: a name that is wrong is told at once.
    let open = |file: &PathBuf| match is_input(file) {
        true => Ok(None),
        false => crate::disk::stream(file).map(Some),
    };
    let mut streams: Vec<Option<Stream>> = files.iter().map(open).collect::<Result<_, _>>()?;
    let sizes = streams.iter().map(|stream| stream.as_ref().and_then(Stream::size));
    // Of a pipe nobody knows the end: then nothing is drawn.
    let total = sizes.sum::<Option<u64>>().and_then(|total| usize::try_from(total).ok());
    let mut join = Join::new(known);
    let mut piece = vec![0; PIECE];
    let mut done = 0_usize;
    for (file, stream) in files.iter().zip(&mut streams) {
        join.begin(&shown(file));
        loop {
            let read = match stream {
                Some(stream) => stream.read(&mut piece)?,
                None => crate::env::input()
                    .read(&mut piece)
                    .map_err(|error| Failure::failed(format!("standard input can't be read: {error}")))?,
            };
            if read == 0 {
                break;
            }
            join.feed(&piece[..read]);
            done += read;
            if let Some(total) = total {
                (session.progress)("reading the audit log", done, total);
            }
        }
        join.end();
    }
    Ok(join.finish())
}

fn report(certificates: &Certificates<'_>, joined: Joined, files: &[PathBuf]) -> K8sAudit {
    let nobody = "no record names it";
    let unknown = |used: Use| Unknown {
        why: certificates.reasons.get(&used.credential_id).cloned().unwrap_or_else(|| nobody.to_owned()),
        used,
    };
    let denied = |(number, used): (usize, Use)| {
        let denied = certificates.denied.get(&number).cloned()?;
        Some(DeniedUse { denied, used })
    };
    K8sAudit {
        files: files.iter().map(|file| shown(file)).collect(),
        bytes: joined.bytes,
        lines: joined.lines,
        events: joined.events,
        requests: joined.requests,
        recorded: owners(certificates, &joined.recorded),
        token_events: joined.tokens,
        events_without_credential: joined.without_credential,
        unknown: joined.unknown.into_iter().map(unknown).collect(),
        unknown_events_left_out: joined.unknown_beyond,
        denied: joined.denied.into_iter().filter_map(denied).collect(),
        unreadable: joined.bad,
        unreadable_lines: joined.bad_lines,
    }
}

fn owners(certificates: &Certificates<'_>, counts: &HashMap<usize, join::Count>) -> Vec<Owner> {
    let mut owners: BTreeMap<(&ClusterName, &'static str, String), Owner> = BTreeMap::new();
    for (number, count) in counts {
        let Some((cluster, kind, name, _)) = owner(&certificates.entries[*number].place) else { continue };
        let key = (cluster, kind, name.clone());
        let none = || Owner { cluster: cluster.clone(), kind, owner: name, certificates: 0, events: 0, requests: 0 };
        let owner = owners.entry(key).or_insert_with(none);
        owner.certificates += 1;
        owner.events += count.events;
        owner.requests += count.requests;
    }
    let mut owners: Vec<Owner> = owners.into_values().collect();
    owners.sort_by_key(|owner| (owner.kind != "person", std::cmp::Reverse(owner.events)));
    owners
}

/// `3 requests of eve (system:masters) from 10.0.0.9, 2026-… to 2026-…`.
fn summary(used: &Use) -> String {
    let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let requests = if used.requests == 1 { "request" } else { "requests" };
    let mut text = format!("{} {requests} of {:?}", used.requests, list(&used.users));
    if !used.groups.is_empty() {
        text += &format!(" ({})", list(&used.groups));
    }
    if !used.addresses.is_empty() {
        text += &format!(" from {}", list(&used.addresses));
    }
    match (used.first, used.last) {
        (Some(first), Some(last)) if first == last => text + &format!(", {first}"),
        (Some(first), Some(last)) => text + &format!(", {first} to {last}"),
        _ => text,
    }
}

fn findings(audit: &K8sAudit) -> Vec<Finding> {
    let mut findings = Vec::new();
    // To whom the CA keys were ever sealed: one of them, or whoever has their key, made it.
    let suspects = || Remedy::Kluis("audit --kind sealed".to_owned());
    for unknown in &audit.unknown {
        let why = format!("{}: {}; {}", unknown.used.credential_id, unknown.why, summary(&unknown.used));
        findings.push(Finding::new(Code::UnknownCredential, why).fix(suspects()));
    }
    if audit.unknown_events_left_out > 0 {
        let why = format!(
            "{} events more, of further certificates that nobody recorded: is this the log of another cluster?",
            audit.unknown_events_left_out
        );
        findings.push(Finding::new(Code::UnknownCredential, why).fix(suspects()));
    }
    for one in &audit.denied {
        let reasons = one.denied.reasons.iter().map(|reason| reason.why.as_str()).collect::<Vec<_>>().join("; ");
        let why = format!("{}: {reasons}; since then {}", one.used.credential_id, summary(&one.used));
        let finding = Finding::new(Code::DeniedCredential, why).in_cluster(&one.denied.cluster);
        findings.push(finding.fix(Remedy::Kluis("audit --deny-list".to_owned())));
    }
    findings.extend(unreadable(audit));
    findings
}

/// Lines that are no events. What they hide, nobody can say: attention; an error, if one has the id of a certificate that
/// nobody recorded, because then it is known what they hide.
fn unreadable(audit: &K8sAudit) -> Vec<Finding> {
    let mut findings = Vec::new();
    for hides in [true, false] {
        let lines: Vec<&BadLine> = audit.unreadable.iter().filter(|line| line.names_unknown == hides).collect();
        let Some(first) = lines.first() else { continue };
        let mut named: Vec<String> = lines.iter().take(10).map(|line| format!("{}:{}", line.file, line.line)).collect();
        let listed = audit.unreadable.len() as u64;
        let more = lines.len() as u64 - named.len() as u64 + if hides { 0 } else { audit.unreadable_lines - listed };
        if more > 0 {
            named.push(format!("{more} more"));
        }
        let what =
            if hides { "is no event, and names a certificate that nobody recorded" } else { "is no whole event" };
        let why = format!("{} {what} ({}: {})", named.join(", "), first.line, first.why);
        let file = if first.file == "-" { "audit.log" } else { &first.file };
        let look = Remedy::Run(format!("sed -n {}p {file}", first.line));
        let finding = Finding::new(Code::UnreadableEvent, why).fix(look);
        findings.push(if hides { finding.level(Level::Error) } else { finding });
    }
    findings
}

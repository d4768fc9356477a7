//! `rotate settle`: decides what two branches decided apart in a rotation. One record that comes after both sets one phase
//! for each keyset, and takes along all that both branches made: leaves are issued anew by the generation that issues then,
//! bundles sealed anew, and of the rest what lies in the tree is kept.

mod conflicts;
mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde::Serialize;

pub use conflicts::{Choice, Conflict, Side};

use self::conflicts::{entries, find};
use self::files::Work;
use super::super::cert::{Made, config};
use super::super::draft::clusters_in_words;
use super::super::failure::Failure;
use super::super::issuing::{self, BundleWork, Keys, NodeWork, OpenCluster};
use super::super::plan::{Plan, Written, new_record};
use super::super::reseal;
use super::super::session::{Repository, Session};
use super::step::people_with;
use crate::model::{
    ClusterName, Digest, Finding, Generation, Keyset, Level, PersonName, Place, Remedy, SealedName, State, Time,
};
use crate::trust::record::Record;

/// What whoever drops a generation that one side used has seen: with both trusted, nobody would be cut off.
const UNUSED: &str = "unused";

/// Where a keyset is to stand: `promoted`, or for one keyset alone `etcd=staged`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The keyset; all that are in conflict without one.
    pub keyset: Option<Keyset>,
    /// The name of the choice.
    pub choice: String,
}

impl FromStr for Target {
    type Err = <Keyset as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('=') {
            Some((keyset, choice)) => Self { keyset: Some(keyset.parse()?), choice: choice.to_owned() },
            None => Self { keyset: None, choice: text.to_owned() },
        })
    }
}

/// What is to be settled.
pub struct Settle<'a> {
    /// In these clusters.
    pub clusters: &'a [ClusterName],
    /// Where keysets are to stand.
    pub to: &'a [Target],
    /// The gates that whoever runs this has seen to be so.
    pub confirmed: &'a BTreeSet<String>,
}

/// A keyset that was settled.
#[derive(Debug, Clone, Serialize)]
pub struct Decided {
    /// What was in conflict.
    #[serde(flatten)]
    pub conflict: Conflict,
    /// Where it stands now.
    pub to: Choice,
}

/// What was settled; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Settled {
    /// The keysets.
    pub keysets: Vec<Decided>,
    /// Certificates of nodes that were issued anew.
    pub certificates: Vec<Made>,
    /// Sealed files of keysets that both branches sealed, sealed again.
    pub resealed: Vec<String>,
    /// Other files that stay as they lie in the tree.
    pub kept: Vec<String>,
    /// Files that are taken away.
    pub removed: Vec<String>,
    /// People with a live certificate of a generation that does not issue: they ask for the next.
    pub people: BTreeSet<PersonName>,
    /// Sealed files that are opened, with their clusters.
    pub opened: Vec<String>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

impl Settled {
    /// Whether nothing was in conflict.
    pub fn is_empty(&self) -> bool {
        let files = [&self.resealed, &self.kept, &self.removed];
        self.keysets.is_empty() && self.certificates.is_empty() && files.iter().all(|paths| paths.is_empty())
    }
}

/// Refuses a tree that only conflicts make invalid, with who did what and the command that settles it.
pub fn check_settled(repository: &Repository) -> Result<(), Failure> {
    let verified = &repository.verified;
    let errors = verified.findings.iter().filter(|finding| finding.level == Level::Error);
    let errors: Vec<Finding> = errors.filter(|finding| !finding.code.is_anchor()).cloned().collect();
    let Some(first) = errors.first() else { return Ok(()) };
    let clusters = repository.epoch()?.clusters.keys();
    let found: Vec<Conflict> = clusters.flat_map(|cluster| find(repository, cluster)).collect();
    let what = match found.is_empty() {
        true => format!("this repository is invalid ({})", first.code),
        false => format!("where rotations stand is not clear: {}", described(&found)),
    };
    let help = found.first().map(|conflict| Remedy::Settle(conflict.cluster.clone()));
    let failure = Failure::findings(what, errors);
    Err(Failure { help: help.or(failure.help.clone()), ..failure })
}

/// Settles what is in conflict in clusters.
pub fn settle(session: &mut Session, repository: &mut Repository, wanted: &Settle<'_>) -> Result<Settled, Failure> {
    if let Some(unknown) = wanted.confirmed.iter().find(|gate| *gate != UNUSED) {
        return Err(Failure::usage(format!("there is no gate {unknown:?} here; there is: {UNUSED}")));
    }
    let mut report = Settled {
        keysets: decide(repository, wanted)?,
        certificates: Vec::new(),
        resealed: Vec::new(),
        kept: Vec::new(),
        removed: Vec::new(),
        people: BTreeSet::new(),
        opened: Vec::new(),
        written: Written { dry_run: session.settings.dry_run, ..Written::default() },
    };
    let works = works(repository, wanted, &report.keysets)?;
    if works.is_empty() {
        return Ok(report);
    }
    let mut actor = session.actor(&repository.verified)?;
    for work in &works {
        issuing::check_issuer(&work.cluster, repository.cluster(&work.cluster)?, &actor.name)?;
        issuing::check_config(config(repository, &work.cluster)?)?;
    }
    for decided in &report.keysets {
        report.people.extend(people(repository, decided, session.now)?);
    }
    let gates = confirm(session, &report.keysets, &works, wanted)?;
    report.opened = works.iter().flat_map(opens).collect();
    let mut record = new_record(&repository.verified, &actor.name, session.now, "rotate settle")?;
    if works.iter().any(|work| !work.nodes.is_empty()) {
        record.accepted = issuing::accepted(session, &repository.verified)?;
    }
    record.phase = report.keysets.iter().flat_map(|decided| steps(decided, &gates)).collect();
    let mut plan = Plan::default();
    // What is in conflict in clusters that nobody named stays so.
    let named = |place: &&Place| place.cluster().is_none_or(|cluster| wanted.clusters.contains(cluster));
    let mut open = repository.epoch()?.clusters.keys().filter(|name| !wanted.clusters.contains(*name));
    plan.keeps_errors = repository.verified.current.in_conflict().any(|place| !named(&place))
        || open.any(|name| !find(repository, name).is_empty());
    for work in &works {
        work.fill(repository, &actor.name, &mut record, &mut plan);
    }
    report.kept = record.config.iter().map(|entry| entry.place().to_string()).collect();
    report.kept.extend(record.issued.iter().map(|entry| entry.place.to_string()));
    report.resealed = works.iter().flat_map(|work| &work.sealed).map(|entry| entry.place().to_string()).collect();
    report.removed = record.removed.iter().map(ToString::to_string).collect();
    if session.settings.dry_run {
        let places = works.iter().flat_map(Work::certificates);
        report.certificates = places.map(|place| Made::planned(&place)).collect();
        return Ok(report);
    }
    // carry_out looks again; here, so that no touch or passphrase is for nothing.
    repository.work()?.check_writable(&plan.edited)?;
    let kept = record.issued.len();
    for (done, work) in works.iter().enumerate() {
        issue(session, repository, &mut actor, work, (&mut record, &mut plan))?;
        if work.sealed.iter().any(|entry| entry.imported) {
            record.reason = "imported keys are sealed again to the right people".to_owned();
        }
        for (entry, bytes) in reseal::seal_all(session, repository, &mut actor, &work.sealed)? {
            plan.write(&entry.place(), bytes);
            record.sealed.push(entry);
        }
        (session.progress)("settling clusters", done + 1, works.len());
    }
    report.certificates = record.issued[kept..].iter().map(Made::of).collect();
    report.certificates.sort_by(|a, b| a.path.cmp(&b.path));
    let names = clusters_in_words(works.iter().map(|work| &work.cluster));
    plan.record(record);
    let title = format!("Settle what was decided apart in {names}");
    report.written = plan.carry_out(session, repository, &mut actor, &title, "")?;
    Ok(report)
}

/// Issues what a cluster's nodes need, with the authorities that issue once the record counts.
fn issue(
    session: &mut Session,
    repository: &Repository,
    actor: &mut super::super::session::Actor,
    work: &Work,
    (record, plan): (&mut Record, &mut Plan),
) -> Result<(), Failure> {
    let config = config(repository, &work.cluster)?.clone();
    let mut opened = issuing::Opened::new();
    for (keyset, generation) in &work.authorities {
        let authority = issuing::open_generation(repository, actor, &work.cluster, (*keyset, *generation))?;
        opened.insert(*keyset, authority);
    }
    let count = work.nodes.iter().map(NodeWork::new_keys).sum();
    let mut keys = Keys::make(session, &BTreeMap::from([(config.algorithm, count)]));
    let open = [OpenCluster { name: &work.cluster, config: &config, nodes: &work.nodes, opened }];
    issuing::carry_out_with(session, repository, actor, (&open, &mut keys), (0, work.nodes.len()), (record, plan))
}

/// Where each keyset in conflict is to stand.
fn decide(repository: &Repository, wanted: &Settle<'_>) -> Result<Vec<Decided>, Failure> {
    let found: Vec<Conflict> = wanted.clusters.iter().flat_map(|cluster| find(repository, cluster)).collect();
    let about = |target: &Target| target.keyset.is_none_or(|named| found.iter().any(|one| one.keyset == named));
    if let Some(vain) = wanted.to.iter().find(|target| !about(target)) {
        let keyset = vain.keyset.map(|keyset| keyset.to_string()).unwrap_or_default();
        let what = format!("no two branches took different steps of {keyset}");
        return Err(Failure::usage(what).help(Remedy::Kluis("rotate status".to_owned())));
    }
    let stuck: Vec<Conflict> = found.iter().filter(|one| one.choices.is_empty()).cloned().collect();
    if !stuck.is_empty() {
        let what = format!(
            "no record can settle this, since no generation is left that both would let issue: {}; take the merge back, and \
             make again on one branch what the other did",
            described(&stuck)
        );
        return Err(Failure::refused(what).help(Remedy::Run("git revert -m 1 HEAD".to_owned())));
    }
    let chosen: Vec<Option<Choice>> = found.iter().map(|one| chosen(one, wanted.to).cloned()).collect();
    if chosen.iter().any(Option::is_none) {
        return Err(undecided(&found, wanted));
    }
    let decided = found.into_iter().zip(chosen);
    Ok(decided.filter_map(|(conflict, to)| Some(Decided { conflict, to: to? })).collect())
}

fn chosen<'a>(conflict: &'a Conflict, to: &[Target]) -> Option<&'a Choice> {
    let own = to.iter().find(|target| target.keyset == Some(conflict.keyset));
    let named = own.or_else(|| to.iter().find(|target| target.keyset.is_none()));
    match (conflict.choices.as_slice(), own, named) {
        ([only], None, _) => Some(only),
        (choices, _, Some(target)) => choices.iter().find(|choice| choice.name == target.choice),
        _ => None,
    }
}

/// Says who did what and what there is to choose from. The help is a choice that cuts nobody off.
fn undecided(found: &[Conflict], wanted: &Settle<'_>) -> Failure {
    let open: Vec<&Conflict> = found.iter().filter(|one| chosen(one, wanted.to).is_none()).collect();
    let mut choices: BTreeMap<Vec<&str>, Vec<String>> = BTreeMap::new();
    for one in &open {
        let names = one.choices.iter().map(|choice| choice.name.as_str()).collect();
        choices.entry(names).or_default().push(format!("{}/{}", one.cluster, one.keyset));
    }
    let choices = choices.iter().map(|(names, keysets)| format!("{} to {}", keysets.join(", "), names.join(" or ")));
    let mild = |one: &Conflict| {
        let mild = one.choices.iter().find(|choice| choice.mild);
        let kind = || one.choices.iter().find(|choice| choice.unused.is_empty());
        mild.or_else(kind).or(one.choices.first()).map(|choice| choice.name.clone()).unwrap_or_default()
    };
    let milds: BTreeMap<Keyset, String> = found.iter().map(|one| (one.keyset, mild(one))).collect();
    let mut line = "rotate settle".to_owned();
    wanted.clusters.iter().for_each(|name| line.push_str(&format!(" -c {name}")));
    let distinct: BTreeSet<&String> = milds.values().collect();
    match distinct.into_iter().collect::<Vec<_>>().as_slice() {
        [one] => line.push_str(&format!(" --to {one}")),
        _ => milds.iter().for_each(|(keyset, mild)| line.push_str(&format!(" --to {keyset}={mild}"))),
    }
    let what = format!(
        "say with --to where it is to stand: {}; you can bring {}",
        described(&open.into_iter().cloned().collect::<Vec<_>>()),
        choices.collect::<Vec<_>>().join("; ")
    );
    Failure::usage(what).help(Remedy::Kluis(line))
}

/// Who did what, as a clause; keysets with the same sides together.
fn described(found: &[Conflict]) -> String {
    let mut groups: Vec<(Vec<String>, String)> = Vec::new();
    for one in found {
        let name = format!("{}/{}", one.cluster, one.keyset);
        let by = |side: &Side| format!("{} ({}, {})", side.actor, side.command, side.time);
        let sides: Vec<String> = match one.given_up.as_slice() {
            [] => one.sides.iter().map(|side| format!("{} by {}", side.phase.as_str(), by(side))).collect(),
            _ => one.sides.iter().map(by).collect(),
        };
        let made: Vec<String> =
            one.given_up.iter().map(|generation| format!("two keys made for {generation} by ")).collect();
        let text = format!("{}{}", made.concat(), sides.join(" and "));
        match groups.iter_mut().find(|(_, other)| *other == text) {
            Some((names, _)) => names.push(name),
            None => groups.push((vec![name], text)),
        }
    }
    let lines = groups.into_iter().map(|(names, text)| format!("{}: {text}", names.join(", ")));
    lines.collect::<Vec<_>>().join("; ")
}

/// What is done in each cluster that has something in conflict. A cluster.toml alone is `cluster apply`'s.
fn works(repository: &Repository, wanted: &Settle<'_>, decided: &[Decided]) -> Result<Vec<Work>, Failure> {
    let mut works = Vec::new();
    for name in wanted.clusters {
        let own: Vec<&Decided> = decided.iter().filter(|one| one.conflict.cluster == *name).collect();
        let current = &repository.verified.current;
        let torn: Vec<&Place> = current.in_conflict().filter(|place| place.cluster() == Some(name)).collect();
        if own.is_empty() && torn.is_empty() {
            continue;
        }
        if own.is_empty() && torn.iter().all(|place| matches!(place, Place::Config(_))) {
            let what = format!("two branches edited cluster.toml of {name}, and nothing else");
            return Err(Failure::refused(what).help(Remedy::ClusterApply(name.clone())));
        }
        works.push(Work::of(repository, name, &own)?);
    }
    Ok(works)
}

/// Asks, with all that was decided apart. A generation that one side used is dropped by nobody's mere yes in a script:
/// there is always a phase in which both are trusted.
fn confirm(
    session: &mut Session,
    decided: &[Decided],
    works: &[Work],
    wanted: &Settle<'_>,
) -> Result<Vec<String>, Failure> {
    let used = decided.iter().filter(|one| !one.to.unused.is_empty());
    let used = used.flat_map(|one| {
        one.to
            .unused
            .iter()
            .map(move |generation| format!("{}/{} {generation}", one.conflict.cluster, one.conflict.keyset))
    });
    let used = used.collect::<Vec<_>>().join(", ");
    let what = format!(
        "no node, person, pod or secret uses what was issued, signed or encrypted with {used}, which one branch used and \
         will be trusted no more"
    );
    let confirmed = wanted.confirmed.contains(UNUSED);
    let asks = !used.is_empty() && !confirmed;
    if asks && session.settings.yes {
        let mut line = "rotate settle".to_owned();
        wanted.clusters.iter().for_each(|name| line.push_str(&format!(" -c {name}")));
        for target in wanted.to {
            let keyset = target.keyset.map(|keyset| format!("{keyset}=")).unwrap_or_default();
            line.push_str(&format!(" --to {keyset}{}", target.choice));
        }
        line.push_str(&format!(" --confirm {UNUSED}"));
        let what = format!("nobody has confirmed what has to be true before this ({UNUSED}: {what})");
        return Err(Failure::refused(what).help(Remedy::Kluis(line)));
    }
    let mut question = String::new();
    for one in decided {
        let of = std::slice::from_ref(&one.conflict);
        question.push_str(&format!("{}.\n- to {}: {}\n", described(of), one.to.name, stated(&one.to.sets)));
    }
    if asks {
        question.push_str(&format!("Is it so that {what}?\n"));
    }
    let certificates: usize = works.iter().flat_map(|work| &work.nodes).map(|node| node.fresh.len()).sum();
    question.push_str(&format!("Settle it so, and issue {certificates} certificates of nodes anew?"));
    session.confirm(&question)?;
    // A yes at the terminal was an answer to it.
    let answered = asks && session.terminal.is_interactive() && !session.settings.dry_run;
    Ok(if confirmed && !used.is_empty() || answered { vec![UNUSED.to_owned()] } else { Vec::new() })
}

/// States as people read them.
pub fn stated(sets: &[(Generation, State)]) -> String {
    sets.iter().map(|(generation, state)| format!("{generation} {state}")).collect::<Vec<_>>().join(", ")
}

/// The steps of a keyset; what was confirmed stands with the generations that it is about.
fn steps(decided: &Decided, gates: &[String]) -> Vec<crate::trust::record::Phase> {
    let mut steps = entries(&decided.conflict.cluster, decided.conflict.keyset, &decided.to.sets);
    let about = |generation: &Generation| decided.to.unused.contains(generation);
    steps.iter_mut().filter(|step| about(&step.generation)).for_each(|step| step.gates = gates.to_vec());
    steps
}

/// People with a live certificate of a generation that does not issue any more.
fn people(repository: &Repository, decided: &Decided, now: Time) -> Result<BTreeSet<PersonName>, Failure> {
    let (name, keyset) = (&decided.conflict.cluster, decided.conflict.keyset);
    if !keyset.is_ca() {
        return Ok(BTreeSet::new());
    }
    let others =
        repository.cluster(name)?.generations(keyset).filter(|(generation, _)| *generation != decided.to.issues);
    let others: BTreeSet<Digest> = others.map(|(_, sha256)| sha256).collect();
    people_with(repository, name, &others, now)
}

fn opens(work: &Work) -> Vec<String> {
    let authorities = work.authorities.iter().map(|(keyset, generation)| SealedName::Keyset(*keyset, *generation));
    let bundles = work.nodes.iter().filter(|node| node.bundle == BundleWork::Open);
    let bundles = bundles.map(|node| SealedName::Node(node.node.name.clone()));
    let sealed = work.sealed.iter().map(|entry| entry.name.clone());
    let names: BTreeSet<SealedName> = authorities.chain(bundles).chain(sealed).collect();
    names.into_iter().map(|name| format!("{}/{name}", work.cluster)).collect()
}

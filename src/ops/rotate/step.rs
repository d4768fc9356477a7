//! One phase: `trust`, `promote`, `distrust`, their `undo`, and `next`. One record and one commit, for as many clusters as
//! wanted. Where another generation issues from now on, every leaf of its nodes is issued anew in the same record, so that
//! no leaf is ever of a generation that does not issue.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::cert::node::{has_key, kept_by_node};
use super::super::cert::{Made, config};
use super::super::draft::clusters_in_words;
use super::super::failure::Failure;
use super::super::issuing::{self, BundleWork, Keys, NodeWork, OpenCluster};
use super::super::plan::{Plan, Written, new_record};
use super::super::session::{Repository, Session};
use super::steps::{self, Gate};
use super::{Phase, Position, chosen, emergency};
use crate::model::{
    ClusterName, Digest, Distribution, Generation, Keyset, Node, PersonName, Place, Profile, Remedy, SealedName, State,
    Time,
};
use crate::trust::current::Vouch;
use crate::trust::keyset_of;
use crate::trust::record;

/// The keys of so many clusters are open at a time: enough for every core, and few to lose.
const AT_ONCE: usize = 8;

/// The step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The new generation is trusted too.
    Trust,
    /// The new generation issues.
    Promote,
    /// The former generation is trusted no more.
    Distrust,
    /// Back to the phase before.
    Undo,
    /// Whatever comes next.
    Next,
}

impl Verb {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Promote => "promote",
            Self::Distrust => "distrust",
            Self::Undo => "undo",
            Self::Next => "next",
        }
    }

    /// The phase that it starts from.
    fn from(self) -> Option<Phase> {
        match self {
            Self::Trust => Some(Phase::Staged),
            Self::Promote => Some(Phase::Trusted),
            Self::Distrust => Some(Phase::Promoted),
            Self::Undo | Self::Next => None,
        }
    }
}

/// What is to be stepped.
pub struct Wanted<'a> {
    /// The step.
    pub verb: Verb,
    /// In these clusters.
    pub clusters: &'a [ClusterName],
    /// These keysets; all that stand where the step begins if empty.
    pub keysets: &'a [Keyset],
    /// The gates that whoever runs this has seen to be so.
    pub confirmed: &'a BTreeSet<String>,
    /// Somebody forges: no gate is waited for, and what can't be used for that is left for later.
    pub emergency: bool,
}

/// One keyset's step.
#[derive(Debug, Clone, Serialize)]
pub struct Move {
    /// The cluster.
    pub cluster: ClusterName,
    /// The keyset.
    pub keyset: Keyset,
    /// The phase before.
    pub from: Phase,
    /// The phase after.
    pub to: Phase,
    /// The new state of each generation that changes.
    pub states: Vec<(Generation, State)>,
    /// The gates that were confirmed.
    pub gates: Vec<&'static str>,
    /// The gates that there are.
    #[serde(skip)]
    asked: Vec<Gate>,
}

/// What was stepped; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Stepped {
    /// The steps.
    pub moves: Vec<Move>,
    /// Keysets that were left alone, and why.
    pub left: Vec<String>,
    /// Whether no gate was waited for.
    pub emergency: bool,
    /// Certificates that were issued by the generation that issues now.
    pub certificates: Vec<Made>,
    /// People with a live certificate of a generation that retires: they ask for the next.
    pub people: BTreeSet<PersonName>,
    /// Sealed files that are opened, with their clusters.
    pub opened: Vec<String>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Carries out the step.
pub fn step(session: &mut Session, repository: &mut Repository, wanted: &Wanted<'_>) -> Result<Stepped, Failure> {
    check_gates(wanted.confirmed)?;
    check_begun(repository, wanted)?;
    let (mut moves, left) = plan_moves(repository, wanted)?;
    let mut report = Stepped {
        moves: Vec::new(),
        left,
        emergency: wanted.emergency,
        certificates: Vec::new(),
        people: BTreeSet::new(),
        opened: Vec::new(),
        written: Written { dry_run: session.settings.dry_run, ..Written::default() },
    };
    if moves.is_empty() {
        return nothing_moves(repository, wanted, report);
    }
    let mut actor = session.actor(&repository.verified)?;
    for one in &moves {
        let cluster = repository.cluster(&one.cluster)?;
        issuing::check_may_issue(&one.cluster, cluster, &actor.name)?;
        if one.issues_anew() {
            issuing::check_issuer(&one.cluster, cluster, &actor.name)?;
            issuing::check_config(config(repository, &one.cluster)?)?;
        }
        check_distrust(repository, one, wanted, session.now)?;
        report.people.extend(people_of(repository, one, session.now)?);
    }
    pass_gates(session, repository, &mut moves, wanted)?;
    let works = works(repository, &moves)?;
    report.opened = opens(&works);
    let command = format!("rotate {}{}", wanted.verb.as_str(), if wanted.emergency { " --emergency" } else { "" });
    let mut record = new_record(&repository.verified, &actor.name, session.now, &command)?;
    if works.iter().any(|work| !work.nodes.is_empty()) {
        record.accepted = issuing::accepted(session, &repository.verified)?;
    }
    record.phase = moves.iter().flat_map(Move::entries).collect();
    if session.settings.dry_run {
        report.moves = moves;
        return Ok(report);
    }
    let mut plan = Plan::default();
    // carry_out looks again; here, so that no touch or passphrase is for nothing.
    repository.work()?.check_writable(&plan.edited)?;
    let mut needed = BTreeMap::new();
    for work in &works {
        let keys: usize = work.nodes.iter().map(NodeWork::new_keys).sum();
        *needed.entry(config(repository, &work.cluster)?.algorithm).or_default() += keys;
    }
    let mut keys = Keys::make(session, &needed);
    let (mut done, total) = (0, works.iter().map(|work| work.nodes.len()).sum());
    for works in works.chunks(AT_ONCE) {
        let mut open = Vec::with_capacity(works.len());
        for work in works {
            let config = config(repository, &work.cluster)?;
            let mut opened = issuing::Opened::new();
            for (keyset, generation) in &work.authorities {
                let of = (*keyset, *generation);
                opened.insert(*keyset, issuing::open_generation(repository, &mut actor, &work.cluster, of)?);
            }
            open.push(OpenCluster { name: &work.cluster, config, nodes: &work.nodes, opened });
        }
        let (of, to) = ((open.as_slice(), &mut keys), (&mut record, &mut plan));
        issuing::carry_out_with(session, repository, &mut actor, of, (done, total), to)?;
        done += works.iter().map(|work| work.nodes.len()).sum::<usize>();
    }
    report.certificates = record.issued.iter().map(Made::of).collect();
    report.certificates.sort_by(|a, b| a.path.cmp(&b.path));
    let names = clusters_in_words(moves.iter().map(|one| &one.cluster));
    let title = format!("Rotate {names}: {} {} keysets", wanted.verb.as_str(), moves.len());
    plan.record(record);
    report.written = plan.carry_out(session, repository, &mut actor, &title, "")?;
    report.moves = moves;
    Ok(report)
}

impl Move {
    fn entries(&self) -> impl Iterator<Item = record::Phase> + '_ {
        self.states.iter().map(|(generation, state)| record::Phase {
            cluster: self.cluster.clone(),
            keyset: self.keyset,
            generation: *generation,
            state: *state,
            // The gates stand with the generation that goes on, once.
            gates: match state {
                State::Trusted | State::Retiring => Vec::new(),
                _ => self.gates.iter().map(|gate| (*gate).to_owned()).collect(),
            },
        })
    }

    /// The generation that issues from now on, where it is another.
    fn issuer(&self) -> Option<Generation> {
        self.states.iter().find(|(_, state)| *state == State::Issuing).map(|(generation, _)| *generation)
    }

    fn issues_anew(&self) -> bool {
        self.keyset.is_ca() && self.issuer().is_some()
    }
}

/// The steps of each keyset that stands where the step begins. A keyset that was named and stands elsewhere is refused.
fn plan_moves(repository: &Repository, wanted: &Wanted<'_>) -> Result<(Vec<Move>, Vec<String>), Failure> {
    let (mut moves, mut left) = (Vec::new(), Vec::new());
    for name in wanted.clusters {
        if repository.cluster(name)?.retired && wanted.clusters.len() > 1 {
            left.push(format!("{name}: it is retired"));
            continue;
        }
        if wanted.emergency {
            emergency::check(repository, name)?;
        }
        for keyset in chosen(repository, name, wanted.keysets)? {
            let position = Position::of(repository, name, keyset)?;
            let phase = position.phase();
            if let Some(why) = passed_over(&position, keyset, wanted) {
                left.push(format!("{name}/{keyset}: {why}"));
                continue;
            }
            let verb = match wanted.verb {
                Verb::Next => match phase {
                    Phase::Staged => Verb::Trust,
                    Phase::Trusted => Verb::Promote,
                    Phase::Promoted => Verb::Distrust,
                    Phase::Steady | Phase::Distrusted => Verb::Next,
                },
                verb => verb,
            };
            match moved(&position, verb, phase) {
                Some((to, states)) => {
                    let (cluster, gates) = (name.clone(), Vec::new());
                    let asked = match verb {
                        Verb::Undo => steps::gates_back(keyset, phase, position.went_back),
                        _ => steps::gates(keyset, phase),
                    };
                    moves.push(Move { cluster, keyset, from: phase, to, states, gates, asked });
                }
                None if wanted.keysets.is_empty() => {
                    if phase != Phase::Steady {
                        left.push(format!("{name}/{keyset}: {}", phase.as_str()));
                    }
                }
                None => return Err(misplaced(name, keyset, phase, wanted.verb)),
            }
        }
    }
    Ok((moves, left))
}

/// Why a keyset that nobody named stays where it is: it is ready for an emergency, or of no use to whoever forges.
fn passed_over(position: &Position, keyset: Keyset, wanted: &Wanted<'_>) -> Option<String> {
    let phase = position.phase();
    if !wanted.keysets.is_empty() || phase == Phase::Steady {
        return None;
    }
    match position.next() {
        _ if wanted.emergency && !emergency::forges(keyset) => {
            Some(format!("{}; nothing can be forged with it", phase.as_str()))
        }
        Some(next) if position.standby && phase == Phase::Trusted && !wanted.emergency => {
            Some(format!("{next} is kept for an emergency; name the keyset to move it"))
        }
        _ => None,
    }
}

fn misplaced(name: &ClusterName, keyset: Keyset, phase: Phase, verb: Verb) -> Failure {
    let from = verb.from().map(|from| format!(", and {} begins where it is {}", verb.as_str(), from.as_str()));
    let what = format!("{name}/{keyset} is {}{}", phase.as_str(), from.unwrap_or_default());
    let line = match (verb, phase) {
        (_, Phase::Steady) => format!("rotate start {keyset} -c {name}"),
        (Verb::Next | Verb::Undo, Phase::Distrusted) => format!("rotate remove {keyset} -c {name}"),
        _ => format!("rotate status -c {name}"),
    };
    Failure::refused(what).help(Remedy::Kluis(line))
}

/// The phase and states that a step leads to; `None` where it does not begin here.
fn moved(position: &Position, verb: Verb, phase: Phase) -> Option<(Phase, Vec<(Generation, State)>)> {
    let next = || position.next();
    match (verb, phase) {
        (Verb::Trust, Phase::Staged) => Some((Phase::Trusted, vec![(next()?, State::Trusted)])),
        (Verb::Promote, Phase::Trusted) => {
            Some((Phase::Promoted, vec![(position.issuing, State::Retiring), (next()?, State::Issuing)]))
        }
        (Verb::Distrust, Phase::Promoted) => {
            Some((Phase::Distrusted, position.former().map(|generation| (generation, State::Distrusted)).collect()))
        }
        // A generation that nothing ever trusted is given up.
        (Verb::Undo, Phase::Staged) => Some((Phase::Distrusted, vec![(next()?, State::Distrusted)])),
        (Verb::Undo, Phase::Trusted) => Some((Phase::Staged, vec![(next()?, State::Staged)])),
        (Verb::Undo, Phase::Promoted) => {
            let former = position.with(State::Retiring).last()?;
            Some((Phase::Trusted, vec![(former, State::Issuing), (position.issuing, State::Trusted)]))
        }
        _ => None,
    }
}

/// Refuses to go on from a step that this run has finished for a command that was killed. Whoever repeats `undo` or `next`
/// after a kill wants one step, and by their own words these would take a second one.
fn check_begun(repository: &Repository, wanted: &Wanted<'_>) -> Result<(), Failure> {
    let Some(what) = repository.recovered.as_ref().filter(|_| wanted.verb.from().is_none()) else { return Ok(()) };
    let what =
        format!("{what}; that may have been this step, so see where the rotation stands, and repeat if it was not");
    Err(Failure::refused(what).help(Remedy::Kluis("rotate status".to_owned())))
}

fn check_gates(confirmed: &BTreeSet<String>) -> Result<(), Failure> {
    let Some(unknown) = confirmed.iter().find(|name| !steps::ALL.iter().any(|gate| gate.name == name.as_str())) else {
        return Ok(());
    };
    let known = steps::ALL.map(|gate| gate.name).join(", ");
    let what = format!("there is no gate {unknown:?}; there are: {known}");
    Err(Failure::usage(what).help(Remedy::Kluis("rotate status".to_owned())))
}

/// Asks for the gates between the phases. `next` passes none that is not confirmed; the verbs themselves are asked for on
/// the terminal, and `--yes` is the word of whoever runs them. What was confirmed goes on record. In an emergency none is
/// waited for: what breaks by that is said instead.
fn pass_gates(
    session: &mut Session,
    repository: &Repository,
    moves: &mut [Move],
    wanted: &Wanted<'_>,
) -> Result<(), Failure> {
    let mut open: BTreeMap<&'static str, Gate> = BTreeMap::new();
    for one in moves.iter_mut() {
        for gate in one.asked.clone() {
            if wanted.confirmed.contains(gate.name) {
                one.gates.push(gate.name);
            } else {
                open.insert(gate.name, gate);
            }
        }
    }
    // Passed by mistake, it leaves API servers that can't read what lies in etcd, and nothing brings that back but the key
    // that was distrusted: no `--yes` of a script is word enough.
    let lost = open.contains_key(steps::REWRITTEN.name) && session.settings.yes;
    let waits = wanted.verb == Verb::Next && !wanted.emergency && !open.is_empty();
    if wanted.emergency || lost && !waits {
        open.retain(|name, _| *name == steps::REWRITTEN.name);
    }
    if lost || waits {
        let list = open.values().map(|gate| format!("{}: {}", gate.name, gate.what)).collect::<Vec<_>>().join("; ");
        let mut line = format!("rotate {}", wanted.verb.as_str());
        wanted.keysets.iter().for_each(|keyset| line.push_str(&format!(" {keyset}")));
        let clusters: BTreeSet<&str> = moves.iter().map(|one| one.cluster.as_str()).collect();
        clusters.into_iter().for_each(|name| line.push_str(&format!(" -c {name}")));
        let confirmed = wanted.confirmed.iter().map(String::as_str).chain(open.keys().copied());
        confirmed.collect::<BTreeSet<_>>().into_iter().for_each(|name| line.push_str(&format!(" --confirm {name}")));
        let what = format!("nobody has confirmed what has to be true before the next step ({list})");
        return Err(Failure::refused(what).help(Remedy::Kluis(line)));
    }
    let mut question = String::new();
    if wanted.emergency && wanted.verb != Verb::Undo {
        question.push_str("Nothing waits for nodes and clients. When nodes get their files:\n");
        for what in breaks(repository, moves)? {
            question.push_str(&format!("- {what}.\n"));
        }
    }
    for gate in open.values() {
        question.push_str(&format!("Is it so that {}?\n", gate.what));
    }
    let names: BTreeSet<&str> = moves.iter().map(|one| one.cluster.as_str()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    question.push_str(&format!("Go on with {} keysets of {names} ({})?", moves.len(), wanted.verb.as_str()));
    session.confirm(&question)?;
    // A yes at the terminal was an answer to each of them.
    if session.terminal.is_interactive() && !session.settings.yes && !session.settings.dry_run {
        for one in moves.iter_mut() {
            let answered = one.asked.iter().filter(|gate| open.contains_key(gate.name));
            one.gates.extend(answered.map(|gate| gate.name));
        }
    }
    if session.settings.yes && !wanted.emergency && !open.is_empty() {
        let passed = open.keys().copied().collect::<Vec<_>>().join(", ");
        session
            .notes
            .push(format!("--yes went past what nobody confirmed: {passed}; only --confirm puts it on record"));
    }
    moves.iter_mut().for_each(|one| one.gates.sort_unstable());
    Ok(())
}

/// What stops working where nodes get what these moves lead to without waiting.
fn breaks(repository: &Repository, moves: &[Move]) -> Result<BTreeSet<&'static str>, Failure> {
    let mut breaks = BTreeSet::new();
    for name in moves.iter().map(|one| &one.cluster).collect::<BTreeSet<_>>() {
        let stages = emergency::stages(repository, name)?;
        breaks.extend(stages.iter().flat_map(|stage| stage.breaks.iter().copied()));
    }
    Ok(breaks)
}

/// Refuses to take trust from a CA of which a node still has its current certificate, and, unless it is confirmed that clients
/// moved, one of which people have certificates that live. Who left is meant to be cut off.
fn check_distrust(repository: &Repository, one: &Move, wanted: &Wanted<'_>, now: Time) -> Result<(), Failure> {
    if !one.keyset.is_ca() {
        return Ok(());
    }
    let mut issuers = hashes(repository, one, State::Distrusted)?;
    issuers.extend(hashes(repository, one, State::Staged)?);
    let current = repository.verified.current.paths.iter().find(|(place, vouched)| {
        let is_node = matches!(place, Place::NodeCert(cluster, ..) if *cluster == one.cluster);
        is_node && matches!(&vouched.vouch, Vouch::Issued(entry) if issuers.contains(&entry.issuer) && entry.not_after > now)
    });
    if let Some((place, _)) = current {
        let what = format!("{place} is of the generation of {} that would be distrusted, and is in use", one.keyset);
        return Err(Failure::refused(what).help(Remedy::ClusterApply(one.cluster.clone())));
    }
    let people = people_with(repository, &one.cluster, &issuers, now)?;
    if !people.is_empty() && !wanted.emergency && !wanted.confirmed.contains("clients-moved") {
        let what = format!(
            "{} have certificates of {} that live and would be cut off: they ask for the next first (kluis request new), or \
             you confirm that they don't need them",
            super::super::names(&people),
            one.keyset
        );
        let verb = wanted.verb.as_str();
        let line = format!("rotate {verb} {} -c {} --confirm clients-moved", one.keyset, one.cluster);
        return Err(Failure::refused(what).help(Remedy::Kluis(line)));
    }
    Ok(())
}

/// Where no keyset stands where the step begins. Those that are past it are fine: the step was taken before. One that has not
/// come there yet would leave a script to go on with what was not done.
fn nothing_moves(repository: &Repository, wanted: &Wanted<'_>, report: Stepped) -> Result<Stepped, Failure> {
    let Some(from) = wanted.verb.from() else { return Ok(report) };
    for name in wanted.clusters.iter() {
        for keyset in chosen(repository, name, wanted.keysets)? {
            let position = Position::of(repository, name, keyset)?;
            let phase = position.phase();
            if phase != Phase::Steady && phase < from {
                return Err(misplaced(name, keyset, phase, wanted.verb));
            }
        }
    }
    Ok(report)
}

/// The CA certificates (hash of the DER) of the generations that come into a state.
fn hashes(repository: &Repository, one: &Move, state: State) -> Result<BTreeSet<Digest>, Failure> {
    let cluster = repository.cluster(&one.cluster)?;
    let moved: Vec<Generation> =
        one.states.iter().filter(|(_, to)| *to == state).map(|(generation, _)| *generation).collect();
    let listed = cluster.generations(one.keyset).filter(|(generation, _)| moved.contains(generation));
    Ok(listed.map(|(_, sha256)| sha256).collect())
}

/// People of the latest epoch with a live certificate, replaced ones too, of one of these CAs.
pub(super) fn people_with(
    repository: &Repository,
    cluster: &ClusterName,
    issuers: &BTreeSet<Digest>,
    now: Time,
) -> Result<BTreeSet<PersonName>, Failure> {
    let listed = &repository.epoch()?.persons;
    let mut people = BTreeSet::new();
    for (place, said) in &repository.verified.current.history {
        let Place::PersonCert(at, person, _) = place else { continue };
        let lives = said.iter().any(|vouched| match &vouched.vouch {
            Vouch::Issued(entry) => issuers.contains(&entry.issuer) && entry.not_after > now,
            _ => false,
        });
        if at == cluster && lives && listed.contains_key(person) {
            people.insert(person.clone());
        }
    }
    Ok(people)
}

/// People whose certificates are of a generation that retires with this step.
fn people_of(repository: &Repository, one: &Move, now: Time) -> Result<BTreeSet<PersonName>, Failure> {
    if !one.keyset.is_ca() {
        return Ok(BTreeSet::new());
    }
    people_with(repository, &one.cluster, &hashes(repository, one, State::Retiring)?, now)
}

/// What is issued anew in one cluster.
struct ClusterWork {
    cluster: ClusterName,
    /// The authorities that issue from now on.
    authorities: BTreeMap<Keyset, Generation>,
    nodes: Vec<NodeWork>,
}

fn works(repository: &Repository, moves: &[Move]) -> Result<Vec<ClusterWork>, Failure> {
    let mut by_cluster: BTreeMap<&ClusterName, BTreeMap<Keyset, Generation>> = BTreeMap::new();
    for one in moves.iter().filter(|one| one.issues_anew()) {
        if let Some(generation) = one.issuer() {
            by_cluster.entry(&one.cluster).or_default().insert(one.keyset, generation);
        }
    }
    let mut works = Vec::new();
    for (cluster, authorities) in by_cluster {
        let config = config(repository, cluster)?;
        let of_node = |node: Node| of_node(repository, cluster, (node, config.distribution), &authorities);
        let nodes = config.nodes.clone().into_iter().map(of_node).collect::<Result<Vec<_>, _>>()?;
        let nodes = nodes.into_iter().filter(|work| !work.is_empty()).collect();
        works.push(ClusterWork { cluster: cluster.clone(), authorities, nodes });
    }
    Ok(works)
}

/// Every certificate of a node whose CA issues with another generation now. Keys are new, but for those that stay on
/// the node.
fn of_node(
    repository: &Repository,
    cluster: &ClusterName,
    (node, distribution): (Node, Distribution),
    authorities: &BTreeMap<Keyset, Generation>,
) -> Result<NodeWork, Failure> {
    let (verified, of) = (&repository.verified, repository.cluster(cluster)?);
    let has = |profile: Profile| {
        verified.current.leaves.contains_key(&Place::NodeCert(cluster.clone(), node.name.clone(), profile))
    };
    let mut fresh = Vec::new();
    let mut stays = false;
    for profile in node.profiles(distribution).filter(|profile| has(*profile)) {
        let keyset = keyset_of(of, profile);
        match authorities.get(&keyset) {
            Some(generation) => fresh.push((profile, format!("{keyset} {generation} issues"))),
            None => stays |= has_key(verified, cluster, &node.name, profile),
        }
    }
    let mut public = kept_by_node(verified, cluster, &node.name);
    public.retain(|profile, _| fresh.iter().any(|(one, _)| one == profile));
    let mut work = NodeWork { node, fresh, gone: Vec::new(), bundle: BundleWork::Keep, public };
    if work.new_keys() > 0 {
        work.bundle = if stays { BundleWork::Open } else { BundleWork::New };
    }
    Ok(work)
}

fn opens(works: &[ClusterWork]) -> Vec<String> {
    let mut names = Vec::new();
    for work in works {
        let authorities = work.authorities.iter().map(|(keyset, generation)| SealedName::Keyset(*keyset, *generation));
        let bundles = work.nodes.iter().filter(|node| node.bundle == BundleWork::Open);
        let bundles = bundles.map(|node| SealedName::Node(node.node.name.clone()));
        names.extend(authorities.chain(bundles).map(|name| format!("{}/{name}", work.cluster)));
    }
    names
}

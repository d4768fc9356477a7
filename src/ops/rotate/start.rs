//! `rotate start`: makes and seals the next generation of keysets. Nothing trusts them yet. CAs and service-account keys
//! take an epoch, which lists them; all clusters are in one epoch and one record.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use zeroize::Zeroizing;

use super::super::cert::config;
use super::super::cluster::new_authority;
use super::super::draft::{Draft, check_signed, clusters_in_words};
use super::super::exposure;
use super::super::failure::Failure;
use super::super::issuing::{self, Keys, Target};
use super::super::plan::{Plan, Written, new_record};
use super::super::secrets::Recipients;
use super::super::session::{Repository, Session};
use super::super::tokens;
use super::{Phase, Position, STANDBY, chosen, emergency};
use crate::model::{
    Algorithm, ClusterConfig, ClusterName, Digest, Generation, Keyset, PersonName, Place, Remedy, SealedName, State,
    Time,
};
use crate::pki::{self, Facts};
use crate::seal::{KeyBody, SealedKey};
use crate::secret::Secret;
use crate::trust::parallel;
use crate::trust::record::{self, Sealed};

/// What is to be rotated.
pub struct Start<'a> {
    /// In these clusters.
    pub clusters: &'a [ClusterName],
    /// These keysets; all if empty.
    pub keysets: &'a [Keyset],
    /// What this person could open, and nothing else.
    pub because_of: Option<&'a PersonName>,
    /// Kept for an emergency: trusted from now on, and promoted only then.
    pub standby: bool,
    /// Somebody forges: what can't be used for that is left for later.
    pub emergency: bool,
}

/// One new generation.
#[derive(Debug, Clone, Serialize)]
pub struct Made {
    /// The cluster.
    pub cluster: ClusterName,
    /// The keyset.
    pub keyset: Keyset,
    /// The generation.
    pub generation: Generation,
    /// SHA-256 of the CA certificate (DER) or service-account key (SPKI DER); none of an encryption key, nor on a dry run.
    pub sha256: Option<Digest>,
    /// The last second of a CA certificate.
    pub not_after: Option<Time>,
}

/// What was made; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Started {
    /// The new generations.
    pub made: Vec<Made>,
    /// Keysets that were left alone, and why.
    pub left: Vec<String>,
    /// Whether it is for an emergency that is there.
    pub emergency: bool,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Makes the next generation of what `wanted` names.
pub fn start(session: &mut Session, repository: &mut Repository, wanted: &Start<'_>) -> Result<Started, Failure> {
    let (mut made, left) = plan(session, repository, wanted)?;
    let mut actor = session.actor(&repository.verified)?;
    check_signed(&repository.verified, &actor.name)?;
    let clusters: BTreeSet<ClusterName> = made.iter().map(|one| one.cluster.clone()).collect();
    for name in &clusters {
        issuing::check_issuer(name, repository.cluster(name)?, &actor.name)?;
        issuing::check_config(config(repository, name)?)?;
        // Whoever can't be sealed to is found before anybody is asked, or waits for keys.
        Recipients::of(&repository.verified, repository.epoch()?, repository.cluster(name)?, session)?;
    }
    let mut report = Started { made: Vec::new(), left, emergency: wanted.emergency, written: Written::default() };
    report.written.dry_run = session.settings.dry_run;
    if made.is_empty() {
        return Ok(report);
    }
    let command = match (wanted.standby, wanted.emergency) {
        (true, _) => "rotate start --standby",
        (_, true) => "rotate start --emergency",
        _ => "rotate start",
    };
    let mut record = new_record(&repository.verified, &actor.name, session.now, command)?;
    record.accepted = issuing::accepted(session, &repository.verified)?;
    record.reason = wanted.because_of.map(|person| format!("because of {person}")).unwrap_or_default();
    let names = clusters_in_words(clusters.iter());
    let mut question = String::new();
    if wanted.emergency {
        question.push_str(
            "This begins an emergency. Before it: a snapshot of etcd, and nothing that approves signing requests. When nodes get \
             their files:\n",
        );
        let keysets: BTreeSet<Keyset> = made.iter().map(|one| one.keyset).collect();
        emergency::breaks(&keysets).iter().for_each(|what| question.push_str(&format!("- {what}.\n")));
    }
    session.confirm(&format!("{question}Make {} new generations for {names}? Nothing trusts them yet.", made.len()))?;
    if session.settings.dry_run {
        report.made = made;
        return Ok(report);
    }
    let reason = format!("new generations for {names}");
    let missing = || Failure::refused("there is no valid epoch").help(Remedy::Verify);
    let mut draft = Draft::start(&repository.verified, session.now, &reason).ok_or_else(missing)?;
    let mut plan = Plan::default();
    repository.work()?.check_writable(&plan.edited)?;
    let bodies = make(session, repository, &mut made, (&mut draft, &mut plan))?;
    record.phase.extend(made.iter().map(|one| staged(one, wanted.standby)));
    for (entry, bytes) in seal(session, repository, &made, bodies)? {
        plan.write(&entry.place(), bytes);
        record.sealed.push(entry);
    }
    plan.record(record);
    if made.iter().any(|one| !one.keyset.is_symmetric()) {
        plan.draft(draft);
    }
    let title = format!("Start the rotation of {} keysets of {names}", made.len());
    report.written = plan.carry_out(session, repository, &mut actor, &title, "")?;
    report.made = made;
    Ok(report)
}

/// What is made, and what is left alone because its rotation is under way.
fn plan(
    session: &mut Session,
    repository: &Repository,
    wanted: &Start<'_>,
) -> Result<(Vec<Made>, Vec<String>), Failure> {
    let exposed = match wanted.because_of {
        Some(person) => Some(exposed(session, repository, person)?),
        None => None,
    };
    let (mut made, mut left) = (Vec::new(), Vec::new());
    for name in wanted.clusters {
        if repository.cluster(name)?.retired {
            left.push(format!("{name}: it is retired"));
            continue;
        }
        if wanted.emergency {
            emergency::check(repository, name)?;
        }
        for keyset in chosen(repository, name, wanted.keysets)? {
            let position = Position::of(repository, name, keyset)?;
            let could_open = |generation: Generation| match &exposed {
                Some(exposed) => exposed.contains(&(name.clone(), keyset, generation)),
                None => true,
            };
            if !could_open(position.issuing) {
                continue;
            }
            if let Some(why) = waits(&position, (name, keyset), wanted, could_open) {
                left.push(format!("{name}/{keyset}: {why}"));
                continue;
            }
            if let Some(why) = config(repository, name)?.distribution.fixed(keyset) {
                if wanted.keysets.contains(&keyset) {
                    let what = format!("{name}/{keyset} can't be rotated: {why}");
                    return Err(Failure::refused(what).help(Remedy::Kluis(format!("rotate status -c {name}"))));
                }
                left.push(format!("{name}/{keyset}: {why}"));
                continue;
            }
            if wanted.emergency && !emergency::forges(keyset) {
                left.push(format!("{name}/{keyset}: nothing can be forged with it; rotate it afterwards"));
                continue;
            }
            let listed = repository.cluster(name)?.generations(keyset).map(|(generation, _)| generation);
            let last = listed.chain([position.newest]).map(Generation::number).max().unwrap_or(0);
            let many = || Failure::refused(format!("{name}/{keyset} has had 9999 generations, and there is no next"));
            let generation = Generation::new(last + 1).ok_or_else(many)?;
            made.push(Made { cluster: name.clone(), keyset, generation, sha256: None, not_after: None });
        }
    }
    Ok((made, left))
}

/// Why no generation is made where another one is under way. One that the leaver could open too is passed over: it is
/// distrusted along with the one that issues.
fn waits(
    position: &Position,
    (cluster, keyset): (&ClusterName, Keyset),
    wanted: &Start<'_>,
    could_open: impl Fn(Generation) -> bool,
) -> Option<String> {
    let phase = position.phase();
    let next = position.next();
    let known = wanted.because_of.is_some() && next.is_some_and(could_open);
    match next {
        _ if matches!(phase, Phase::Steady | Phase::Distrusted) || known => None,
        Some(next) if position.standby => {
            let step = if phase == Phase::Staged { "trust" } else { "promote" };
            Some(format!("{next} is kept for an emergency: kluis rotate {step} {keyset} -c {cluster}"))
        }
        _ if phase == Phase::Promoted => {
            let step = format!("kluis rotate distrust {keyset} -c {cluster}");
            Some(format!("its rotation is under way ({}): {step}, then start again", phase.as_str()))
        }
        Some(next) => Some(format!(
            "its rotation is under way ({}); if {next} is the one that is known to somebody, first kluis rotate undo {keyset} \
             -c {cluster}",
            phase.as_str()
        )),
        None => Some(format!("its rotation is under way ({})", phase.as_str())),
    }
}

/// The generations that `person` can open still. Refuses while they would be sealed to again.
fn exposed(
    session: &mut Session,
    repository: &Repository,
    person: &PersonName,
) -> Result<Vec<(ClusterName, Keyset, Generation)>, Failure> {
    if !repository.verified.chain.all().iter().any(|epoch| epoch.epoch.persons.contains_key(person)) {
        return Err(Failure::usage(format!("no epoch ever listed a person {person}")).help(Remedy::PersonList));
    }
    let holds = repository.epoch()?.clusters.iter().find(|(_, cluster)| cluster.keyholders.contains(person));
    if let Some((name, _)) = holds {
        let what = format!("{person} is a keyholder of {name} still, and new keys would be sealed to them as well");
        return Err(Failure::refused(what).help(Remedy::Kluis(format!("person remove {person} --reason left"))));
    }
    let (found, _) = exposure::of(session, repository, person)?;
    let live = found.live().filter_map(|secret| match Place::parse(&secret.path) {
        Ok(Place::Sealed(cluster, SealedName::Keyset(keyset, generation))) => Some((cluster, keyset, generation)),
        _ => None,
    });
    Ok(live.collect())
}

fn algorithm(config: &ClusterConfig, keyset: Keyset) -> Algorithm {
    config.distribution.algorithm(keyset, config.algorithm)
}

/// Makes every generation: its public half planned and listed in the draft. Returns what is to be sealed, in the same order.
fn make(
    session: &mut Session,
    repository: &Repository,
    made: &mut [Made],
    (draft, plan): (&mut Draft, &mut Plan),
) -> Result<Vec<Vec<SealedKey>>, Failure> {
    let mut wanted = BTreeMap::new();
    for one in made.iter().filter(|one| !one.keyset.is_symmetric()) {
        *wanted.entry(algorithm(config(repository, &one.cluster)?, one.keyset)).or_default() += 1;
    }
    let mut keys = Keys::make(session, &wanted);
    let mut bodies = Vec::with_capacity(made.len());
    for one in made {
        let (name, keyset, generation) = (&one.cluster, one.keyset, one.generation);
        let config = config(repository, name)?;
        let alone = |body| vec![SealedKey::new(SealedName::Keyset(keyset, generation).header_name(), body)];
        if keyset == Keyset::Tokens {
            bodies.push(tokens::make(config.distribution, &mut session.rng));
            continue;
        }
        if keyset.is_symmetric() {
            let bytes = Zeroizing::new(session.rng.bytes::<32>());
            let (salt, bytes) = (session.rng.bytes(), Secret::new(bytes.to_vec()));
            bodies.push(alone(KeyBody::Symmetric { salt, bytes }));
            continue;
        }
        let key = keys.take(algorithm(config, keyset), 1).pop().ok_or_else(issuing::too_few_keys)?;
        let hash = if keyset.is_ca() {
            let der = new_authority((keyset, generation), &key, config, session)?;
            let facts = Facts::read(&der)?;
            plan.write(&Place::Ca(name.clone(), keyset, generation), pki::certificate_pem(&der));
            one.not_after = Some(facts.not_after);
            facts.sha256
        } else {
            plan.write(&Place::ServiceAccount(name.clone(), generation), pki::public_pem(&key.spki()));
            key.spki_id()
        };
        one.sha256 = Some(hash);
        if let Some(cluster) = draft.epoch.clusters.get_mut(name) {
            cluster.keysets.entry(keyset).or_default().insert(generation, hash);
        }
        bodies.push(alone(KeyBody::Pkcs8(key.to_pkcs8())));
    }
    Ok(bodies)
}

/// Seals what was made to the keyholders of its cluster, with every core.
fn seal(
    session: &mut Session,
    repository: &Repository,
    made: &[Made],
    bodies: Vec<Vec<SealedKey>>,
) -> Result<Vec<(Sealed, Vec<u8>)>, Failure> {
    let epoch = repository.epoch()?;
    let mut recipients = BTreeMap::new();
    for one in made {
        if !recipients.contains_key(&one.cluster) {
            let cluster = repository.cluster(&one.cluster)?;
            recipients.insert(&one.cluster, Recipients::of(&repository.verified, epoch, cluster, session)?);
        }
    }
    let mut jobs = Vec::with_capacity(made.len());
    for (one, keys) in made.iter().zip(bodies) {
        let (name, cluster, config) =
            (&one.cluster, repository.cluster(&one.cluster)?, config(repository, &one.cluster)?);
        let sealed = SealedName::Keyset(one.keyset, one.generation);
        jobs.push((Target { epoch, name, cluster, config, recipients: &recipients[name] }, sealed, keys));
    }
    let progress = &mut session.progress;
    let seal =
        |(target, sealed, keys): (Target<'_>, SealedName, Vec<SealedKey>)| target.seal(&sealed, &keys, (1, false));
    let files = parallel::each(jobs, seal, &mut |done| progress("sealing", done, made.len()));
    files.into_iter().collect()
}

fn staged(one: &Made, standby: bool) -> record::Phase {
    record::Phase {
        cluster: one.cluster.clone(),
        keyset: one.keyset,
        generation: one.generation,
        state: State::Staged,
        gates: if standby { vec![STANDBY.to_owned()] } else { Vec::new() },
    }
}

//! `request new`: asks for a certificate. The key is made here and sealed to its owner alone, or stays wherever the
//! CSR came from; what goes into the repository is the request and its owner's signature.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::csr::GivenCsr;
use super::super::failure::Failure;
use super::super::own_keys;
use super::super::plan::{Plan, Written};
use super::super::session::{Actor, Repository, Session};
use super::check_reason;
use crate::model::{
    ClusterConfig, ClusterName, Digest, HexId, PersonName, Profile, Remedy, Span, current_group, displayed,
};
use crate::pki::{self, PrivateKey};
use crate::trust::Request;

/// What a person asks for.
pub struct Ask<'a> {
    /// The groups; the only one that they may have if empty.
    pub groups: &'a [String],
    /// `client` or `break-glass`.
    pub profile: Profile,
    /// The life; as cluster.toml says if left out.
    pub lifetime: Option<Span>,
    /// Why; break-glass needs one.
    pub reason: &'a str,
    /// How long issuers may take.
    pub wait: Span,
    /// A CSR made elsewhere; the key is made here if there is none.
    pub csr: Option<&'a Path>,
}

/// What was asked; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Asked {
    /// The hash of the request; none on a dry run.
    pub request: Option<Digest>,
    /// The cluster.
    pub cluster: ClusterName,
    /// Who asks.
    pub person: PersonName,
    /// `client` or `break-glass`.
    pub profile: Profile,
    /// The groups asked for.
    pub groups: BTreeSet<String>,
    /// The life asked for.
    pub lifetime: Span,
    /// Until when it can be granted.
    pub expires: crate::model::Time,
    /// Why.
    pub reason: String,
    /// Where the new key lies, sealed to its owner; none where a CSR was given.
    pub key: Option<PathBuf>,
    /// How many issuers it takes.
    pub needed: u32,
    /// Who may approve it.
    pub issuers: BTreeSet<PersonName>,
    /// What was written.
    #[serde(flatten)]
    pub written: Written,
}

/// Asks for a certificate of `cluster` in the actor's own name.
pub fn ask(
    session: &mut Session,
    repository: &mut Repository,
    cluster: &ClusterName,
    wanted: &Ask<'_>,
) -> Result<Asked, Failure> {
    if wanted.profile == Profile::BreakGlass || !wanted.reason.is_empty() {
        check_reason(wanted.reason)?;
    }
    let mut actor = session.actor(&repository.verified)?;
    let of = repository.cluster(cluster)?;
    if of.retired {
        return Err(Failure::refused(format!("cluster {cluster} is retired: nothing is issued for it any more")));
    }
    let config = super::super::cert::config(repository, cluster)?.clone();
    let groups = groups(repository, cluster, &actor.name, (wanted.profile, wanted.groups))?;
    let lifetime = lifetime(repository, &config, wanted.profile, wanted.lifetime)?;
    let epoch = repository.epoch()?;
    let needed = if wanted.profile == Profile::BreakGlass { epoch.threshold.break_glass } else { 1 };
    let mut asked = Asked {
        request: None,
        cluster: cluster.clone(),
        person: actor.name.clone(),
        profile: wanted.profile,
        groups: groups.clone(),
        lifetime,
        expires: session.now.plus(wanted.wait),
        reason: wanted.reason.to_owned(),
        key: None,
        needed,
        issuers: of.issuers.clone(),
        written: Written { dry_run: session.settings.dry_run, ..Written::default() },
    };
    let given = wanted.csr.map(|path| read_csr(repository, &actor.name, path)).transpose()?;
    if session.settings.dry_run {
        return Ok(asked);
    }
    let (csr, own_key) = match given {
        Some(csr) => (csr, None),
        None => {
            let key = PrivateKey::generate(config.algorithm, &mut session.rng);
            let csr = pki::build_csr(&key, actor.name.as_str());
            let place = (epoch, of);
            let sealed = own_keys::seal(session, &repository.verified, place, &actor.name, (wanted.profile, &key))?;
            (csr, Some(sealed))
        }
    };
    let request = Request {
        repo: epoch.repo,
        cluster: of.id,
        person: actor.name.clone(),
        profile: wanted.profile,
        groups,
        lifetime,
        created: session.now,
        expires: asked.expires,
        nonce: HexId(session.rng.bytes()),
        reason: wanted.reason.to_owned(),
        csr,
    };
    asked.request = Some(Digest::of(request.write().as_bytes()));
    asked.key = own_key.as_ref().map(|key| key.path.clone());
    asked.written = write(session, repository, &mut actor, (cluster, request), own_key)?;
    Ok(asked)
}

fn write(
    session: &mut Session,
    repository: &mut Repository,
    actor: &mut Actor,
    (cluster, request): (&ClusterName, Request),
    own_key: Option<own_keys::OwnKey>,
) -> Result<Written, Failure> {
    let title = format!("Request {} of {} for {cluster}", request.profile, request.person);
    let why = request.reason.clone();
    let mut plan = Plan::default();
    plan.request(cluster.clone(), request);
    match own_key {
        Some(own_key) => own_key.keep(|| plan.carry_out(session, repository, actor, &title, &why)),
        None => plan.carry_out(session, repository, actor, &title, &why),
    }
}

/// The groups to ask for: each in its newest generation where it is given without one.
pub(in crate::ops) fn groups(
    repository: &Repository,
    cluster: &ClusterName,
    person: &PersonName,
    (profile, wanted): (Profile, &[String]),
) -> Result<BTreeSet<String>, Failure> {
    let Some(bound) = repository.cluster(cluster)?.groups.get(person) else {
        let help = Remedy::Kluis(format!("person update {person} --group {cluster}=GROUP"));
        let what = format!("the epoch gives {person} no groups on {cluster}, so they may ask for nothing there");
        return Err(Failure::refused(what).help(help));
    };
    let list = bound.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    if profile == Profile::BreakGlass {
        if !wanted.is_empty() {
            let what = "a break-glass certificate is system:masters and nothing else: leave --group out";
            return Err(Failure::usage(what));
        }
        return Ok(BTreeSet::from(["system:masters".to_owned()]));
    }
    if let (true, Some(only)) = (wanted.is_empty(), bound.iter().next().filter(|_| bound.len() == 1)) {
        return Ok(BTreeSet::from([only.clone()]));
    }
    if wanted.is_empty() {
        return Err(Failure::usage(format!("say which groups with --group; {person} may ask for: {list}")));
    }
    let mut groups = BTreeSet::new();
    for group in wanted {
        let beyond = || {
            let shown = displayed(group);
            if group.starts_with("system:") {
                let what = format!("{shown} is Kubernetes' own: people never have it, but by break-glass");
                let help = format!("request new -c {cluster} --break-glass --reason TEXT");
                return Failure::refused(what).help(Remedy::Kluis(help));
            }
            let help = match crate::model::check_group(group) {
                true => format!("person update {person} --group {cluster}={group}"),
                false => format!("person show {person}"),
            };
            let what = format!("{person} may not have the group {shown} on {cluster}; they may ask for: {list}");
            Failure::refused(what).help(Remedy::Kluis(help))
        };
        groups.insert(current_group(bound, group).ok_or_else(beyond)?);
    }
    Ok(groups)
}

/// The life of a person's certificate: what was asked for, else what cluster.toml says, within the epoch's policy.
pub(in crate::ops) fn lifetime(
    repository: &Repository,
    config: &ClusterConfig,
    profile: Profile,
    wanted: Option<Span>,
) -> Result<Span, Failure> {
    let policy = &repository.epoch()?.policy;
    let (usual, bound) = match profile {
        Profile::BreakGlass => (config.lifetime.break_glass, policy.max_break_glass),
        _ => (config.lifetime.client, policy.max_client),
    };
    match wanted {
        Some(wanted) if wanted > bound => {
            let what = format!("a {profile} certificate lives at most {bound} here, and {wanted} was asked for");
            Err(Failure::refused(what).help(Remedy::Kluis("trust show".to_owned())))
        }
        Some(wanted) => Ok(wanted),
        None => Ok(usual.shorter(bound)),
    }
}

/// Reads a CSR and refuses here what every reviewer's `verify` would refuse later: the person's name alone, a strong
/// key that was never seen, and proof of possession.
fn read_csr(repository: &Repository, person: &PersonName, path: &Path) -> Result<Vec<u8>, Failure> {
    let csr = GivenCsr::read(path, &format!("/CN={person}"))?;
    let facts = &csr.facts;
    if facts.common_name_only.as_deref() != Some(person.as_str()) {
        let subject = displayed(&facts.subject);
        return Err(csr.refused(format!("its subject is {subject}, and has to be CN={person} alone")));
    }
    if facts.has_extensions_or_attributes {
        return Err(csr.refused("it asks for extensions or has attributes, and none would be granted"));
    }
    let verified = &repository.verified;
    let asked = verified.requests.all().any(|filed| filed.key == Some(facts.spki_id));
    let issued = verified.log.records.iter().flat_map(|logged| &logged.record.issued);
    if asked || issued.into_iter().any(|entry| entry.spki == facts.spki_id) {
        return Err(csr.refused("its key was used for a request or a certificate before, and each takes a new one"));
    }
    Ok(csr.der)
}

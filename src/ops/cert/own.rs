//! `cert issue client` and `cert issue break-glass`: an issuer's own certificate. Everybody else's takes their request,
//! and break-glass does where one issuer is not enough.

use super::super::access::Access;
use super::super::cluster::own_certificate;
use super::super::failure::Failure;
use super::super::issuing;
use super::super::plan::{Plan, new_record};
use super::super::requests;
use super::super::session::{Actor, Repository, Session};
use super::{IssueReport, config};
use crate::model::{ClusterName, Place, Profile, Remedy, SealedName, Span};

/// What an issuer wants for themself.
pub struct Own<'a> {
    /// `client` or `break-glass`.
    pub profile: Profile,
    /// The groups of `client`; the only one that they may have if empty.
    pub groups: &'a [String],
    /// Why; break-glass needs it.
    pub reason: &'a str,
    /// The life; as cluster.toml says if left out.
    pub lifetime: Option<Span>,
}

/// Issues the actor's own certificate, with a new key that is sealed to them alone.
pub fn issue(
    session: &mut Session,
    repository: &mut Repository,
    cluster: &ClusterName,
    wanted: &Own<'_>,
) -> Result<IssueReport, Failure> {
    let profile = wanted.profile;
    if profile == Profile::BreakGlass && wanted.reason.trim().is_empty() {
        return Err(Failure::usage("a break-glass certificate needs a reason: --reason TEXT"));
    }
    if !wanted.reason.is_empty() {
        requests::check_reason(wanted.reason)?;
    }
    let config = config(repository, cluster)?.clone();
    let life = requests::lifetime(repository, &config, profile, wanted.lifetime)?;
    let mut actor = session.actor(&repository.verified)?;
    check(repository, cluster, &actor, profile)?;
    let groups = requests::groups(repository, cluster, &actor.name, (profile, wanted.groups))?;
    let groups: Vec<String> = groups.into_iter().collect();
    let keyset = crate::trust::keyset_of(repository.cluster(cluster)?, profile);
    let generation = issuing::issuing(&repository.verified, cluster, keyset)?;
    let place = Place::PersonCert(cluster.clone(), actor.name.clone(), profile);
    let opened = vec![SealedName::Keyset(keyset, generation).to_string()];
    let mut report = IssueReport::new(cluster, std::iter::once(place), opened, session);
    report.reason = wanted.reason.to_owned();
    report.break_glass = profile == Profile::BreakGlass;
    let command = format!("cert issue {profile}");
    let mut record = new_record(&repository.verified, &actor.name, session.now, &command)?;
    record.accepted = issuing::accepted(session, &repository.verified)?;
    record.reason = wanted.reason.to_owned();
    if session.settings.dry_run {
        return Ok(report);
    }
    let mut plan = Plan::default();
    repository.work()?.check_writable(&plan.edited)?;
    let authorities = issuing::open_authorities(repository, &mut actor, cluster, &[keyset].into())?;
    let own_key = {
        let (epoch, of) = (repository.epoch()?, repository.cluster(cluster)?);
        let own = (&actor.name, profile, groups.as_slice(), life);
        let place = (epoch, cluster, of, &config);
        let (issued, pem, own_key) = own_certificate(session, repository, place, &authorities, own)?;
        plan.write(&issued.place, pem);
        record.issued.push(issued);
        own_key
    };
    report.fill(&record.issued);
    report.key = Some(own_key.path.display().to_string());
    plan.record(record);
    let title = format!("Issue {profile} for {} in {cluster}", actor.name);
    report.written = own_key.keep(|| plan.carry_out(session, repository, &mut actor, &title, wanted.reason))?;
    Ok(report)
}

fn check(repository: &Repository, cluster: &ClusterName, actor: &Actor, profile: Profile) -> Result<(), Failure> {
    let of = repository.cluster(cluster)?;
    if !of.retired && !of.issuers.contains(&actor.name) && of.groups.contains_key(&actor.name) {
        let what = format!("{} is no issuer of cluster {cluster}, and asks for a certificate", actor.name);
        let access = Access { cluster, person: &actor.name, profile };
        return Err(Failure::refused(what).help(access.ask()));
    }
    issuing::check_issuer(cluster, of, &actor.name)?;
    let needed = repository.epoch()?.threshold.break_glass;
    if profile == Profile::BreakGlass && needed > 1 {
        let what = format!(
            "a break-glass certificate takes {needed} issuers here, so nobody issues one alone: it takes a request \
             that {needed} issuers approve"
        );
        let help = format!("request new -c {cluster} --break-glass --reason TEXT");
        return Err(Failure::refused(what).help(Remedy::Kluis(help)));
    }
    Ok(())
}

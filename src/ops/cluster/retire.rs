//! `cluster retire`: a cluster is no more, or is in use again. Drafts the epoch that says so; no file goes, so that what was
//! issued and sealed stays on record.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::draft::clusters_in_words;
use super::super::failure::Failure;
use super::super::names;
use super::super::requests::check_reason;
use super::super::session::{Gate, Repository, Session};
use super::super::trust::{Drafted, carry_out, start};
use crate::model::{ClusterName, Code, PersonName, Remedy, Time};
use crate::trust::current::{Vouch, owner};
use crate::trust::{self, Verified};

/// What a cluster leaves behind: Kubernetes goes on believing in it for as long as anything of it runs.
#[derive(Debug, Serialize)]
pub struct Remains {
    /// The cluster.
    pub cluster: ClusterName,
    /// Debts that are owed no more.
    pub debts: usize,
    /// People with a certificate that lives, replaced ones too.
    pub people: BTreeSet<PersonName>,
    /// The last second of a certificate, CAs and replaced ones left aside.
    pub until: Option<Time>,
}

/// What was drafted; `data` of the report.
#[derive(Debug, Serialize)]
pub struct Retired {
    /// Whether clusters are back in use.
    pub revived: bool,
    /// What each leaves behind; empty where they are back.
    pub remains: Vec<Remains>,
    /// The draft.
    #[serde(flatten)]
    pub drafted: Drafted,
}

/// Drafts the next epoch, in which clusters are retired, or with `revive` in use again. Asks before. `given` are the clusters to
/// work on, from the repository as it was opened. Refuses those that are so already.
pub fn retire(
    session: &mut Session,
    given: impl FnOnce(&Repository) -> Result<Vec<ClusterName>, Failure>,
    revive: bool,
    reason: Option<&str>,
) -> Result<Retired, Failure> {
    reason.map_or(Ok(()), check_reason)?;
    let mut repository = session.open(&Gate::Draft)?;
    let mut clusters = given(&repository)?;
    clusters.sort();
    clusters.dedup();
    let list = clusters_in_words(&clusters);
    let what = if revive { format!("take {list} back into use") } else { format!("retire {list}") };
    let mut draft = start(session, &repository, reason.unwrap_or(&what))?;
    for name in &clusters {
        repository.cluster(name)?;
        let Some(cluster) = draft.epoch.clusters.get_mut(name) else {
            return Err(Failure::usage(format!("the draft drops cluster {name}")).help(Remedy::ClusterList));
        };
        if cluster.retired != revive {
            let is = if revive { "in use" } else { "retired" };
            let what = format!("cluster {name} is {is} already, by epoch {} or its draft", draft.epoch.number);
            return Err(Failure::usage(what).help(Remedy::Kluis(format!("cluster show {name}"))));
        }
        if revive && cluster.keyholders.is_empty() {
            let what = format!("cluster {name} has no keyholder: nobody could open what is made for it");
            return Err(Failure::refused(what).help(Remedy::Kluis("person list".to_owned())));
        }
        cluster.retired = !revive;
    }
    let mut remains = Vec::new();
    if !revive {
        // Beside a draft nothing is judged: whoever drafts something small before would hide what is owed.
        let verified = &repository.verified;
        let judged = verified.chain.draft().map(|_| trust::without_draft(&verified.tree, &verified.chain, session.now));
        let verified = judged.as_ref().unwrap_or(verified);
        remains.extend(clusters.iter().map(|name| left(verified, name, session.now)));
    }
    session.confirm(&question(&what, &remains))?;
    let drafted = carry_out(session, &mut repository, draft, (&what, false))?;
    Ok(Retired { revived: revive, remains, drafted })
}

/// Debts that nobody will be reminded of are said before: to retire a cluster that still runs is a way to hide them.
fn question(what: &str, remains: &[Remains]) -> String {
    let mut question = String::new();
    for one in remains {
        if one.debts > 0 {
            question.push_str(&format!("{}: {} debts will be owed no more, paid or not.\n", one.cluster, one.debts));
        }
        if !one.people.is_empty() {
            question.push_str(&format!("{}: {} have certificates that live.\n", one.cluster, names(&one.people)));
        }
    }
    if !remains.is_empty() {
        question.push_str("Nothing is issued there from then on, and nothing is owed.\n");
    }
    let mut what = what.to_owned();
    what.get_mut(..1).into_iter().for_each(str::make_ascii_uppercase);
    question + &what + "?"
}

fn left(verified: &Verified, name: &ClusterName, now: Time) -> Remains {
    let owed = |code: Code| {
        matches!(code, Code::ExposureOpen | Code::MissingRecipient | Code::ExtraRecipient | Code::ExcessCert)
    };
    let debts =
        verified.findings.iter().filter(|found| owed(found.code) && found.cluster.as_ref() == Some(name)).count();
    let mut remains = Remains { cluster: name.clone(), debts, people: BTreeSet::new(), until: None };
    for (place, said) in verified.current.history.iter().filter(|(place, _)| place.cluster() == Some(name)) {
        for vouched in said {
            let Vouch::Issued(entry) = &vouched.vouch else { continue };
            if entry.not_after <= now {
                continue;
            }
            remains.until = remains.until.max(Some(entry.not_after));
            remains.people.extend(owner(place).cloned());
        }
    }
    remains
}

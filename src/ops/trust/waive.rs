//! `trust waive`: drafts an epoch in which the quorum lives with an exposure or a finding of lint until a time. Waivers that
//! have ended are taken out along the way.

use super::super::failure::Failure;
use super::super::session::{Gate, Session};
use super::{Drafted, carry_out, start};
use crate::lint;
use crate::model::{ClusterName, PersonName, Remedy, Time, check_text};
use crate::trust::{Epoch, Waived};

/// Drafts the waiver of `what` in a cluster of the epoch until `until`, for `reason`. `given` is the cluster, from the
/// latest epoch.
pub fn waive(
    session: &mut Session,
    given: impl FnOnce(&Epoch) -> Result<ClusterName, Failure>,
    what: &str,
    until: Time,
    reason: &str,
) -> Result<Drafted, Failure> {
    let mut repository = session.open(&Gate::Draft)?;
    let cluster = given(repository.epoch()?)?;
    check(what, until, reason, session.now)?;
    let title = format!("waive {what} in {cluster}");
    let mut draft = start(session, &repository, &title)?;
    let now = session.now;
    draft.epoch.waived.retain(|one| one.until > now && !(one.cluster == cluster && one.what == what));
    draft.epoch.waived.push(Waived { cluster, what: what.to_owned(), until, reason: reason.to_owned() });
    carry_out(session, &mut repository, draft, (&title, false))
}

/// A waiver of nothing would look like one that works: what it names has to be an exposure or a rule.
fn check(what: &str, until: Time, reason: &str, now: Time) -> Result<(), Failure> {
    let usage = |text: String| Err(Failure::usage(text).help(Remedy::Kluis("trust waive --help".to_owned())));
    let is_known = match what.split_once(':') {
        Some(("exposure", person)) => PersonName::parse(person).is_ok(),
        Some(("lint", rest)) => {
            rest.split_once(':').is_some_and(|(id, path)| lint::rule(id).is_some() && !path.is_empty())
        }
        _ => false,
    };
    if !is_known || !check_text(what) {
        return usage(format!("{what:?} is neither exposure:PERSON nor lint:RULE:PATH"));
    }
    if until <= now {
        return usage(format!("{until} has passed: a waiver ends later than now"));
    }
    if reason.trim().is_empty() || !check_text(reason) {
        return usage("a waiver needs a reason in one line".to_owned());
    }
    Ok(())
}

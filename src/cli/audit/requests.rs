//! How the join with an API server's audit log reads.

use std::io::{self, Write};

use serde_json::json;

use super::log::row;
use super::{Report, Value};
use crate::model::displayed;
use crate::ops::audit::join::{ApiRequest, CREDENTIALS, FIRST, KEPT, KEPT_OF_ONE, NAMED_LINES, Use};
use crate::ops::audit::k8s::K8sAudit;

/// Nodes that are named; a cluster has many, and each is as good as the other.
const NODES: usize = 10;

pub struct Page(pub K8sAudit);

impl Report for Page {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let audit = &self.0;
        let (events_in_all, ended) = (count(audit.events, "event"), count(audit.requests, "request"));
        writeln!(out, "{events_in_all}, {ended} that ended, in {}", audit.files.join(", "))?;
        let (mut nodes, mut rest, mut events) = (0, 0, 0);
        for owner in &audit.recorded {
            if owner.kind == "node" {
                nodes += 1;
                if nodes > NODES {
                    (rest, events) = (rest + 1, events + owner.events);
                    continue;
                }
            }
            let (events, certificates) = (count(owner.events, "event"), count(owner.certificates, "certificate"));
            row(out, owner.kind, &format!("{} of {}: {events}, {certificates}", owner.owner, owner.cluster))?;
        }
        if rest > 0 {
            row(out, "nodes", &format!("{rest} more: {}", count(events, "event")))?;
        }
        if audit.token_events > 0 {
            let events = count(audit.token_events, "event");
            row(out, "tokens", &format!("{events}: service accounts and the like, no certificates"))?;
        }
        if audit.events_without_credential > 0 {
            let text = "without a credential: requests that were not authenticated, ways of authenticating that have \
                        none, or an API server before 1.32, of which nothing can be said";
            row(out, "none", &format!("{} {text}", count(audit.events_without_credential, "event")))?;
        }
        for unknown in &audit.unknown {
            writeln!(out, "\nUNKNOWN  {}", unknown.used.credential_id)?;
            row(out, "why", &unknown.why)?;
            used(out, &unknown.used)?;
        }
        for one in &audit.denied {
            writeln!(out, "\nDENIED   {}", one.used.credential_id)?;
            row(out, "whose", &format!("{}/{} of {}", one.denied.owner, one.denied.profile, one.denied.cluster))?;
            for reason in &one.denied.reasons {
                row(out, "why", &reason.why)?;
            }
            used(out, &one.used)?;
        }
        if !(audit.unknown.is_empty() && audit.denied.is_empty()) {
            writeln!(out)?;
        }
        Ok(())
    }

    fn verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        let audit = &self.0;
        if audit.unknown.is_empty() && audit.denied.is_empty() && audit.unreadable_lines == 0 {
            writeln!(out, "every certificate that was used is recorded")?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        let mut data = json!(self.0);
        data["limits"] = json!({
            "requests_of_one_credential": KEPT_OF_ONE,
            "requests": KEPT,
            "credentials": CREDENTIALS,
            "unreadable": NAMED_LINES,
        });
        data
    }
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn used(out: &mut dyn Write, used: &Use) -> io::Result<()> {
    let list = |set: &std::collections::BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    row(out, "user", &list(&used.users))?;
    if !used.groups.is_empty() {
        row(out, "groups", &list(&used.groups))?;
    }
    row(out, "from", &list(&used.addresses))?;
    if let (Some(first), Some(last)) = (used.first, used.last) {
        row(out, "when", &format!("{first} to {last}"))?;
    }
    row(out, "requests", &format!("{}, in {}", used.requests, count(used.events, "event")))?;
    for request in used.listed.iter().take(FIRST) {
        writeln!(out, "      {}", displayed(&line(request)))?;
    }
    let more = used.requests - used.listed.len().min(FIRST) as u64;
    if more > 0 {
        writeln!(out, "      and {more} more; -o json names up to {KEPT_OF_ONE}")?;
    }
    Ok(())
}

/// `2026-11-24T12:00:00Z get secrets kube-system/token 200 4711-…`.
fn line(request: &ApiRequest) -> String {
    // To the second: microseconds are in the JSON.
    let time = request.time.get(..19).map_or(request.time.clone(), |seconds| format!("{seconds}Z"));
    let object = match (request.namespace.as_str(), request.name.as_str()) {
        _ if request.resource.is_empty() => request.uri.clone(),
        ("", "") => request.resource.clone(),
        ("", name) => format!("{} {name}", request.resource),
        (namespace, "") => format!("{} {namespace}/", request.resource),
        (namespace, name) => format!("{} {namespace}/{name}", request.resource),
    };
    let as_whom = request.impersonated.as_ref().map(|who| format!(" as {who}")).unwrap_or_default();
    let code = request.code.map_or_else(|| request.stage.clone(), |code| code.to_string());
    let from = request.source_ips.last().map(|address| format!(" from {address}")).unwrap_or_default();
    format!("{time} {} {object}{as_whom} {code}{from}  {}", request.verb, request.audit_id)
}

//! `status`: how what there is reads. Finding it out belongs to `ops::status`.

use std::io::{self, Write};

use serde_json::Value;

use super::{Answer, Global, Report};
use crate::model::displayed;
use crate::ops::status::{ClusterStatus, Status, status};
use crate::ops::{Failure, Session};

/// Show clusters, rotations under way, requests waiting, what expires next and what is owed
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis status\n  kluis status -o json\n  kluis status --at 2027-01-01T00:00:00Z\n\n\
    Needs no key. Exit codes are those of `kluis verify`.")]
pub struct Args {}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "status".to_owned()
}

/// Runs the command.
pub fn run(_args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let (status, findings) = status(session, global.named_clusters())?;
    Ok(Answer::judged(StatusReport(status), findings))
}

struct StatusReport(Status);

impl Report for StatusReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let Status { epoch, draft, records, clusters, next, .. } = &self.0;
        for cluster in clusters {
            for one in &cluster.break_glass {
                let (person, name, end) = (&one.person, &cluster.name, one.not_after);
                writeln!(out, "BREAK-GLASS  {person} is system:masters on {name} until {end}")?;
            }
            for one in cluster.requests.iter().filter(|one| one.groups.contains("system:masters")) {
                let (person, name, needed) = (&one.person, &cluster.name, one.needed);
                let have = one.approved_by.len();
                writeln!(out, "BREAK-GLASS  {person} asks for it on {name}: {have} of {needed} issuers approve")?;
                writeln!(out, "             because {}", displayed(&one.reason))?;
                writeln!(out, "             kluis request approve -c {name} {}", one.request)?;
            }
        }
        match epoch {
            Some(epoch) => {
                let persons = if epoch.persons == 1 { "person" } else { "persons" };
                let of = format!("{} of {} {persons} sign the next", epoch.threshold, epoch.persons);
                // Beside a draft the log is not judged.
                let log = if draft.is_some() { String::new() } else { format!("; {records} in the log") };
                writeln!(out, "epoch {}  until {}, {of}{log}", epoch.number, epoch.expires)?;
            }
            None => writeln!(out, "no valid epoch")?,
        }
        if let Some(draft) = draft {
            let missing = crate::ops::names(&draft.missing);
            writeln!(out, "draft    epoch {} waits for a signature of {missing}: kluis trust sign", draft.number)?;
        }
        for cluster in clusters {
            write_cluster(out, cluster, draft.is_some())?;
        }
        if clusters.is_empty() && epoch.is_some() {
            writeln!(out, "no cluster yet: kluis cluster new NAME --help")?;
        }
        if !next.is_empty() {
            writeln!(out, "\nends next")?;
            for end in next {
                writeln!(out, "  {}  {}", end.at, displayed(&end.what))?;
            }
        }
        Ok(())
    }

    fn data(&self) -> Value {
        serde_json::json!(self.0)
    }
}

fn write_cluster(out: &mut dyn Write, cluster: &ClusterStatus, has_draft: bool) -> io::Result<()> {
    let ClusterStatus { name, api, issuing, rotations, requests, .. } = cluster;
    writeln!(out, "\ncluster {name}  {}", displayed(api))?;
    if cluster.retired {
        return writeln!(out, "  retired: nothing is issued any more");
    }
    match cluster.nodes {
        Some(nodes) => writeln!(out, "  nodes     {nodes}")?,
        None if has_draft => writeln!(out, "  not judged while the draft lacks signatures")?,
        None => writeln!(out, "  nothing can be said: see what is wrong below")?,
    }
    let issuing: Vec<String> = issuing.iter().map(|(keyset, generation)| format!("{keyset} {generation}")).collect();
    for (at, line) in issuing.chunks(4).enumerate() {
        writeln!(out, "  {:<9} {}", if at == 0 { "issuing" } else { "" }, line.join(", "))?;
    }
    for (keyset, states) in rotations {
        let states: Vec<String> = states.iter().map(|(generation, state)| format!("{generation} {state}")).collect();
        writeln!(out, "  rotation  {keyset}: {}", states.join(", "))?;
    }
    for one in requests {
        let groups = one.groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (request, person) = (&one.request, &one.person);
        writeln!(out, "  request   {request} {person} asks for {} ({groups}) until {}", one.profile, one.expires)?;
    }
    if cluster.to_reseal > 0 {
        writeln!(out, "  to reseal {} sealed files: kluis reseal -c {name}", cluster.to_reseal)?;
    }
    match &cluster.next {
        Some(end) => writeln!(out, "  ends next {}  {}", end.at, displayed(&end.what)),
        None => Ok(()),
    }
}

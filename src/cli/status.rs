//! `status`: how what there is reads. Finding it out belongs to `ops::status`.

use std::io::{self, Write};

use serde_json::Value;

use super::{Answer, Global, Report};
use crate::model::{Time, displayed};
use crate::ops::ends::{self, EndKind, Lane};
use crate::ops::status::{ClusterStatus, Status, status};
use crate::ops::{Failure, Session};

/// Of a fleet, this many clusters have a line in the timeline: those where something ends the soonest.
const LANES: usize = 12;

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
    let now = session.now;
    let (status, findings) = status(session, global.named_clusters())?;
    Ok(Answer::judged(StatusReport { status, now }, findings))
}

struct StatusReport {
    status: Status,
    now: Time,
}

impl Report for StatusReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let Status { epoch, draft, records, clusters, next, timeline, .. } = &self.status;
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
        write_timeline(out, timeline, self.now)
    }

    fn data(&self) -> Value {
        serde_json::json!(self.status)
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
    if !cluster.imported.is_empty() {
        let keysets = cluster.imported.iter().copied().collect::<Vec<_>>().join(", ");
        writeln!(out, "  imported  {keysets}: these keys were in plaintext before")?;
        writeln!(out, "            a first rotation is recommended: kluis rotate start -c {name}")?;
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

/// A line for trust and for each cluster, a column a month. Letters and dots alone: it reads the same in every terminal.
fn write_timeline(out: &mut dyn Write, lanes: &[Lane], now: Time) -> io::Result<()> {
    if lanes.is_empty() {
        return Ok(());
    }
    let months = ends::months(now);
    let name = |lane: &Lane| lane.cluster.as_ref().map_or("trust", |cluster| cluster.as_str()).to_owned();
    let shown = &lanes[..lanes.len().min(LANES)];
    let width = shown.iter().map(|lane| name(lane).len()).max().unwrap_or(0).max(12);
    let named: Vec<&str> = months.iter().map(|month| abbreviated(month)).collect();
    writeln!(out, "\n{:width$}  {}", "12 months", named.join(" "), width = width + 2)?;
    for lane in shown {
        let mut cells: Vec<String> = months.iter().map(|month| lane.months.get(month).map_or_else(dot, marks)).collect();
        if !lane.ended.is_empty() {
            let this_month = lane.months.get(&months[0]).into_iter().flatten();
            let counts = lane.ended.iter().chain(this_month).map(|(kind, count)| (*kind, *count)).collect();
            cells[0] = format!("!{}", marks(&counts));
        }
        let line: String = cells.iter().map(|cell| format!("{cell:<4}")).collect();
        writeln!(out, "  {:width$}  {}", name(lane), line.trim_end())?;
    }
    if let more @ 1.. = lanes.len().saturating_sub(LANES) {
        writeln!(out, "  and {more} more clusters; -o json names them all")?;
    }
    writeln!(out, "  E epoch, K OpenPGP key, A CA certificate, C certificates of nodes, ! ended")
}

fn dot() -> String {
    ".".to_owned()
}

fn marks(counts: &std::collections::BTreeMap<EndKind, usize>) -> String {
    let letter = |kind: &EndKind| match kind {
        EndKind::Epoch => 'E',
        EndKind::Key => 'K',
        EndKind::Authority => 'A',
        EndKind::Certificate => 'C',
    };
    counts.keys().map(letter).collect()
}

/// `Nov`, of `2026-11`.
fn abbreviated(month: &str) -> &'static str {
    const NAMES: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let number = month.get(5..).and_then(|number| number.parse::<usize>().ok()).unwrap_or(1);
    NAMES[(number + 11) % 12]
}

//! How `rotate status` reads: a fleet as lines, a cluster with what to do on which node, an emergency stage by stage.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::super::Report;
use crate::model::displayed;
use crate::ops::rotate::{ClusterRotation, KeysetRotation, NodeSteps, Rotations};

/// How many clusters are shown with what to do on each node; more are a table.
const AT_LENGTH: usize = 3;

impl Report for Rotations {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.clusters.is_empty() {
            return writeln!(out, "no cluster yet");
        }
        let under_way = |cluster: &ClusterRotation| {
            // One that waits for an emergency is shown where somebody looks at its cluster alone.
            let shown = self.clusters.len() == 1 && cluster.keysets.iter().any(|one| one.standby.is_some());
            shown || !cluster.emergency.is_empty() || cluster.keysets.iter().any(KeysetRotation::is_under_way)
        };
        let (retired, here): (Vec<_>, Vec<_>) = self.clusters.iter().partition(|cluster| cluster.retired);
        let (busy, steady): (Vec<_>, Vec<_>) = here.into_iter().partition(|cluster| under_way(cluster));
        for cluster in &busy {
            match busy.len() <= AT_LENGTH {
                true => write_cluster(out, cluster)?,
                false => write_line(out, cluster)?,
            }
        }
        if !steady.is_empty() {
            let names = steady.iter().map(|cluster| cluster.cluster.as_str()).collect::<Vec<_>>().join(", ");
            writeln!(out, "steady   {names}")?;
        }
        for cluster in &steady {
            for one in &cluster.keysets {
                if let Some(standby) = &one.standby {
                    writeln!(out, "standby  {}/{} {standby} is trusted, for an emergency", cluster.cluster, one.keyset)?;
                }
            }
        }
        if !retired.is_empty() {
            let names = retired.iter().map(|cluster| cluster.cluster.as_str()).collect::<Vec<_>>().join(", ");
            writeln!(out, "retired  {names}")?;
        }
        let since = |cluster: &ClusterRotation| {
            cluster.keysets.iter().filter(|one| one.is_under_way()).filter_map(|one| one.since).min()
        };
        let longest = busy.iter().filter_map(|cluster| Some((since(cluster)?, &cluster.cluster))).min();
        match longest.filter(|_| busy.len() > 1) {
            Some((since, name)) => writeln!(out, "longest  {name}, since {since}"),
            None => Ok(()),
        }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

fn write_line(out: &mut dyn Write, cluster: &ClusterRotation) -> io::Result<()> {
    let about = cluster.keysets.iter().filter(|one| one.is_under_way());
    let about: Vec<String> = about.map(|one| format!("{} {}", one.keyset, one.phase.as_str())).collect();
    writeln!(out, "{:<12} {}", cluster.cluster.as_str(), about.join(", "))
}

fn write_cluster(out: &mut dyn Write, cluster: &ClusterRotation) -> io::Result<()> {
    let name = &cluster.cluster;
    writeln!(out, "cluster {name}")?;
    for one in &cluster.keysets {
        let states: Vec<String> = one.states.iter().map(|(generation, state)| format!("{generation} {state}")).collect();
        let since = one.since.map(|since| format!("  since {since}")).unwrap_or_default();
        let standby = one.standby.as_ref().map(|next| format!("  {next} for an emergency")).unwrap_or_default();
        let phase = one.phase.as_str();
        writeln!(out, "  {:<16} {phase:<10} {}{since}{standby}", one.keyset.as_str(), states.join(", "))?;
    }
    if !cluster.emergency.is_empty() {
        return write_emergency(out, cluster);
    }
    if !cluster.nodes.is_empty() {
        let when = match cluster.keysets.iter().any(KeysetRotation::is_under_way) {
            true => "now",
            false => "unless it was done",
        };
        let renaming = match cluster.export.starts_with("export kubeadm ") {
            true => ", renaming new files over the old ones",
            false => "",
        };
        writeln!(out, "\n{when}, one node after the other{renaming}:")?;
        writeln!(out, "  kluis {}", cluster.export)?;
    }
    for steps in &cluster.nodes {
        writeln!(out, "  {}", steps.node)?;
        write_steps(out, steps, false)?;
        if steps.restart.is_empty() && steps.run.is_empty() {
            writeln!(out, "    restart  nothing")?;
        }
    }
    for caution in &cluster.cautions {
        writeln!(out)?;
        write_wrapped(out, "", caution)?;
    }
    if !cluster.gates.is_empty() {
        writeln!(out, "\nbefore the next step, see that")?;
        for (gate, what) in &cluster.gates {
            writeln!(out, "  {gate}")?;
            write_wrapped(out, "    ", what)?;
        }
    }
    match &cluster.next {
        Some(next) => writeln!(out, "\nnext: kluis {}", displayed(next)),
        None => Ok(()),
    }
}

/// The stages, for somebody whose cluster is being taken over: commands first, then what to do, stage by stage.
fn write_emergency(out: &mut dyn Write, cluster: &ClusterRotation) -> io::Result<()> {
    let name = &cluster.cluster;
    if let Some(next) = &cluster.next {
        writeln!(out, "\nfirst, without waiting for any node, until it says that there is no next:")?;
        writeln!(out, "  kluis {}", displayed(next))?;
    }
    writeln!(out, "\nthen, for every node")?;
    writeln!(out, "  kluis export kubeadm -c {name} --node NAME --out DIR")?;
    writeln!(out, "and from there, each stage everywhere before the next, renaming new files over the old ones:")?;
    for (number, stage) in (1..).zip(&cluster.emergency) {
        writeln!(out)?;
        write_wrapped(out, "  ", &format!("{number}. {}", stage.what))?;
        for steps in &stage.nodes {
            writeln!(out, "  {}", steps.node)?;
            write_steps(out, steps, stage.together)?;
        }
        if let Some(run) = stage.run {
            writeln!(out, "    run      {run}")?;
        }
        if let Some(ends) = stage.ends {
            write_list(out, "ends", ends)?;
        }
        for breaks in &stage.breaks {
            write_list(out, "breaks", breaks)?;
        }
    }
    writeln!(out, "\nEncryption keys forge nothing: rotate them afterwards. Then: kluis rotate remove -c {name}")
}

fn write_steps(out: &mut dyn Write, steps: &NodeSteps, together: bool) -> io::Result<()> {
    if !steps.copy.is_empty() {
        write_list(out, "copy", &steps.copy.join(", "))?;
    }
    if !steps.copy_ca_keys.is_empty() {
        let files = steps.copy_ca_keys.join(", ");
        write_wrapped(out, "    ", &format!("and if CA keys are there: {files} of an export with --with-ca-keys"))?;
    }
    steps.run.iter().try_for_each(|command| write_list(out, "run", command))?;
    match (steps.restart.is_empty(), together) {
        (true, _) => Ok(()),
        (false, true) => write_list(out, "restart", &format!("{}, stopped before and started after", steps.restart.join(", "))),
        (false, false) => write_list(out, "restart", &steps.restart.join(", ")),
    }
}

fn write_list(out: &mut dyn Write, name: &str, text: &str) -> io::Result<()> {
    let mut lines = Vec::new();
    wrap(text, 66, &mut lines);
    for (at, line) in lines.iter().enumerate() {
        writeln!(out, "    {:<8} {line}", if at == 0 { name } else { "" })?;
    }
    Ok(())
}

fn write_wrapped(out: &mut dyn Write, indent: &str, text: &str) -> io::Result<()> {
    let mut lines = Vec::new();
    wrap(text, 74, &mut lines);
    lines.iter().try_for_each(|line| writeln!(out, "{indent}{line}"))
}

/// Breaks a text at spaces into lines of at most `width` characters, but for a longer word.
fn wrap(text: &str, width: usize, lines: &mut Vec<String>) {
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
}

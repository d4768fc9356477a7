//! `export`: words and flags, and the list of what was written. Gathering and opening belong to `ops::export`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use serde_json::Value;

use super::{Answer, Global, Report};
use crate::export::{LAYOUTS, Layout};
use crate::model::{Keyset, NodeName, displayed};
use crate::ops::export::{Export, ExportReport, Subject};
use crate::ops::{Failure, Gate, Session};

/// Write a node's files as plaintext to a folder outside every git work tree
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis export kubeadm -c prod --node cp-1 --out /root/k8s\n  \
    kluis export kubeadm -c prod --all-nodes --out /root/k8s\n  \
    kluis export pem -c prod --node w-1 --out /root/w-1\n  \
    kluis export pem -c prod --keyset kubernetes --out /root/ca\n\n\
    kubeadm is DIR/pki and DIR/*.conf, as under /etc/kubernetes. Opens one sealed file for a worker, three for a\n\
    control-plane node. CA keys stay sealed unless --with-ca-keys asks for them.")]
pub struct Args {
    /// Where the files are to lie
    #[arg(value_name = "LAYOUT", value_parser = layouts())]
    layout: String,
    /// One node
    #[arg(long, value_name = "NAME", conflicts_with_all = ["all_nodes", "keyset"], required_unless_present_any = ["all_nodes", "keyset"])]
    node: Option<NodeName>,
    /// Every node, each in a folder of its name
    #[arg(long, conflicts_with = "keyset")]
    all_nodes: bool,
    /// One keyset of the whole cluster (pem)
    #[arg(long, value_name = "NAME")]
    keyset: Option<Keyset>,
    /// The folder; new, empty, or left by an earlier export of the same
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The private keys of the CAs too: whoever reads them can issue, on no record
    #[arg(long)]
    with_ca_keys: bool,
}

fn layouts() -> PossibleValuesParser {
    PossibleValuesParser::new(LAYOUTS.iter().map(|layout| PossibleValue::new(layout.name).help(layout.about)))
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "export".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let layout = Layout::named(&args.layout)
        .ok_or_else(|| Failure::usage(format!("there is no layout {:?}", args.layout)))?;
    let subject = match (&args.node, &args.keyset) {
        (Some(node), _) => Subject::Node(node.clone()),
        (None, Some(keyset)) => Subject::Keyset(*keyset),
        (None, None) => Subject::AllNodes,
    };
    let repository = session.open_reading(&Gate::Valid)?;
    let cluster = global.one_cluster(&repository)?;
    let report = Export::new(session, &repository, cluster, args.with_ca_keys).run(layout, &subject, &args.out)?;
    Ok(Answer::fine(report))
}

impl Report for ExportReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let dir = displayed(&self.dir.display().to_string());
        let opened = self.opened.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let opened = if opened.is_empty() { "nothing" } else { &opened };
        if self.dry_run {
            let parts: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
            return writeln!(out, "would open {opened}\nand write {} to {dir}", parts.join(", "));
        }
        for part in &self.parts {
            for file in &part.files {
                writeln!(out, "{}  {dir}/{}{}", file.mode, part.folder, file.path)?;
            }
        }
        if self.ca_keys {
            writeln!(out, "\nCA KEYS ARE AMONG THESE FILES: they can issue any certificate, on no record.")?;
        }
        for part in &self.parts {
            writeln!(out, "\n{}", part.name)?;
            for note in &part.notes {
                write_note(out, note)?;
            }
        }
        writeln!(out, "\nopened: {opened}")
    }

    fn data(&self) -> Value {
        serde_json::json!(self)
    }
}

/// One note, broken at 80 columns.
fn write_note(out: &mut dyn Write, note: &str) -> io::Result<()> {
    let mut line = String::from("  -");
    for word in displayed(note).split_whitespace() {
        if line.chars().count() + word.chars().count() >= 80 {
            writeln!(out, "{line}")?;
            line = String::from("   ");
        }
        line.push(' ');
        line.push_str(word);
    }
    writeln!(out, "{line}")
}

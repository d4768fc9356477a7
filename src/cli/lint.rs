//! `lint`: words and flags, and how rules are shown. Finding files belongs to `ops::lint`, judging them to `lint`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Answer, Global, Report};
use crate::lint::{LEFT_OUT, Rule, rules};
use crate::model::Level;
use crate::ops::lint::{self, Linted, Wanted};
use crate::ops::{Failure, Gate, Session};

/// Find what is wrong with certificates, keys, kubeconfigs and layouts: the repository's, or any others
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis lint
  kluis lint -c prod
  kluis lint /etc/kubernetes
  kluis lint ~/.kube/config ca.crt apiserver.crt
  openssl s_client -connect 10.0.0.11:6443 -showcerts </dev/null | kluis lint -
  kluis lint --nodes copies/cp-1 copies/cp-2 copies/cp-3
  kluis lint --list
  kluis lint --list --rule CA014

Without PATH: the repository, verified first; the quorum's waivers make notes of findings until they end. With PATH no
repository is needed, and no key is ever opened. Folders of kubeadm (/etc/kubernetes or its pki), k3s and RKE2 (server/tls)
and k0s (pki) are known by their files; elsewhere a certificate is what it says. Signatures are not checked: `kluis verify`
and `openssl verify` do that. docs/LINT.md has all rules.
Exit codes: 0 nothing or notes alone, 3 an error was found, 5 something wants attention.")]
pub struct Args {
    /// Folders, kubeconfigs, and files of certificates and keys; - for stdin, with text around the blocks if need be
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only this rule (repeatable)
    #[arg(long = "rule", value_name = "ID")]
    rules: Vec<String>,
    /// Show the rules, with why, source and remedy, and look at nothing
    #[arg(long, conflicts_with_all = ["paths", "imported", "nodes", "external_ca"])]
    list: bool,
    /// Bear with oddities that distributions are known for
    #[arg(long)]
    imported: bool,
    /// The folders are control-plane nodes of one cluster
    #[arg(long, requires = "paths")]
    nodes: bool,
    /// The CA keys are meant to be elsewhere
    #[arg(long, requires = "paths")]
    external_ca: bool,
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "lint".to_owned()
}

/// Whether it works on the clusters of -c.
pub fn takes_clusters(args: &Args) -> bool {
    args.paths.is_empty() && !args.list
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let chosen = lint::chosen(&args.rules)?;
    if args.list {
        let whole = !chosen.is_empty();
        let rules = if whole { chosen } else { rules() };
        return Ok(Answer::fine(RuleList { rules, whole }));
    }
    let wanted = Wanted { rules: chosen, imported: args.imported, nodes: args.nodes, external_ca: args.external_ca };
    let (linted, findings) = if args.paths.is_empty() {
        let repository = session.open_reading(&Gate::Valid)?;
        let clusters = global.clusters_or_all(&repository)?;
        lint::repository(session, &repository, &clusters, &wanted)?
    } else {
        lint::paths(session, &args.paths, &wanted)?
    };
    Ok(Answer::judged(linted, findings))
}

impl Report for Linted {
    fn human(&self, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn verdict(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { files, certificates, errors, attention, notes, waived } = self;
        let waived = if *waived > 0 { format!(", {waived} of them waived") } else { String::new() };
        writeln!(
            out,
            "{certificates} certificates in {files} files: {errors} errors, {attention} want attention, {notes} notes{waived}"
        )
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

struct RuleList {
    rules: Vec<&'static Rule>,
    whole: bool,
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Attention => "attention",
        Level::Note => "note",
    }
}

impl Report for RuleList {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for rule in &self.rules {
            writeln!(out, "{}  {:<9}  {}", rule.id, word(rule.severity), rule.title)?;
            if !self.whole {
                continue;
            }
            if let Some(level) = rule.imported {
                writeln!(out, "  imported  {}", word(level))?;
            }
            writeln!(out, "  why       {}\n  source    {}\n  remedy    {}", rule.why, rule.source, rule.remedy)?;
        }
        if self.whole {
            return Ok(());
        }
        writeln!(out, "\nNo rules, since no look at files decides them:")?;
        LEFT_OUT.iter().try_for_each(|(id, why)| writeln!(out, "{id}  {why}"))
    }

    fn data(&self) -> Value {
        let left_out: Vec<Value> = LEFT_OUT.iter().map(|(id, why)| json!({ "id": id, "why": why })).collect();
        json!({ "rules": self.rules, "left_out": left_out })
    }

    fn is_value(&self) -> bool {
        true
    }
}

//! `cluster import`: its words, flags and report. What is read and adopted is `ops::cluster::import`'s.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::Report;
use super::{kubernetes, read, write_written};
use crate::model::{
    Algorithm, Cidr, ClusterName, Distribution, Endpoint, Host, KubernetesVersion, Level, PersonName, displayed,
};
use crate::ops::cluster::import::{Adopted, Description, Flags, Wanted};
use crate::ops::cluster::template::NodeWords;
use crate::ops::{Failure, names};

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: ClusterName,
    /// A folder, a file, or - for standard input
    #[arg(long, value_name = "PATH")]
    from: PathBuf,
    /// Its distribution: kubeadm, k3s, rke2, k0s or talos
    #[arg(long, value_name = "NAME")]
    distribution: Distribution,
    /// Take this cluster.toml instead of the flags that describe the cluster
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "endpoint", "kubernetes", "node", "algorithm", "service_cidr", "dns_domain", "extra_san",
    ])]
    config: Option<PathBuf>,
    /// Where clients reach its API: https://HOST[:PORT]; else as a kubeconfig beside the keys says
    #[arg(long, value_name = "URL", value_parser = Endpoint::parse)]
    endpoint: Option<Endpoint>,
    /// Its version of Kubernetes: 1.N or 1.N.P; else as the manifest of the API server says
    #[arg(long, value_name = "VERSION", value_parser = kubernetes)]
    kubernetes: Option<KubernetesVersion>,
    /// A node: NAME=ADDRESS[,ADDRESS...]:ROLE[,ROLE...] (repeatable)
    #[arg(long, value_name = "NODE")]
    node: Vec<NodeWords>,
    /// The algorithm of keys that are made from now on; else that of the cluster's CA
    #[arg(long, value_name = "NAME")]
    algorithm: Option<Algorithm>,
    /// A range of service addresses (twice for dual stack); else as found
    #[arg(long, value_name = "CIDR", value_parser = Cidr::parse)]
    service_cidr: Vec<Cidr>,
    /// The DNS domain of its services; else as found
    #[arg(long, value_name = "DOMAIN", value_parser = Host::parse)]
    dns_domain: Option<Host>,
    /// One more name or address in the API server's certificate (repeatable)
    #[arg(long, value_name = "HOST", value_parser = Host::parse)]
    extra_san: Vec<Host>,
    /// To whom its private keys are sealed (repeatable); you if left out
    #[arg(long, value_name = "PERSON")]
    keyholder: Vec<PersonName>,
    /// Who may issue for it (repeatable); you if left out
    #[arg(long, value_name = "PERSON")]
    issuer: Vec<PersonName>,
    /// Why; stands in the record. Where it was adopted from if left out
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl ImportArgs {
    pub(super) fn wanted(&self) -> Result<Wanted, Failure> {
        let description = match &self.config {
            Some(path) => Description::Text { text: read(path)?, source: displayed(&path.display().to_string()) },
            None => Description::Flags(Box::new(Flags {
                endpoint: self.endpoint.clone(),
                kubernetes: self.kubernetes,
                nodes: self.node.clone(),
                service_cidrs: self.service_cidr.clone(),
                dns_domain: self.dns_domain.clone(),
                extra_sans: self.extra_san.clone(),
                algorithm: self.algorithm,
            })),
        };
        Ok(Wanted {
            name: self.name.clone(),
            from: self.from.clone(),
            distribution: self.distribution,
            description,
            keyholders: self.keyholder.iter().cloned().collect(),
            issuers: self.issuer.iter().cloned().collect(),
            reason: self.reason.clone(),
        })
    }
}

impl Report for Adopted {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.written.dry_run { "Would adopt" } else { "Adopted" };
        let (cluster, distribution) = (&self.cluster, self.distribution);
        writeln!(out, "{verb} cluster {cluster} ({distribution} {}, {})", self.kubernetes, displayed(&self.endpoint))?;
        writeln!(out, "from {}. Nothing that runs was changed.", self.source.words())?;
        let mut last = None;
        for item in &self.items {
            if last != Some(item.outcome) {
                writeln!(out, "\n{}", item.outcome.words())?;
                last = Some(item.outcome);
            }
            writeln!(out, "  {}: {}", displayed(&item.name), displayed(&item.what))?;
        }
        let lacking: Vec<&str> = self.lacking.iter().map(|keyset| keyset.as_str()).collect();
        if !lacking.is_empty() {
            writeln!(out, "\nnot there, and not made: {}", lacking.join(", "))?;
        }
        let worth = |finding: &&crate::model::Finding| finding.level != Level::Note;
        if self.lint.iter().any(|finding| worth(&finding)) {
            writeln!(out, "\nlint says of what was taken (the rest: kluis lint -c {cluster})")?;
        }
        for finding in self.lint.iter().filter(worth) {
            let path = finding.path.as_deref().unwrap_or_default();
            writeln!(out, "  {} {}: {}", finding.code, displayed(path), displayed(&finding.why))?;
        }
        if self.written.dry_run {
            return Ok(());
        }
        writeln!(out, "\nsealed to  {}", names(&self.keyholders))?;
        writeln!(out, "issuers    {}", names(&self.issuers))?;
        write_written(out, &self.written)?;
        if !self.written.missing_signatures.is_empty() {
            writeln!(out, "next: {} must run kluis trust sign", names(&self.written.missing_signatures))?;
        }
        writeln!(out, "next, in this order:")?;
        writeln!(out, "  kluis doctor --confirm              opens what was sealed, before anything is deleted")?;
        writeln!(out, "  shred -u FILES, or rm where disks keep copies; backups and images of that machine too.")?;
        writeln!(out, "                                      Keys that run stay where the cluster reads them")?;
        writeln!(out, "  kluis rotate start -c {cluster}      new keys that were never in plaintext: who copied the old")?;
        writeln!(out, "                                      ones before can issue until they are distrusted")
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

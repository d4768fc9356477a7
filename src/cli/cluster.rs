//! `cluster`: clusters, made, listed, shown and brought in line. Owns the words and flags; the rest is
//! `ops::cluster`'s.

mod adopting;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use self::adopting::ImportArgs;
use super::{Answer, Global, Report};
use crate::export::Layout;
use crate::model::{
    Algorithm, Cidr, ClusterName, Distribution, Endpoint, Host, KubernetesVersion, PersonName, displayed,
};
use crate::ops::cluster::apply::{self, Applied};
use crate::ops::cluster::import;
use crate::ops::cluster::new::{self, NewCluster, Wanted};
use crate::ops::cluster::retire::{self, Retired};
use crate::ops::cluster::template::{self, Description, NodeWords};
use crate::ops::cluster::view::{self, ClusterList, ClusterPage};
use crate::ops::{Failure, Gate, Repository, Session, names};

/// Make, list, show clusters, and bring their certificates in line with cluster.toml
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis cluster list\n  kluis cluster show -c prod\n  kluis cluster apply -c prod --dry-run")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a cluster: authorities, keys and every certificate, sealed; drafts the epoch that lists them
    #[command(after_help = "EXAMPLES
  kluis cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \\
      --node cp-1=10.0.0.11,cp-1.example.org:control-plane,etcd --node w-1=10.0.0.21:worker
  kluis cluster new prod --endpoint https://api.prod.example.org:6443 --kubernetes 1.36 \\
      --keyholder alice --keyholder bob --issuer alice --super-admin
  kluis cluster new edge --distribution k3s --endpoint https://edge.example.org:6443 --kubernetes 1.36 \\
      --node s-1=10.1.0.11:control-plane,etcd --node a-1=10.1.0.21:worker
  kluis cluster new prod --from prod.toml --yes

Asks before it acts. Two signatures, and nothing is opened. Where the next epoch takes more signatures than
yours, the others run `kluis trust sign`.")]
    New(Box<NewArgs>),
    /// Adopt a cluster that runs: seal its keys, list its authorities; drafts the next epoch. Changes nothing that runs
    #[command(after_help = "EXAMPLES
  kluis cluster import old --from /etc/kubernetes --distribution kubeadm --dry-run
  kluis cluster import old --from /etc/kubernetes/pki --distribution kubeadm --kubernetes 1.36 \\
      --endpoint https://api.old.example.org:6443 --node cp-1=10.0.0.11:control-plane,etcd
  kluis cluster import edge --from - --distribution talos --kubernetes 1.36 --endpoint https://10.0.0.5:6443
  kluis cluster import old --from - --distribution kubeadm --config old.toml

Takes a folder of kubeadm (/etc/kubernetes or its pki), of k3s and RKE2 (server/tls) and k0s (pki), Talos' secrets.yaml
or a control plane's machine configuration, a kops state store, Secrets of Cluster API, and PEM files. With --from - any
of these in one file, a tar stream, or PEM blocks one after the other, as `sops -d`, `age -d`, `gpg -d` and `kubectl get
secret -o yaml` print them: so a key need not touch a disk again. --dry-run shows the same, and needs no key.")]
    Import(Box<ImportArgs>),
    /// List the clusters
    #[command(after_help = "EXAMPLES\n  kluis cluster list\n  kluis cluster list -o json")]
    List,
    /// Show one cluster: nodes, keysets, who can open and issue, certificates
    #[command(after_help = "EXAMPLES\n  kluis cluster show prod\n  kluis cluster show -c prod -o json")]
    Show {
        /// The cluster, also as -c
        #[arg(value_name = "NAME")]
        name: Option<ClusterName>,
    },
    /// Bring certificates in line with cluster.toml, edited or not
    #[command(after_help = "EXAMPLES
  kluis cluster apply -c prod --dry-run
  kluis cluster apply -c prod
  kluis cluster apply --all-clusters --yes

Edit clusters/NAME/cluster.toml first; the edited file goes into the same commit. Issues what is newly asked
for, with new keys, and removes what belongs to no node any more. Asks before it acts.")]
    Apply,
    /// Say that a cluster is no more: nothing is issued or owed there; drafts the next epoch
    #[command(after_help = "EXAMPLES
  kluis cluster retire old --reason 'switched off on 1 November'
  kluis cluster retire -c old -c older --yes
  kluis cluster retire old --revive

Its files stay, and what was issued stays on record. Says before what lives on: Kubernetes goes on believing in
certificates for as long as anything of the cluster runs, so switch it off first. Asks before it acts.")]
    Retire {
        /// The cluster, also as -c
        #[arg(value_name = "NAME")]
        name: Option<ClusterName>,
        /// Why; stands in the epoch
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Take it back into use
        #[arg(long)]
        revive: bool,
    },
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    name: ClusterName,
    /// Take this cluster.toml instead of the flags that describe the cluster
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "endpoint", "kubernetes", "node", "distribution", "algorithm", "service_cidr", "dns_domain", "extra_san",
        "name_constraints",
    ])]
    from: Option<PathBuf>,
    /// Where clients reach its API: https://HOST[:PORT]
    #[arg(long, value_name = "URL", value_parser = Endpoint::parse, required_unless_present = "from")]
    endpoint: Option<Endpoint>,
    /// Its version of Kubernetes: 1.N or 1.N.P
    #[arg(long, value_name = "VERSION", value_parser = kubernetes, required_unless_present = "from")]
    kubernetes: Option<KubernetesVersion>,
    /// A node: NAME=ADDRESS[,ADDRESS...]:ROLE[,ROLE...] (repeatable)
    #[arg(long, value_name = "NODE")]
    node: Vec<NodeWords>,
    /// Its distribution: kubeadm, k3s, rke2, k0s or talos
    #[arg(long, value_name = "NAME", default_value = "kubeadm")]
    distribution: Distribution,
    /// The algorithm of its keys: ecdsa-p256, ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096
    #[arg(long, value_name = "NAME", default_value = "ecdsa-p256")]
    algorithm: Algorithm,
    /// A range of service addresses (twice for dual stack); 10.96.0.0/12 if left out, 10.43.0.0/16 for k3s and rke2
    #[arg(long, value_name = "CIDR", value_parser = Cidr::parse)]
    service_cidr: Vec<Cidr>,
    /// The DNS domain of its services
    #[arg(long, value_name = "DOMAIN", value_parser = Host::parse, default_value = "cluster.local")]
    dns_domain: Host,
    /// One more name or address in the API server's certificate (repeatable)
    #[arg(long, value_name = "HOST", value_parser = Host::parse)]
    extra_san: Vec<Host>,
    /// Make CA certificates that are good for the names of this cluster alone
    #[arg(long)]
    name_constraints: bool,
    /// To whom its private keys are sealed (repeatable); you if left out
    #[arg(long, value_name = "PERSON")]
    keyholder: Vec<PersonName>,
    /// Who may issue for it (repeatable); you if left out
    #[arg(long, value_name = "PERSON")]
    issuer: Vec<PersonName>,
    /// Issue your own break-glass certificate too (system:masters, short-lived), which a first kubeadm init needs
    #[arg(long)]
    super_admin: bool,
    /// Why the break-glass certificate is needed
    #[arg(long, value_name = "TEXT", requires = "super_admin")]
    reason: Option<String>,
}

fn kubernetes(text: &str) -> Result<KubernetesVersion, String> {
    KubernetesVersion::parse(text).ok_or_else(|| "a version looks like 1.36 or 1.36.3".to_owned())
}

impl NewArgs {
    fn wanted(&self) -> Result<Wanted, Failure> {
        let text = match (&self.from, &self.endpoint, self.kubernetes) {
            (Some(path), _, _) => read(path)?,
            (None, Some(endpoint), Some(kubernetes)) => {
                template::render(&self.name, &self.description(endpoint, kubernetes)?)
            }
            _ => return Err(Failure::usage("say --endpoint and --kubernetes, or --from FILE")),
        };
        Ok(Wanted {
            name: self.name.clone(),
            text,
            source: match &self.from {
                Some(path) => path.display().to_string(),
                None => format!("the description of {}", self.name),
            },
            keyholders: self.keyholder.iter().cloned().collect(),
            issuers: self.issuer.iter().cloned().collect(),
            super_admin: self.super_admin.then(|| self.reason.clone()),
        })
    }

    fn description(&self, endpoint: &Endpoint, kubernetes: KubernetesVersion) -> Result<Description, Failure> {
        let standard = || Cidr::parse(self.distribution.service_cidr()).map_err(Failure::usage);
        let service_cidrs = match self.service_cidr.as_slice() {
            [] => vec![standard()?],
            given => given.to_vec(),
        };
        Ok(Description {
            distribution: self.distribution,
            kubernetes,
            endpoint: endpoint.clone(),
            dns_domain: self.dns_domain.clone(),
            service_cidrs,
            extra_sans: self.extra_san.clone(),
            algorithm: self.algorithm,
            name_constraints: self.name_constraints,
            nodes: self.node.clone(),
        })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let bytes = crate::disk::read_capped(path, 256 << 10)?;
    let bytes = bytes.ok_or_else(|| Failure::usage(format!("{shown} is not there")))?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{shown} is not UTF-8")))
}

/// The command's name in reports.
pub fn name(args: &Args) -> String {
    let action = match args.action {
        Action::New(_) => "new",
        Action::Import(_) => "import",
        Action::List => "list",
        Action::Show { .. } => "show",
        Action::Apply => "apply",
        Action::Retire { .. } => "retire",
    };
    format!("cluster {action}")
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    match &args.action {
        Action::New(new) => {
            global.refuse_at()?;
            let made = new::new(session, &new.wanted()?)?;
            let owed = made.written.findings.clone();
            Ok(Answer::written(made, &owed))
        }
        Action::Import(import) => {
            global.refuse_at()?;
            let adopted = import::import(session, &import.wanted()?)?;
            let owed = adopted.written.findings.clone();
            Ok(Answer::written(adopted, &owed))
        }
        Action::List => {
            let repository = session.open_reading(&Gate::Valid)?;
            Ok(Answer::fine(view::list(&repository)?))
        }
        Action::Show { name } => {
            let repository = session.open_reading(&Gate::Valid)?;
            let name = match name {
                Some(name) => name.clone(),
                None => global.one_cluster(&repository)?,
            };
            Ok(Answer::fine(view::show(&repository, &name)?))
        }
        Action::Apply => {
            global.refuse_at()?;
            let clusters = clusters(global, session)?;
            let applied = apply::apply(session, &clusters)?;
            let owed = applied.written.findings.clone();
            Ok(Answer::written(applied, &owed))
        }
        Action::Retire { name, reason, revive } => {
            global.refuse_at()?;
            let given = |repository: &Repository| match name {
                Some(name) if !global.names_clusters() => Ok(vec![name.clone()]),
                None if global.names_clusters() => global.clusters(repository),
                _ => Err(Failure::usage("say which cluster, by its NAME or by -c")),
            };
            let retired = retire::retire(session, given, *revive, reason.as_deref())?;
            let owed = retired.drafted.written.findings.clone();
            Ok(Answer::written(retired, &owed))
        }
    }
}

/// Which clusters to apply, found before verifying decides: an edited cluster.toml is an error until it is known
/// that it is about to be applied.
fn clusters(global: &Global, session: &mut Session) -> Result<Vec<ClusterName>, Failure> {
    let repository = session.open(&Gate::Anything)?;
    let mut clusters = global.clusters(&repository)?;
    if global.named_clusters().is_empty() && clusters.len() > 1 {
        let epoch = repository.epoch()?;
        clusters.retain(|name| epoch.clusters.get(name).is_some_and(|cluster| !cluster.retired));
    }
    clusters.sort();
    clusters.dedup();
    Ok(clusters)
}

impl Report for NewCluster {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = if self.written.dry_run { "Would make" } else { "Made" };
        let (cluster, distribution) = (&self.cluster, self.distribution);
        writeln!(out, "{verb} cluster {cluster} ({distribution} {}, {})", self.kubernetes, self.endpoint)?;
        for made in &self.keysets {
            let end = made.not_after.map(|end| format!("  until {end}")).unwrap_or_default();
            let hash = made.sha256.map(|sha256| format!("  {}", sha256.h16())).unwrap_or_default();
            writeln!(out, "  {:<16} {}{hash}{end}", made.keyset, made.generation)?;
        }
        for node in &self.nodes {
            let (name, roles, count) = (&node.name, node.roles.join(", "), node.certificates.len());
            match self.distribution.makes_leaves() {
                true => writeln!(out, "  node {name} ({roles}): {distribution} makes its certificates")?,
                false => writeln!(out, "  node {name} ({roles}): {count} certificates")?,
            }
        }
        writeln!(out, "  sealed to  {}", names(&self.keyholders))?;
        writeln!(out, "  issuers    {}", names(&self.issuers))?;
        if let Some(own) = &self.break_glass {
            writeln!(out, "\nBREAK-GLASS  {} is system:masters until {}", own.person, own.not_after)?;
            writeln!(out, "  because  {}", displayed(&own.reason))?;
            writeln!(out, "  No binding can take it back; it is on record, and `kluis status` shows it until it ends.")?;
            if let Some(key) = &own.key {
                writeln!(out, "  its key, sealed to you and not in the repository:\n    {}", displayed(key))?;
            }
        }
        if self.written.dry_run {
            return Ok(());
        }
        write_written(out, &self.written)?;
        let layout = Layout::of(self.distribution);
        match (self.written.missing_signatures.as_slice(), self.nodes.first()) {
            ([], _) if layout.node.is_none() => {
                writeln!(out, "next: kluis export {} -c {cluster} --out DIR", layout.name)
            }
            ([], Some(node)) => {
                writeln!(out, "next: kluis export {} -c {cluster} --node {} --out DIR", layout.name, node.name)
            }
            ([], None) => writeln!(
                out,
                "next: add nodes to clusters/{0}/cluster.toml, then kluis cluster apply -c {0}",
                self.cluster
            ),
            (missing, _) => writeln!(out, "next: {} must run kluis trust sign", names(missing)),
        }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

/// Says which epoch and record were written.
fn write_written(out: &mut dyn Write, written: &crate::ops::Written) -> io::Result<()> {
    if let Some(epoch) = written.epoch {
        let counts = if written.missing_signatures.is_empty() { "counts" } else { "waits for signatures" };
        writeln!(out, "\nepoch {epoch} {counts}")?;
    }
    if let Some(record) = &written.record {
        writeln!(out, "record {}", record.h16())?;
    }
    Ok(())
}

impl Report for Retired {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        super::change::write_drafted(out, &self.drafted.changes, &self.drafted.written)?;
        for one in &self.remains {
            if let Some(until) = one.until {
                let people = match one.people.is_empty() {
                    true => String::new(),
                    false => format!(", {} among those who have one", names(&one.people)),
                };
                writeln!(out, "{}: what still runs there takes its certificates until {until}{people}", one.cluster)?;
            }
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for ClusterList {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.clusters.is_empty() {
            return writeln!(out, "no cluster yet: kluis cluster new NAME --help");
        }
        let width = self.clusters.iter().map(|line| line.name.as_str().len()).max().unwrap_or(0);
        for line in &self.clusters {
            let end = line.ends.map(|end| format!("first end {end}")).unwrap_or_default();
            let state = if line.retired { "retired" } else { end.as_str() };
            let kind = [&line.distribution, &line.kubernetes].map(|part| part.as_deref().unwrap_or("?"));
            let nodes = if line.nodes == 1 { "node " } else { "nodes" };
            writeln!(out, "{:<width$}  {:<14} {:>3} {nodes}  {state}", line.name, kind.join(" "), line.nodes)?;
            writeln!(out, "{:<width$}  {}", "", displayed(&line.endpoint))?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for ClusterPage {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let kind = [&self.distribution, &self.kubernetes].map(|part| part.as_deref().unwrap_or("?")).join(" ");
        writeln!(out, "cluster {} ({kind})", self.name)?;
        writeln!(out, "  endpoint    {}", displayed(&self.endpoint))?;
        writeln!(out, "  id          {}", self.id)?;
        if self.retired {
            writeln!(out, "  retired     nothing is issued any more")?;
        }
        writeln!(out, "  keyholders  {}", names(&self.keyholders))?;
        writeln!(out, "  issuers     {}", names(&self.issuers))?;
        for (person, groups) in &self.groups {
            let groups = groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            writeln!(out, "  may ask     {person}: {}", displayed(&groups))?;
        }
        writeln!(out, "\nkeysets")?;
        for key in &self.keysets {
            let state = key.state.map_or("?", |state| state.as_str());
            let end = key.not_after.map(|end| format!("until {end}")).unwrap_or_default();
            let hash = key.sha256.map(|sha256| sha256.h16()).unwrap_or_default();
            let line = format!("  {:<16} {:<4} {state:<10} {hash}  {end}", key.keyset, key.generation.to_string());
            writeln!(out, "{}", line.trim_end())?;
        }
        for node in &self.nodes {
            writeln!(out, "\nnode {} ({})  {}", node.name, node.roles.join(", "), node.addresses.join(" "))?;
            for (profile, end) in &node.certificates {
                writeln!(out, "  {profile:<26} until {end}")?;
            }
            for profile in &node.missing {
                writeln!(out, "  {profile:<26} missing: kluis cluster apply -c {}", self.name)?;
            }
        }
        if !self.people.is_empty() {
            writeln!(out, "\npeople")?;
        }
        for one in &self.people {
            writeln!(out, "  {:<26} until {}", format!("{} {}", one.person, one.profile), one.not_after)?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for Applied {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.clusters.is_empty() {
            return writeln!(out, "nothing to do: certificates are as cluster.toml asks for");
        }
        if self.written.dry_run {
            writeln!(out, "Would do this:")?;
        }
        for line in self.clusters.iter().flat_map(apply::lines) {
            writeln!(out, "{line}")?;
        }
        if self.written.dry_run {
            return Ok(());
        }
        write_written(out, &self.written)?;
        if !self.written.missing_signatures.is_empty() {
            writeln!(out, "next: {} must run kluis trust sign", names(&self.written.missing_signatures))?;
        } else if self.clusters.iter().any(|change| !change.issue.is_empty()) {
            writeln!(out, "next: export the nodes whose certificates changed: kluis export --help")?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

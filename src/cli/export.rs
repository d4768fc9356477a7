//! `export`: words and flags, and the list of what was written. Gathering and opening belong to `ops::export`; what is a
//! whole cluster's (`rbac`, `kubeadm-config`, `trust-bundle`) has no secrets and goes to stdout.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use serde_json::{Value, json};

use super::report::Text;
use super::{Answer, Global, Report};
use crate::export::rbac::{RoleRef, Roles};
use crate::export::{LAYOUTS, Layout};
use crate::model::{Keyset, NodeName, Remedy, check_group, displayed};
use crate::ops::export::kubeadm_config;
use crate::ops::export::rbac::{self, Rbac};
use crate::ops::export::delivery::SealTo;
use crate::ops::export::trust_bundle;
use crate::ops::export::{Export, ExportReport, Subject, Target};
use crate::ops::{Failure, Gate, Session};

/// Write a node's files as plaintext to a folder outside every git work tree, or print what a cluster needs besides
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis export kubeadm -c prod --node cp-1 --out /root/k8s\n  \
    kluis export kubeadm -c prod --all-nodes --out /root/k8s\n  \
    kluis export pem -c prod --node w-1 --out /root/w-1\n  \
    kluis export pem -c prod --keyset kubernetes --out /root/ca\n  \
    kluis export pem -c prod --out /root/trust\n  \
    kluis export k3s -c edge --node s-1 --out /root/s-1\n  \
    kluis export k0s -c lab --all-nodes --out /root/lab\n  \
    kluis export talos -c ring --out /root/ring\n  \
    kluis export kops -c prod --out /root/prod\n  \
    kluis export capi -c prod --out /root/fleet\n  \
    kluis export kubeadm -c prod --node cp-1 --seal-to node > cp-1.age\n  \
    kluis export kubeadm -c prod --node cp-1 --seal-to 'ssh-ed25519 AAAA...' > cp-1.age\n  \
    kluis export kubeadm -c prod --node w-1 --tar | ssh root@w-1 tar -x -C /etc/kubernetes\n  \
    kluis export rbac -c prod --role developers=edit | kubectl apply -f -\n  \
    kluis export kubeadm-config -c prod --node cp-1 > kubeadm.yaml\n  \
    kluis export trust-bundle -c prod | kubectl apply -f -\n\n\
    kubeadm is DIR/pki and DIR/*.conf, as under /etc/kubernetes. Opens one sealed file for a worker, three for a\n\
    control-plane node. CA keys stay sealed unless --with-ca-keys asks for them; k3s and rke2 sign with them on each server\n\
    and always get them. k0s is what lies under /var/lib/k0s. pem is for any distribution: a node, one keyset (--keyset), or\n\
    without either the whole cluster. rbac binds the groups that the epoch lets\n\
    people ask for, in these generations alone: kluis:admins to cluster-admin, another GROUP to a ClusterRole that --role\n\
    names, or to kluis:GROUP, which is yours to write. kubeadm-config is for the files of kubeadm, with --node for\n\
    `kubeadm init` on that node, and with --with-ca-keys where the CA keys are exported as well. trust-bundle is what pods\n\
    are to trust: the CA certificates of the phase, of kubernetes or of another CA (--keyset).\n\n\
    talos, kops and capi are files of the whole cluster, with the keys of its CAs: talosctl, kops and Cluster API make the\n\
    rest from them.\n\n\
    --seal-to makes one age file of a tar archive, for any channel. On the node, as root:\n  \
    age -d -i /etc/ssh/ssh_host_ed25519_key cp-1.age | tar -x -C /etc/kubernetes")]
pub struct Args {
    /// Where the files are to lie
    #[arg(value_name = "LAYOUT", value_parser = layouts())]
    layout: String,
    /// One node
    #[arg(long, value_name = "NAME", conflicts_with_all = ["all_nodes", "keyset"])]
    node: Option<NodeName>,
    /// Every node, each in a folder of its name
    #[arg(long, conflicts_with = "keyset")]
    all_nodes: bool,
    /// One keyset of the whole cluster (pem, trust-bundle)
    #[arg(long, value_name = "NAME")]
    keyset: Option<Keyset>,
    /// The folder; new, empty, or left by an earlier export of the same
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Instead, one sealed archive on stdout: `node` for the key that cluster.toml names for it; a public SSH host key
    /// (ssh-ed25519, ssh-rsa), also as ssh-keyscan prints it; or an age recipient (repeatable)
    // What begins with a hyphen may be a private key by mistake: the grammar would quote it in its error.
    #[arg(long, value_name = "RECIPIENT", conflicts_with_all = ["out", "tar"], allow_hyphen_values = true)]
    seal_to: Vec<String>,
    /// Instead, one tar archive on stdout, in the clear
    #[arg(long, conflicts_with = "out")]
    tar: bool,
    /// The private keys of the CAs too: whoever reads them can issue, on no record
    #[arg(long)]
    with_ca_keys: bool,
    /// Bind a group to a ClusterRole, in the whole cluster or in one namespace (rbac, repeatable)
    #[arg(long = "role", value_name = "GROUP=[NAMESPACE/]ROLE", value_parser = parse_role)]
    roles: Vec<(String, RoleRef)>,
}

fn layouts() -> PossibleValuesParser {
    let nodes = LAYOUTS.iter().map(|layout| PossibleValue::new(layout.name).help(layout.about));
    PossibleValuesParser::new(nodes.chain([
        PossibleValue::new(RBAC).help("what groups may do, as one YAML stream"),
        PossibleValue::new(KUBEADM_CONFIG).help("kubeadm's configuration for the layout kubeadm"),
        PossibleValue::new(TRUST_BUNDLE).help("a ClusterTrustBundle of what the cluster trusts"),
    ]))
}

// The layouts that are a cluster's and hold no secret.
const RBAC: &str = "rbac";
const KUBEADM_CONFIG: &str = "kubeadm-config";
const TRUST_BUNDLE: &str = "trust-bundle";

fn parse_role(text: &str) -> Result<(String, RoleRef), String> {
    let shape = || format!("{text:?} is not GROUP=ROLE or GROUP=NAMESPACE/ROLE");
    let (group, role) = text.split_once('=').ok_or_else(shape)?;
    let (namespace, role) = match role.split_once('/') {
        Some((namespace, role)) => (Some(namespace.to_owned()), role),
        None => (None, role),
    };
    // Names of namespaces are DNS labels (RFC 1123); of roles, anything that can be a part of a path.
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_label = |text: &String| !text.is_empty() && text.len() <= 63 && text.chars().all(label);
    let is_role = !role.is_empty() && role.chars().all(|c| c.is_ascii_graphic() && !"/%".contains(c));
    if !check_group(group) || !is_role || namespace.as_ref().is_some_and(|namespace| !is_label(namespace)) {
        return Err(shape());
    }
    Ok((group.to_owned(), RoleRef { namespace, role: role.to_owned() }))
}

/// The command's name in reports.
pub fn name(_args: &Args) -> String {
    "export".to_owned()
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    if args.layout == RBAC {
        return run_rbac(args, global, session);
    }
    if !args.roles.is_empty() {
        return Err(Failure::usage("--role is for the layout rbac"));
    }
    if args.layout == KUBEADM_CONFIG || args.layout == TRUST_BUNDLE {
        return run_printed(args, global, session);
    }
    let layout = Layout::named(&args.layout)
        .ok_or_else(|| Failure::usage(format!("there is no layout {:?}", args.layout)))?;
    let subject = match (&args.node, &args.keyset) {
        (Some(node), _) => Subject::Node(node.clone()),
        (None, Some(keyset)) => Subject::Keyset(*keyset),
        (None, None) if args.all_nodes => Subject::AllNodes,
        (None, None) if layout.cluster.is_some() => Subject::Cluster,
        (None, None) => return Err(Failure::usage("say what to export: --node NAME or --all-nodes")),
    };
    let to = match args.seal_to.as_slice() {
        [only] if only == "node" => SealTo::Node,
        given => SealTo::Given(given.to_vec()),
    };
    let target = match (&args.out, args.seal_to.is_empty(), args.tar) {
        (Some(dir), ..) => Target::Folder(dir),
        (None, false, _) => Target::Sealed(&to),
        (None, true, true) if session.terminal.shows_answer() => {
            return Err(Failure::usage("an archive with keys is nothing for a screen: send it on, through a pipe"));
        }
        (None, true, true) => Target::Archive,
        (None, true, false) => {
            return Err(Failure::usage("say where to: --out DIR, --seal-to RECIPIENT, or --tar"));
        }
    };
    let repository = session.open_reading(&Gate::Valid)?;
    let cluster = global.one_cluster(&repository)?;
    let report = Export::new(session, &repository, cluster, args.with_ca_keys).run(layout, &subject, &target)?;
    if report.dir.is_none() {
        // stdout is the archive alone; what to do with it is said beside it.
        let notes = report.parts.iter().flat_map(|part| &part.notes);
        session.notes.extend(notes.cloned());
        if report.ca_keys {
            session.notes.push("CA keys are among these files: they can issue any certificate, on no record".to_owned());
        }
    }
    Ok(Answer::fine(report))
}

fn run_rbac(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let for_nodes = args.node.is_some() || args.all_nodes || args.keyset.is_some() || args.with_ca_keys;
    if for_nodes || args.out.is_some() {
        let what = "rbac is the manifest of a whole cluster, on stdout: leave the flags for nodes and --out out";
        return Err(Failure::usage(what));
    }
    let repository = session.open_reading(&Gate::Valid)?;
    let cluster = global.one_cluster(&repository)?;
    let mut roles = Roles::new();
    for (group, role) in &args.roles {
        let chosen = roles.entry(group.clone()).or_default();
        // A binding has one role (RBAC: roleRef can't change), and of two with one name the cluster keeps one.
        if chosen.iter().any(|other| other.namespace == role.namespace) {
            let place = role.namespace.as_ref().map_or("the whole cluster".to_owned(), |name| format!("namespace {name}"));
            let what = format!("--role gives {group} two roles in {place}, and a binding has one");
            return Err(Failure::usage(what).help(Remedy::Kluis("export --help".to_owned())));
        }
        chosen.push(role.clone());
    }
    Ok(Answer::fine(rbac::rbac(session, &repository, &cluster, &roles)?))
}

fn run_printed(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let is_config = args.layout == KUBEADM_CONFIG;
    let out_of_place = match is_config {
        true => args.all_nodes || args.keyset.is_some(),
        false => args.all_nodes || args.node.is_some() || args.with_ca_keys,
    };
    if out_of_place || args.out.is_some() {
        let takes = if is_config { "--node and --with-ca-keys" } else { "--keyset" };
        return Err(Failure::usage(format!("{} goes to stdout, and takes {takes} alone", args.layout)));
    }
    let repository = session.open_reading(&Gate::Valid)?;
    let cluster = global.one_cluster(&repository)?;
    if is_config {
        let (node, with_ca_keys) = (args.node.as_ref(), args.with_ca_keys);
        let config = kubeadm_config::kubeadm_config(&repository, &cluster, node, with_ca_keys)?;
        return Ok(Answer::fine(Text { content: config.content.clone(), data: json!(config) }));
    }
    let keyset = args.keyset.unwrap_or(Keyset::Kubernetes);
    let bundle = trust_bundle::trust_bundle(&repository, &cluster, keyset)?;
    Ok(Answer::fine(Text { content: bundle.content.clone(), data: json!(bundle) }))
}

impl Report for Rbac {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for manifest in &self.manifests {
            writeln!(out, "---")?;
            out.write_all(manifest.content.as_bytes())?;
        }
        Ok(())
    }

    fn data(&self) -> Value {
        json!(self)
    }

    fn is_raw(&self) -> bool {
        true
    }
}

impl Report for ExportReport {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        match (&self.sealed, &self.archive) {
            (Some(sealed), _) => return out.write_all(sealed.as_bytes()),
            (None, Some(archive)) => return out.write_all(archive.expose()),
            (None, None) => {}
        }
        let dir = self.dir.as_ref().map_or_else(|| "one archive".to_owned(), |dir| displayed(&dir.display().to_string()));
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
        json!(self)
    }

    fn is_raw(&self) -> bool {
        self.archive.is_some()
    }

    fn is_value(&self) -> bool {
        self.archive.is_some() || self.sealed.is_some()
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

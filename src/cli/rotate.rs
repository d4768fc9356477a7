//! `rotate`: one step of a rotation. Owns the words and flags, and how a step reads; how it stands is `stand`'s, the rest
//! `ops::rotate`'s.

mod stand;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::report::Text;
use super::{Answer, Global, Report};
use crate::model::{Keyset, NodeName, PersonName, displayed};
use crate::ops::rotate::{
    self, Checked, Files, Removed, Settle, Settled, Start, Started, Stepped, Target, Verb, Wanted,
};
use crate::ops::{Failure, Gate, Session};

/// Rotate CAs, service-account and encryption keys, one phase at a time and without downtime
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES
  kluis rotate start -c prod
  kluis rotate start --all-clusters --because-of carol
  kluis rotate status -c prod
  kluis rotate trust -c prod
  kluis rotate promote -c prod --confirm nodes-have-bundle --confirm clients-have-bundle --yes

start makes new generations, trust lets everything trust both, promote issues with the new one, distrust drops the
former one, remove forgets it. Between two steps, export to every node what `kluis rotate status` names. KEYSET is one of
kubernetes, etcd, front-proxy, service-account, encryption, or what else the cluster's distribution has (kubernetes-client,
etcd-peer, talos, tokens); all of the cluster's if left out, but for those that its distribution can't replace.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make and seal the next generations; nothing trusts them yet
    #[command(after_help = "EXAMPLES
  kluis rotate start -c prod
  kluis rotate start etcd -c prod
  kluis rotate start --all-clusters --because-of carol
  kluis rotate start kubernetes -c prod --standby

CAs and service-account keys take an epoch, which a quorum signs; all clusters are in one epoch and one record.")]
    Start {
        /// Keysets; all of the cluster's if left out
        #[arg(value_name = "KEYSET")]
        keysets: Vec<Keyset>,
        /// Only what this person, who is no keyholder any more, could open and is still in use
        #[arg(long, value_name = "PERSON")]
        because_of: Option<PersonName>,
        /// Keep it for an emergency: trust it next, and promote it only then
        #[arg(long, conflicts_with_all = ["emergency", "because_of"])]
        standby: bool,
        /// Somebody forges: leave out what can't be used for that
        #[arg(long)]
        emergency: bool,
    },
    /// Let nodes and clients trust the new generations beside those that issue
    #[command(after_help = "EXAMPLES\n  kluis rotate trust -c prod\n  kluis rotate trust --all-clusters --yes")]
    Trust(Step),
    /// Issue with the new generations from now on, and issue every leaf of the nodes anew
    #[command(after_help = "EXAMPLES
  kluis rotate promote -c prod --confirm nodes-have-bundle --confirm clients-have-bundle
  kluis rotate promote etcd -c prod --yes

One record: the phases, and every certificate of the CAs concerned. Opens each new CA key once.")]
    Promote(Step),
    /// Trust the former generations no more
    #[command(after_help = "EXAMPLES
  kluis rotate distrust -c prod --confirm nodes-have-leaves --confirm clients-moved

Refuses while a node's current certificate is of the former CA, and while people have certificates of it that live,
unless you confirm that clients have moved. From here on there is no undo.")]
    Distrust(Step),
    /// Forget distrusted generations: out of the epoch, and their files
    #[command(after_help = "EXAMPLES\n  kluis rotate remove -c prod --yes\n\nGit's history keeps what was sealed.")]
    Remove {
        /// Keysets; all of the cluster's if left out
        #[arg(value_name = "KEYSET")]
        keysets: Vec<Keyset>,
    },
    /// Take the next step of each keyset, past gates that are confirmed
    #[command(after_help = "EXAMPLES\n  kluis rotate next -c prod --confirm nodes-have-bundle --confirm clients-have-bundle --yes")]
    Next(Step),
    /// Go back to the phase before; from distrusted there is no way back
    #[command(after_help = "EXAMPLES\n  kluis rotate undo -c prod\n  kluis rotate undo etcd -c prod --yes")]
    Undo(Step),
    /// Decide what two branches decided apart: one record, after both, and what both made issued anew
    #[command(after_help = "EXAMPLES
  kluis rotate settle -c prod
  kluis rotate settle -c prod --to promoted
  kluis rotate settle -c prod --to trusted --to etcd=promoted --yes

For a merge after which `kluis verify` says conflicting-generations: both branches stepped one rotation, or made certificates
that don't fit together. Without --to it says who did what and what there is to choose from, and names a phase that cuts
nobody off, whichever branch's files nodes have got by then; one that drops what a branch used takes --confirm unused. Every
leaf that both branches made, or that is of a generation that does not issue then, is issued anew.")]
    Settle {
        /// Where it is to stand, all of it or one keyset (repeatable)
        #[arg(long, value_name = "[KEYSET=]PHASE")]
        to: Vec<Target>,
        /// You have seen that this is so: unused; goes on record
        #[arg(long, value_name = "GATE")]
        confirm: Vec<String>,
    },
    /// Compare a node's files with what the phase expects; opens no key
    #[command(group = clap::ArgGroup::new("where").required(true), after_help = "EXAMPLES
  kluis rotate check -c prod --node cp-1 --files /mnt/cp-1/etc/kubernetes
  kluis rotate check -c prod --node cp-1 --listing cp-1.txt
  ssh root@cp-1 sh < list.sh | kluis rotate check -c prod --node cp-1 --listing -

Looks at certificates, bundles, kubeconfigs and public keys: in a folder with the layout of /etc/kubernetes (kubelet/ beside
them), such as a copy made with rsync; or in what this printed on the node, which has no key in it:

  cd /etc/kubernetes
  grep -rH --include='*.crt' --include='*.pub' '' pki
  grep -H certificate- *.conf
  grep -H '' /var/lib/kubelet/pki/kubelet.crt

Ends 3 where something differs.")]
    Check {
        /// The node
        #[arg(long, value_name = "NAME")]
        node: NodeName,
        /// The folder with its files
        #[arg(long, value_name = "DIR", group = "where")]
        files: Option<PathBuf>,
        /// What the commands below printed on the node (- for stdin)
        #[arg(long, value_name = "FILE", group = "where")]
        listing: Option<PathBuf>,
    },
    /// Print a shell script that does on one node what this phase asks for; opens no key
    #[command(after_help = "EXAMPLES
  kluis rotate script -c prod --node cp-1 > cp-1.sh
  kluis rotate script -c prod --node cp-1 | ssh root@cp-1 sh -s -- --dry-run /root/export

For who has no configuration management: run it on the node, as root, with the folder of its export. It copies the files and
restarts the processes that `kluis rotate status` names, waits for each to be well, and stops at the first that is not. It
takes the export of this node in this phase, whole, and no other; a node that missed the phase before is left as it is. It
holds no secret. kubeadm's static pods are restarted with crictl; two functions at its top are yours to change. Not for an
emergency: `kluis rotate status --emergency` has what is done then, over all nodes.")]
    Script {
        /// The node
        #[arg(long, value_name = "NAME")]
        node: NodeName,
    },
    /// Show the phase of each keyset, and what to do on which node before the next step
    #[command(after_help = "EXAMPLES\n  kluis rotate status -c prod\n  kluis rotate status --all-clusters\n  kluis rotate status -c prod --emergency")]
    Status {
        /// Show what is done where somebody forges: the order that cuts them off first, and what breaks
        #[arg(long)]
        emergency: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Step {
    /// Keysets; all that stand where the step begins if left out
    #[arg(value_name = "KEYSET")]
    keysets: Vec<Keyset>,
    /// You have seen that this is so (repeatable); goes on record
    #[arg(long, value_name = "GATE")]
    confirm: Vec<String>,
    /// Somebody forges: wait for no gate, and leave alone what can't be used for that
    #[arg(long)]
    emergency: bool,
}

/// The command's name in reports.
pub fn name(args: &Args) -> String {
    let action = match args.action {
        Action::Start { .. } => "start",
        Action::Trust(_) => "trust",
        Action::Promote(_) => "promote",
        Action::Distrust(_) => "distrust",
        Action::Remove { .. } => "remove",
        Action::Next(_) => "next",
        Action::Undo(_) => "undo",
        Action::Settle { .. } => "settle",
        Action::Status { .. } => "status",
        Action::Check { .. } => "check",
        Action::Script { .. } => "script",
    };
    format!("rotate {action}")
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    let (verb, words) = match &args.action {
        Action::Status { emergency } => {
            let repository = session.open_reading(&Gate::Unsettled)?;
            rotate::check_settled(&repository)?;
            let clusters = global.clusters_or_all(&repository)?;
            return Ok(Answer::fine(rotate::status(&repository, &clusters, *emergency)?));
        }
        Action::Check { node, files, listing } => {
            let repository = session.open_reading(&Gate::Valid)?;
            let cluster = global.one_cluster(&repository)?;
            let text = listing.as_deref().map(read_listing).transpose()?;
            let files = match (files, &text) {
                (Some(dir), _) => Files::Folder(dir),
                (None, text) => Files::Listing(text.as_deref().unwrap_or_default()),
            };
            let (checked, findings) = rotate::check(&repository, &cluster, node, &files)?;
            return Ok(Answer::judged(checked, findings));
        }
        Action::Script { node } => {
            let repository = session.open_reading(&Gate::Valid)?;
            let cluster = global.one_cluster(&repository)?;
            let script = rotate::script(&repository, &cluster, node)?;
            return Ok(Answer::fine(Text { content: script.content.clone(), data: json!(script) }));
        }
        Action::Start { keysets, because_of, standby, emergency } => {
            global.refuse_at()?;
            let mut repository = session.open(&Gate::Valid)?;
            let clusters = global.clusters(&repository)?;
            let because_of = because_of.as_ref();
            let wanted =
                Start { clusters: &clusters, keysets, because_of, standby: *standby, emergency: *emergency };
            let started = rotate::start(session, &mut repository, &wanted)?;
            let owed = started.written.findings.clone();
            return Ok(Answer::written(started, &owed));
        }
        Action::Remove { keysets } => {
            global.refuse_at()?;
            let mut repository = session.open(&Gate::Valid)?;
            let clusters = global.clusters(&repository)?;
            let removed = rotate::remove(session, &mut repository, &clusters, keysets)?;
            let owed = removed.written.findings.clone();
            return Ok(Answer::written(removed, &owed));
        }
        Action::Settle { to, confirm } => {
            global.refuse_at()?;
            let mut repository = session.open(&Gate::Unsettled)?;
            let clusters = global.clusters(&repository)?;
            let confirmed = confirm.iter().cloned().collect();
            let wanted = Settle { clusters: &clusters, to, confirmed: &confirmed };
            let settled = rotate::settle(session, &mut repository, &wanted)?;
            let owed = settled.written.findings.clone();
            return Ok(Answer::written(settled, &owed));
        }
        Action::Trust(words) => (Verb::Trust, words),
        Action::Promote(words) => (Verb::Promote, words),
        Action::Distrust(words) => (Verb::Distrust, words),
        Action::Next(words) => (Verb::Next, words),
        Action::Undo(words) => (Verb::Undo, words),
    };
    global.refuse_at()?;
    let mut repository = session.open(&Gate::Valid)?;
    let clusters = global.clusters(&repository)?;
    let confirmed: BTreeSet<String> = words.confirm.iter().cloned().collect();
    let wanted = Wanted {
        verb,
        clusters: &clusters,
        keysets: &words.keysets,
        confirmed: &confirmed,
        emergency: words.emergency,
    };
    let stepped = rotate::step(session, &mut repository, &wanted)?;
    let owed = stepped.written.findings.clone();
    Ok(Answer::written(stepped, &owed))
}

/// The largest listing that is read, in bytes: a node's is a few dozen kilobytes.
const LARGEST_LISTING: u64 = 4 << 20;

fn read_listing(path: &Path) -> Result<String, Failure> {
    let shown = displayed(&path.display().to_string());
    let bytes = match path.as_os_str() == "-" {
        true => crate::env::read_input(LARGEST_LISTING).map_err(|error| Failure::usage(format!("stdin: {error}")))?,
        false => crate::disk::read_capped(path, LARGEST_LISTING)?
            .ok_or_else(|| Failure::usage(format!("{shown} is not there")))?,
    };
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{shown} is not UTF-8")))
}

fn write_left(out: &mut dyn Write, left: &[String]) -> io::Result<()> {
    left.iter().try_for_each(|left| writeln!(out, "left     {left}"))
}

fn write_next(out: &mut dyn Write, emergency: bool) -> io::Result<()> {
    writeln!(out, "next: kluis rotate status{}", if emergency { " --emergency" } else { "" })
}

fn write_record(out: &mut dyn Write, written: &crate::ops::Written) -> io::Result<()> {
    match (&written.record, written.dry_run) {
        (Some(record), false) => writeln!(out, "record {}", record.h16()),
        _ => Ok(()),
    }
}

impl Report for Started {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.made.is_empty() {
            writeln!(out, "nothing to start")?;
            return write_left(out, &self.left);
        }
        let verb = if self.written.dry_run { "would make" } else { "made" };
        for one in &self.made {
            let end = one.not_after.map(|end| format!(", until {end}")).unwrap_or_default();
            let hash = one.sha256.map(|hash| format!("  {}", hash.h16())).unwrap_or_default();
            writeln!(out, "{verb} {}/{} {}{end}{hash}", one.cluster, one.keyset, one.generation)?;
        }
        write_left(out, &self.left)?;
        write_record(out, &self.written)?;
        if self.written.dry_run {
            return Ok(());
        }
        if self.written.epoch.is_some() {
            super::change::write_missing(out, &self.written)?;
        }
        write_next(out, self.emergency)
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for Stepped {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.moves.is_empty() {
            writeln!(out, "nothing stands where this step begins")?;
            return write_left(out, &self.left);
        }
        for one in &self.moves {
            let (from, to) = (one.from.as_str(), one.to.as_str());
            let verb = if self.written.dry_run { "would go" } else { "goes" };
            let states: Vec<String> = one.states.iter().map(|(g, state)| format!("{g} {state}")).collect();
            writeln!(out, "{}/{} {verb} from {from} to {to}: {}", one.cluster, one.keyset, states.join(", "))?;
            if !one.gates.is_empty() {
                writeln!(out, "  confirmed {}", one.gates.join(", "))?;
            }
        }
        write_left(out, &self.left)?;
        if !self.certificates.is_empty() {
            writeln!(out, "issued {} certificates of nodes anew", self.certificates.len())?;
        }
        if !self.opened.is_empty() {
            let verb = if self.written.dry_run { "would open" } else { "opened" };
            writeln!(out, "{verb} {}", self.opened.join(", "))?;
        }
        if !self.people.is_empty() {
            let names = crate::ops::names(&self.people);
            let what = if self.emergency { "cut off until they ask for" } else { "to ask for" };
            writeln!(out, "{what} their next certificate (kluis request new): {names}")?;
        }
        write_record(out, &self.written)?;
        if self.written.dry_run { Ok(()) } else { write_next(out, self.emergency) }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for Settled {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.is_empty() {
            return writeln!(out, "nothing was decided apart");
        }
        for one in &self.keysets {
            let conflict = &one.conflict;
            writeln!(out, "{}/{}", conflict.cluster, conflict.keyset)?;
            for side in &conflict.sides {
                let states = rotate::stated(&side.states);
                let (actor, command) = (side.actor.as_str(), displayed(&side.command));
                writeln!(out, "  {actor:<12} {command:<16} {states}  record {}", side.record.h16())?;
            }
            let verb = if self.written.dry_run { "would be" } else { "is now" };
            writeln!(out, "  {verb} {}: {}", one.to.name, rotate::stated(&one.to.sets))?;
            for generation in &conflict.given_up {
                writeln!(out, "  {generation} is given up: two keys were made for it")?;
            }
        }
        for (what, paths) in [("kept", &self.kept), ("removed", &self.removed), ("sealed again", &self.resealed)] {
            paths.iter().try_for_each(|path| writeln!(out, "{what:<12} {path}"))?;
        }
        if !self.certificates.is_empty() {
            let verb = if self.written.dry_run { "would issue" } else { "issued" };
            writeln!(out, "{verb} {} certificates of nodes anew", self.certificates.len())?;
        }
        if !self.opened.is_empty() {
            let verb = if self.written.dry_run { "would open" } else { "opened" };
            writeln!(out, "{verb} {}", self.opened.join(", "))?;
        }
        if !self.people.is_empty() {
            let names = crate::ops::names(&self.people);
            writeln!(out, "to ask for their next certificate (kluis request new): {names}")?;
        }
        write_record(out, &self.written)?;
        if self.written.dry_run { Ok(()) } else { write_next(out, false) }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for Checked {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        for file in &self.files {
            writeln!(out, "{}", format!("{:<10} {}  {}", file.state, file.path, displayed(&file.why)).trim_end())?;
        }
        let right = self.files.iter().filter(|file| file.state == "right").count();
        writeln!(out, "{right} of {} files of {} are those of the phase", self.files.len(), self.node)
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for Removed {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.removed.is_empty() {
            return writeln!(out, "no distrusted generation is there");
        }
        let verb = if self.written.dry_run { "would remove" } else { "removed" };
        for (cluster, keyset, generation) in &self.removed {
            writeln!(out, "{verb} {cluster}/{keyset} {generation}")?;
        }
        for path in &self.certificates {
            writeln!(out, "{verb} {path}, which has not ended")?;
        }
        write_left(out, &self.left)?;
        write_record(out, &self.written)?;
        match (self.written.dry_run, self.written.epoch) {
            (false, Some(_)) => super::change::write_missing(out, &self.written),
            _ => Ok(()),
        }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

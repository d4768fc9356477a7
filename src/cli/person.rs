//! `person`: people, added, updated, listed and shown. Owns the words and flags; drafting belongs to
//! `ops::person`, looking to `ops::people`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::change;
use super::{Answer, Global, Report};
use crate::model::{ClusterName, Finding, PersonName, Remedy, check_group, displayed};
use crate::ops::exposure::Exposures;
use crate::ops::leaving::{self, Removed, Revoked};
use crate::ops::people::{self, Page, People, PersonView};
use crate::ops::person::{self, Drafted, Parts, Update};
use crate::ops::{Failure, Gate, Given, Session};
use crate::trust::{FormerReason, TrustRole};

/// Add, update, remove, list and show people; revoke a key
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  kluis person list\n  kluis person add bob --pgp bob.asc --role root --keyholder prod --issuer prod\n  kluis person show bob\n  kluis person remove bob --reason left")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Let somebody in: drafts the next epoch with them and signs it for you
    #[command(after_help = "EXAMPLES
  kluis person add bob --pgp bob.asc --role root --keyholder prod --issuer prod
  kluis person add erin --pgp erin.asc --group prod=developers
  gpg --export bob | kluis person add bob --pgp -

The new person signs the draft too, with `kluis trust sign`. Nothing is sealed to them before the epoch has its
signatures; then `kluis reseal` lets them in.")]
    Add(AddArgs),
    /// Change somebody's certificate, role or parts in clusters: drafts the next epoch
    #[command(after_help = "EXAMPLES
  kluis person update alice --pgp alice.asc
  kluis person update bob --pgp new.asc --former-reason lost
  kluis person update bob --keyholder prod --no-issuer staging
  kluis person update erin --group prod=developers --no-group prod=kluis:admins")]
    Update(UpdateArgs),
    /// Take somebody out: drafts the next epoch without them, and lists what they can still open
    #[command(after_help = "EXAMPLES
  kluis person remove carol --reason left
  kluis person remove carol --reason compromised --yes
  kluis person remove carol --reason left --dry-run

Reasons: left (may come back with the same certificate), compromised (neither the name nor the certificate ever
comes back), lost (the key is gone and nobody has it), replaced. Sealing again takes nothing back of what they could
open before: `verify` owes each such secret until it is replaced.")]
    Remove {
        /// The person
        #[arg(value_name = "NAME")]
        name: PersonName,
        /// Why: left, compromised, lost or replaced
        #[arg(long, value_name = "REASON", value_parser = leaving_reason)]
        reason: FormerReason,
    },
    /// Revoke one key of somebody, at once and in all clusters, by one signature
    #[command(after_help = "EXAMPLES
  kluis person revoke-key carol --reason \"laptop stolen\"
  kluis person revoke-key carol 9C40D1E28F3B7A11 --reason \"token lost\"

For a lost laptop: any root or issuer can do it, and the person themself. Records that the key signs from now on
are void, and so are requests that nobody granted; what was recorded before stays. The next epoch drops the key or
lists it again.")]
    RevokeKey {
        /// The person
        #[arg(value_name = "NAME")]
        name: PersonName,
        /// The key: its fingerprint, or at least the last 8 digits; the only signing key if left out
        #[arg(value_name = "KEY")]
        key: Option<String>,
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List the people of the latest epoch and of the draft
    #[command(after_help = "EXAMPLES\n  kluis person list\n  kluis person list -o json")]
    List,
    /// Show one person: keys and their expiry, parts in clusters, what is sealed to them
    #[command(after_help = "EXAMPLES\n  kluis person show alice")]
    Show {
        /// The person
        #[arg(value_name = "NAME")]
        name: PersonName,
    },
}

#[derive(Debug, clap::Args)]
struct AddArgs {
    /// The name by which epochs, records and certificates will know them
    #[arg(value_name = "NAME")]
    name: PersonName,
    /// Their OpenPGP certificate: a file with exactly one, or - for standard input
    #[arg(long, value_name = "FILE")]
    pgp: PathBuf,
    /// What they may do about epochs: root, recovery or member
    #[arg(long, value_name = "ROLE", default_value = "member")]
    role: TrustRole,
    #[command(flatten)]
    grant: Grant,
}

#[derive(Debug, clap::Args)]
struct UpdateArgs {
    /// The person
    #[arg(value_name = "NAME")]
    name: PersonName,
    /// Their OpenPGP certificate: a file with exactly one, or - for standard input
    #[arg(long, value_name = "FILE")]
    pgp: Option<PathBuf>,
    /// Why the primary key is another: replaced (if left out), compromised or lost
    #[arg(long, value_name = "REASON", value_parser = former_reason)]
    former_reason: Option<FormerReason>,
    /// What they may do about epochs: root, recovery or member
    #[arg(long, value_name = "ROLE")]
    role: Option<TrustRole>,
    #[command(flatten)]
    grant: Grant,
    /// Take back: keyholder of this cluster (repeatable)
    #[arg(long, value_name = "CLUSTER")]
    no_keyholder: Vec<ClusterName>,
    /// Take back: issuer of this cluster, and the group kluis:admins there (repeatable)
    #[arg(long, value_name = "CLUSTER")]
    no_issuer: Vec<ClusterName>,
    /// Take back: a group that they may ask for (repeatable)
    #[arg(long, value_name = "CLUSTER=GROUP", value_parser = cluster_group)]
    no_group: Vec<(ClusterName, String)>,
}

#[derive(Debug, clap::Args)]
struct Grant {
    /// The cluster's private keys are sealed to them (repeatable)
    #[arg(long, value_name = "CLUSTER")]
    keyholder: Vec<ClusterName>,
    /// They may issue for the cluster, and ask for the group kluis:admins there (repeatable)
    #[arg(long, value_name = "CLUSTER")]
    issuer: Vec<ClusterName>,
    /// A group that they may ask for (repeatable)
    #[arg(long, value_name = "CLUSTER=GROUP", value_parser = cluster_group)]
    group: Vec<(ClusterName, String)>,
}

impl Grant {
    fn parts(&self) -> Parts {
        Parts {
            keyholder: self.keyholder.iter().cloned().collect(),
            issuer: self.issuer.iter().cloned().collect(),
            groups: self.group.iter().cloned().collect(),
        }
    }
}

fn cluster_group(text: &str) -> Result<(ClusterName, String), String> {
    let (cluster, group) = text.split_once('=').ok_or("it looks like prod=developers")?;
    if !check_group(group) {
        return Err(format!(
            "{group:?} is no group that people may have: letters, digits and :._/- up to 128, and never system:"
        ));
    }
    // kubeadm binds kubeadm:cluster-admins to cluster-admin, for admin.conf: who had it would have more than anybody chose
    // to give, and no generation of it could be raised.
    if group.starts_with("kubeadm:") {
        return Err(format!("{group:?} is kubeadm's own, with rights that no manifest of kluis gives or takes back"));
    }
    Ok((ClusterName::parse(cluster).map_err(|error| error.to_string())?, group.to_owned()))
}

fn former_reason(text: &str) -> Result<FormerReason, String> {
    match FormerReason::parse(text) {
        Some(FormerReason::Left) | None => Err("it is replaced, compromised or lost".to_owned()),
        Some(reason) => Ok(reason),
    }
}

fn leaving_reason(text: &str) -> Result<FormerReason, String> {
    FormerReason::parse(text).ok_or_else(|| "it is left, compromised, lost or replaced".to_owned())
}

/// The command's name in reports.
pub fn name(args: &Args) -> String {
    let action = match args.action {
        Action::Add(_) => "add",
        Action::Update(_) => "update",
        Action::Remove { .. } => "remove",
        Action::RevokeKey { .. } => "revoke-key",
        Action::List => "list",
        Action::Show { .. } => "show",
    };
    format!("person {action}")
}

/// Runs the command.
pub fn run(args: &Args, global: &Global, session: &mut Session) -> Result<Answer, Failure> {
    match &args.action {
        Action::Add(add) => {
            global.refuse_at()?;
            let given = Given::read(&add.pgp, session.now)?;
            let drafted = person::add(session, &add.name, &given, add.role, &add.grant.parts())?;
            Ok(answer(drafted))
        }
        Action::Update(update) => {
            global.refuse_at()?;
            let withdraw = Parts {
                keyholder: update.no_keyholder.iter().cloned().collect(),
                issuer: update.no_issuer.iter().cloned().collect(),
                groups: update.no_group.iter().cloned().collect(),
            };
            let grant = update.grant.parts();
            let nothing = update.pgp.is_none() && update.role.is_none() && update.former_reason.is_none();
            if nothing && grant.is_empty() && withdraw.is_empty() {
                let what = "say what changes: --pgp, --role, --keyholder, --issuer, --group or their --no- forms";
                return Err(Failure::usage(what).help(Remedy::Kluis("person update --help".to_owned())));
            }
            let given = update.pgp.as_ref().map(|path| Given::read(path, session.now)).transpose()?;
            let (role, former_reason) = (update.role, update.former_reason);
            let change = Update { given, former_reason, role, grant, withdraw };
            Ok(answer(person::update(session, &update.name, &change)?))
        }
        Action::Remove { name, reason } => {
            global.refuse_at()?;
            let (removed, findings) = leaving::remove(session, name, *reason)?;
            let owed: Vec<Finding> = removed.drafted.written.findings.iter().cloned().chain(findings).collect();
            Ok(Answer::written(removed, &owed))
        }
        Action::RevokeKey { name, key, reason } => {
            global.refuse_at()?;
            let revoked = leaving::revoke_key(session, name, key.as_deref(), reason)?;
            let owed = revoked.written.findings.clone();
            Ok(Answer::written(revoked, &owed))
        }
        Action::List => {
            let repository = session.open_reading(&Gate::Draft)?;
            Ok(Answer::fine(people::list(&repository)?))
        }
        Action::Show { name } => {
            let repository = session.open_reading(&Gate::Draft)?;
            Ok(Answer::fine(people::show(&repository, name)?))
        }
    }
}

fn answer(drafted: Drafted) -> Answer {
    let owed = drafted.written.findings.clone();
    Answer::written(drafted, &owed)
}

impl Report for Drafted {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        change::write_drafted(out, &self.changes, &self.written)
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

/// Writes what somebody can open: what is in use first, since that is what has to be replaced.
fn write_exposures(out: &mut dyn Write, person: &PersonName, exposed: &Exposures) -> io::Result<()> {
    let live: Vec<_> = exposed.live().collect();
    if exposed.secrets.is_empty() {
        return writeln!(out, "\nNothing was ever sealed to {person}.");
    }
    writeln!(out, "\n{person} could open {} secrets, of which {} are in use:", exposed.secrets.len(), live.len())?;
    for secret in &live {
        let since = secret.since.map_or("no record says since when".to_owned(), |since| format!("since {since}"));
        writeln!(out, "  {}  {since}", secret.path)?;
    }
    for secret in &exposed.secrets {
        if let Some(commit) = &secret.unrecorded {
            writeln!(out, "  {}: commit {} has a file that no record names", secret.path, &commit[..12])?;
        }
    }
    writeln!(out, "Sealing them again does not take them back; only new keys do.")
}

impl Report for Removed {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        change::write_drafted(out, &self.drafted.changes, &self.drafted.written)?;
        write_exposures(out, &self.drafted.person, &self.exposed)
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for Revoked {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        let (person, key) = (&self.person, &self.key);
        match (self.drafted, self.written.dry_run) {
            (true, _) => {
                writeln!(out, "Epoch {} is drafted without {key} of {person}.", self.written.epoch.unwrap_or(0))?;
                change::write_missing(out, &self.written)?;
            }
            (false, true) => writeln!(out, "The key {key} of {person} would be revoked.")?,
            (false, false) => writeln!(out, "The key {key} of {person} is revoked, in all clusters.")?,
        }
        if self.signs {
            writeln!(out, "What it signs from here on is void; what was recorded before stays.")?;
        }
        if let Some(exposed) = &self.exposed {
            write_exposures(out, person, exposed)?;
        }
        writeln!(out, "next: push it; then kluis person update {person} --pgp FILE, or")?;
        writeln!(out, "  kluis person remove {person} --reason compromised")
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

impl Report for People {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "epoch {}", self.latest.epoch)?;
        write_table(out, &self.latest.persons)?;
        let Some(draft) = &self.draft else { return Ok(()) };
        writeln!(out, "\ndraft of epoch {}, which does not count yet", draft.listing.epoch)?;
        change::write(out, &draft.changes)?;
        writeln!(out, "  signed: {}; would help: {}", names(&draft.signed), names(&draft.missing))
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

fn names<'a>(people: impl IntoIterator<Item = &'a PersonName>) -> String {
    let names: Vec<&str> = people.into_iter().map(PersonName::as_str).collect();
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

fn write_table(out: &mut dyn Write, persons: &[PersonView]) -> io::Result<()> {
    let width = persons.iter().map(|person| person.name.as_str().len()).max().unwrap_or(0);
    for person in persons {
        writeln!(out, "  {:width$}  {:8}  {}", person.name, person.role, person.cert)?;
        let ends = person.keys.iter().filter_map(|key| key.expires).min();
        if let Some(end) = ends {
            writeln!(out, "  {:width$}  first key expires {end}", "")?;
        }
        for line in parts(person) {
            writeln!(out, "  {:width$}  {line}", "")?;
        }
    }
    Ok(())
}

fn parts(person: &PersonView) -> Vec<String> {
    let list = |clusters: &[ClusterName]| clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    if !person.keyholder.is_empty() {
        lines.push(format!("keyholder of {}", list(&person.keyholder)));
    }
    if !person.issuer.is_empty() {
        lines.push(format!("issuer of {}", list(&person.issuer)));
    }
    for (cluster, groups) in &person.groups {
        let groups = groups.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        lines.push(format!("may ask for {groups} on {cluster}"));
    }
    lines
}

fn write_person(out: &mut dyn Write, person: &PersonView) -> io::Result<()> {
    writeln!(out, "  role  {}", person.role)?;
    writeln!(out, "  cert  {}", person.cert)?;
    for key in &person.keys {
        let uses = [(key.sign, "signs"), (key.encrypt, "sealed to")];
        let uses = uses.iter().filter(|(has, _)| *has).map(|(_, word)| *word).collect::<Vec<_>>().join(", ");
        let end = key.expires.map_or("never expires".to_owned(), |end| format!("until {end}"));
        let algorithm = key.algorithm.as_deref().unwrap_or("unknown");
        writeln!(out, "  key   {}  {uses}", key.fingerprint)?;
        writeln!(out, "        {}, {end}", displayed(algorithm))?;
    }
    parts(person).iter().try_for_each(|line| writeln!(out, "  {line}"))
}

impl Report for Page {
    fn human(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.person)?;
        match &self.latest {
            Some(person) => write_person(out, person)?,
            None => writeln!(out, "  no person of epoch {}", self.epoch)?,
        }
        for user_id in &self.user_ids {
            writeln!(out, "  says  {}", displayed(user_id))?;
        }
        for former in &self.former {
            let (cert, epoch, reason) = (&former.cert, former.epoch, former.reason.as_str());
            writeln!(out, "  had   {cert} before epoch {epoch} ({reason})")?;
        }
        if let Some(person) = self.draft.as_ref().filter(|draft| Some(*draft) != self.latest.as_ref()) {
            writeln!(out, "in the draft, which does not count yet")?;
            write_person(out, person)?;
        }
        if !self.changes.is_empty() {
            change::write(out, &self.changes)?;
        }
        match &self.recipient_of {
            None => writeln!(out, "what is sealed to them: not judged beside a draft"),
            Some(files) if files.is_empty() => writeln!(out, "nothing is sealed to them"),
            Some(files) => {
                writeln!(out, "sealed to them")?;
                files.iter().try_for_each(|path| writeln!(out, "  {path}"))
            }
        }
    }

    fn data(&self) -> Value {
        json!(self)
    }
}

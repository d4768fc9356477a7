//! `kubeconfig`: a context for the acting person in the file that kubectl reads. Gathers what the epoch and the
//! certificate say, finds the file, and opens a key only where it is to stand in it. Merging belongs to `export`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::access::Access;
use super::export::authorities;
use super::failure::Failure;
use super::own_keys;
use super::session::{Actor, Repository, Session};
use crate::disk::{Action, DiskError, OwnFile};
use crate::export::merge::{self, Earlier, LARGEST, Login, MergeError, Merged, merge};
use crate::model::{ClusterName, Keyset, PersonName, Place, Profile, Remedy, Time, check_text, displayed};
use crate::pki::{self, Facts, PrivateKey};
use crate::secret::Secret;

/// The largest file that is read as a private key.
const LARGEST_KEY: u64 = 64 << 10;

/// What kubectl says where kluis is missing.
const HINT: &str = "kluis hands kubectl your certificate and is not on the PATH here: cargo install --locked kluis";

/// Where it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The file that kubectl would write to.
    Default,
    /// This file.
    File(PathBuf),
    /// Nowhere: a kubeconfig of its own is the answer.
    Stdout,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Where it is to be written.
    pub target: Target,
    /// The certificate and its key stand in the file.
    pub inline: bool,
    /// The key lies in this file.
    pub client_key: Option<PathBuf>,
    /// Another name for the context and what belongs to it.
    pub context: Option<String>,
    /// The break-glass certificate.
    pub break_glass: bool,
    /// Whether the context becomes the current one.
    pub switch: bool,
}

/// What was written; `data` of the report.
#[derive(Serialize)]
pub struct KubeconfigReport {
    /// The file, links followed; none where it is the answer.
    pub file: Option<String>,
    /// The context's name.
    pub context: String,
    /// The cluster.
    pub cluster: ClusterName,
    /// The person.
    pub person: PersonName,
    /// `client` or `break-glass`.
    pub profile: Profile,
    /// The URL of the API.
    pub server: String,
    /// How many CA certificates the server's may come from.
    pub authorities: usize,
    /// How kubectl gets the key: `exec`, `inline` or `file`.
    pub key: &'static str,
    /// The last second of the certificate.
    pub not_after: Time,
    /// The context that was current before.
    pub previous_context: Option<String>,
    /// The context that is current now.
    pub current_context: Option<String>,
    /// Whether nothing was opened or written, because of `--dry-run`.
    pub dry_run: bool,
    /// The whole kubeconfig, where it is the answer.
    #[serde(skip)]
    pub content: Option<Secret>,
}

/// Everything that was found out before anything is opened or written.
struct Found<'a> {
    access: Access<'a>,
    facts: &'a Facts,
    certificate: Vec<u8>,
    server: String,
    bundle: Vec<Vec<u8>>,
    earlier: Vec<&'a Facts>,
    /// What kubectl calls this program by.
    program: String,
    /// The names of the entries: context, cluster, user.
    names: (String, String, String),
}

/// Writes it, or hands it out.
pub fn kubeconfig(
    session: &mut Session,
    repository: &Repository,
    cluster: &ClusterName,
    wanted: &Wanted,
) -> Result<KubeconfigReport, Failure> {
    let file = match &wanted.target {
        Target::Stdout => None,
        Target::File(path) => Some(OwnFile::find(path)?),
        Target::Default => Some(OwnFile::find(&default_file()?)?),
    };
    if wanted.inline {
        check_place_of_key(session, file.as_ref())?;
    }
    let profile = if wanted.break_glass { Profile::BreakGlass } else { Profile::Client };
    let (person, mut actor) = who(session, repository, wanted.inline && !session.settings.dry_run)?;
    let found = find(repository, Access { cluster, person: &person, profile }, wanted)?;
    found.access.check_life(found.facts, session.now)?;
    let mut login = login(session, repository, &found, wanted)?;
    // What is wrong with the file is found before a key is opened: no touch or passphrase is for nothing.
    let existing = file.as_ref().map(|file| file.read(LARGEST as u64)).transpose()?.flatten();
    let mut merged = merged(existing, &found, &login, (file.as_ref(), wanted.switch))?;
    let dry_run = session.settings.dry_run;
    if let Some(actor) = actor.as_mut().filter(|_| wanted.inline && !dry_run) {
        let of = (profile, &found.facts.spki_id);
        let key = own_keys::open(session, repository, actor, cluster, of)?.ok_or_else(|| found.access.elsewhere())?;
        login = Login::Inline { certificate: found.certificate.clone(), key: key.to_traditional_pem() };
    }
    if !dry_run {
        merged = match &file {
            None => self::merged(None, &found, &login, (None, true))?,
            Some(file) => write(file, &found, &login, wanted.switch)?,
        };
    }
    session.notes.extend(found.access.ending(found.facts, session.now));
    if matches!(login, Login::Exec { .. }) && !wanted.inline {
        note_pin(session, repository);
    }
    let Merged { content, previous, current } = merged;
    Ok(KubeconfigReport {
        file: file.as_ref().map(|file| file.path().display().to_string()),
        context: found.names.0,
        cluster: cluster.clone(),
        person: person.clone(),
        profile,
        server: found.server,
        authorities: found.bundle.len(),
        key: match &login {
            _ if wanted.inline => "inline",
            Login::KeyFile { .. } => "file",
            _ => "exec",
        },
        not_after: found.facts.not_after,
        previous_context: previous,
        current_context: current,
        dry_run,
        content: if file.is_none() && !dry_run { Some(content) } else { None },
    })
}

fn default_file() -> Result<PathBuf, Failure> {
    let nowhere = || {
        Failure::usage("neither KUBECONFIG nor HOME says where kubectl's file is: say where with --out FILE")
            .help(Remedy::Kluis("kubeconfig --out FILE".to_owned()))
    };
    crate::env::kubeconfig().ok_or_else(nowhere)
}

/// A private key goes neither among files that are committed nor to a screen that nobody asked for.
fn check_place_of_key(session: &Session, file: Option<&OwnFile>) -> Result<(), Failure> {
    let Some(file) = file else {
        if session.terminal.shows_answer() && !session.settings.yes {
            return Err(Failure::usage(
                "the key would be shown on this screen: write it with --out FILE, or repeat with --yes",
            ));
        }
        return Ok(());
    };
    match crate::disk::surrounding_git(file.path())? {
        Some(git) => Err(Failure::usage(format!(
            "{} is inside the git repository {}: a key that is committed is a leaked key; leave --inline out, or write \
             elsewhere",
            file.path().display(),
            git.display()
        ))),
        None => Ok(()),
    }
}

/// Who it is for. Without a key to open, a name that the epoch lists is enough: nothing of theirs is in the file.
fn who(session: &mut Session, repository: &Repository, opens: bool) -> Result<(PersonName, Option<Actor>), Failure> {
    match session.settings.actor.clone() {
        Some(name) if !opens => {
            crate::env::forbid_network();
            if !repository.epoch()?.persons.contains_key(&name) {
                return Err(Failure::usage(format!("the epoch lists no {name}")).help(Remedy::PersonList));
            }
            Ok((name, None))
        }
        _ => {
            let actor = session.actor(&repository.verified)?;
            Ok((actor.name.clone(), Some(actor)))
        }
    }
}

fn find<'a>(repository: &'a Repository, access: Access<'a>, wanted: &Wanted) -> Result<Found<'a>, Failure> {
    let Access { cluster, person, profile } = access;
    let verified = &repository.verified;
    let place = Place::PersonCert(cluster.clone(), person.clone(), profile);
    let facts = verified.current.leaves.get(&place).ok_or_else(|| access.missing())?;
    let of = repository.cluster(cluster)?;
    let bundle = authorities(repository, cluster, Keyset::Kubernetes)?;
    if bundle.is_empty() {
        let what = format!("cluster {cluster} trusts no CA of {}", Keyset::Kubernetes);
        return Err(Failure::refused(what).help(Remedy::Kluis(format!("cluster show {cluster}"))));
    }
    let listed =
        of.keysets.iter().filter(|(keyset, _)| keyset.is_ca()).flat_map(|(_, generations)| generations.values());
    let user =
        if wanted.break_glass { format!("{person}-break-glass@{cluster}") } else { format!("{person}@{cluster}") };
    let names = match &wanted.context {
        Some(name) if name.is_empty() || !check_text(name) => {
            return Err(Failure::usage("a context's name is text without control characters"));
        }
        Some(name) => (name.clone(), name.clone(), name.clone()),
        None => (user.clone(), cluster.to_string(), user),
    };
    Ok(Found {
        access,
        facts,
        certificate: pki::certificate_pem(&pki::parse_pem(
            verified.tree.bytes(&place.to_string()).unwrap_or_default(),
            "CERTIFICATE",
        )?),
        server: of.api.clone(),
        bundle,
        earlier: listed.filter_map(|sha256| verified.authorities.get(sha256)).collect(),
        program: program()?,
        names,
    })
}

/// How kubectl gets the key; for `--inline` what stands for it until it is opened.
fn login(session: &Session, repository: &Repository, found: &Found<'_>, wanted: &Wanted) -> Result<Login, Failure> {
    if let Some(path) = &wanted.client_key {
        let key = key_file(path, found)?;
        return Ok(Login::KeyFile { certificate: found.certificate.clone(), key });
    }
    if own_keys::find(session, &found.facts.spki_id)?.is_none() {
        return Err(found.access.elsewhere());
    }
    let mut args = vec!["-C".to_owned(), text(repository.root())?, "credential".to_owned()];
    args.extend(["-c", found.access.cluster.as_str(), "--as", found.access.person.as_str()].map(str::to_owned));
    if let Some(identity) = &session.settings.identity {
        let absolute = std::path::absolute(identity).map_err(|error| Failure::failed(error.to_string()))?;
        args.extend(["--identity".to_owned(), text(&absolute)?]);
    }
    if wanted.break_glass {
        args.push("--break-glass".to_owned());
    }
    Ok(Login::Exec { command: found.program.clone(), args, hint: HINT.to_owned() })
}

fn program() -> Result<String, Failure> {
    let unknown = || Failure::failed("the system does not say where this program lies").help(Remedy::Doctor);
    text(&crate::env::own_command().ok_or_else(unknown)?)
}

/// A path as a kubeconfig can name it.
fn text(path: &Path) -> Result<String, Failure> {
    let bad = || Failure::usage(format!("{} is no UTF-8, and a kubeconfig is", displayed(&path.display().to_string())));
    path.to_str().map(str::to_owned).ok_or_else(bad)
}

/// The absolute path of a key that lies elsewhere, once it was seen to be that of the certificate.
fn key_file(path: &Path, found: &Found<'_>) -> Result<String, Failure> {
    let place = displayed(&path.display().to_string());
    let missing = || Failure::usage(format!("there is no key at {place}"));
    let pem = OwnFile::find(path)?.read(LARGEST_KEY)?.ok_or_else(missing)?;
    let key = PrivateKey::from_pem(&pem).map_err(|error| Failure::from(error).at(&place))?;
    if key.spki_id() != found.facts.spki_id {
        return Err(Failure::usage(format!("the key at {place} is not that of the certificate")));
    }
    let absolute = std::path::absolute(path).map_err(|error| Failure::failed(error.to_string()))?;
    text(&absolute)
}

fn merged(
    existing: Option<Secret>,
    found: &Found<'_>,
    login: &Login,
    (file, switch): (Option<&OwnFile>, bool),
) -> Result<Merged, Failure> {
    let bundle: Vec<u8> = found.bundle.iter().flat_map(|der| pki::certificate_pem(der)).collect();
    let (context, entry, user) = &found.names;
    let cluster = found.access.cluster;
    let access = merge::Access {
        context,
        cluster: entry,
        user,
        server: &found.server,
        authorities: &bundle,
        login,
        earlier: Earlier {
            cluster: cluster.as_str(),
            person: found.access.person.as_str(),
            program: &found.program,
            authorities: &found.earlier,
        },
    };
    merge(existing.as_ref(), &access, switch).map_err(|error| {
        let place =
            file.map_or_else(String::new, |file| format!("{}: ", displayed(&file.path().display().to_string())));
        let what = format!("{place}{error}");
        match error {
            MergeError::Foreign { .. } => {
                Failure::usage(format!("{what}; give this context and its entries another name"))
                    .help(Remedy::Kluis(format!("kubeconfig -c {cluster} --context NAME")))
            }
            MergeError::Yaml(_) | MergeError::Shape(_) => {
                Failure::failed(what).help(Remedy::Kluis(format!("kubeconfig -c {cluster} --out FILE")))
            }
        }
    })
}

fn write(file: &OwnFile, found: &Found<'_>, login: &Login, switch: bool) -> Result<Merged, Failure> {
    let written = file.change(LARGEST as u64, |existing| {
        let Merged { content, previous, current } = merged(existing, found, login, (Some(file), switch))?;
        Ok::<_, ChangeError>((content, Merged { content: Secret::new(Vec::new()), previous, current }))
    });
    written.map_err(|ChangeError(failure)| failure)
}

/// A failure that knows what kubectl's lock is.
struct ChangeError(Failure);

impl From<Failure> for ChangeError {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<DiskError> for ChangeError {
    fn from(error: DiskError) -> Self {
        match &error {
            DiskError::Io { action: Action::Lock, path, source }
                if source.kind() == std::io::ErrorKind::AlreadyExists =>
            {
                let place = displayed(&path.display().to_string());
                let what =
                    format!("{place} is there: another program is changing the kubeconfig, or was ended while it did");
                Self(Failure::failed(what).help(Remedy::Run(format!("ls -l {place}"))))
            }
            _ => Self(error.into()),
        }
    }
}

/// `credential` runs at kubectl's call, where no line or variable of this run anchors anything.
fn note_pin(session: &mut Session, repository: &Repository) {
    if !repository.pinning.is_pinned() {
        let note = "this machine has no pin for the repository, so `kluis credential` will refuse unless KLUIS_PIN is set \
                    where kubectl runs";
        session.notes.push(format!("{note}: {}", Remedy::TrustPin));
    }
}

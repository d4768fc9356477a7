//! `export`: gathers what a layout draws on from the verified repository, opens exactly that, and writes the files
//! to a folder outside every git work tree. Laying out belongs to `export`, writing to `disk`.

pub mod delivery;
pub mod kubeadm_config;
mod public;
pub mod rbac;
pub mod trust_bundle;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failure::Failure;
use super::own_keys;
use super::secrets;
use super::session::{Actor, Repository, Session};
use super::status::own_break_glass;
use crate::export::{
    self, CaKeys, ClusterMaterial, ExportFile, Exported, Layout, Material, Needed, OfNode, kubeadm, pem,
};
use crate::model::{
    ClusterConfig, ClusterName, Generation, Keyset, Node, NodeName, Place, Profile, Remedy, SealedName, Time,
};
use crate::pki::{self, PrivateKey};
use crate::seal::delivery::Recipient;
use crate::seal::{self, KeyBody, SealedKey};
use crate::secret::Secret;
use crate::trust::current::Vouch;
use crate::trust::owed::SOON;
pub(super) use public::{authorities, bundle, public_cluster, public_material, service_account_public};
use public::{issuing, keysets_of};

/// What was exported; `data` of the report.
#[derive(Serialize)]
pub struct ExportReport {
    /// The layout.
    pub layout: String,
    /// The cluster.
    pub cluster: ClusterName,
    /// Where the files are; none where they are one stream.
    pub dir: Option<PathBuf>,
    /// To whom they are sealed, as people compare keys; empty where they are not.
    pub sealed_to: Vec<String>,
    /// The sealed archive.
    pub sealed: Option<String>,
    /// The archive in the clear.
    #[serde(skip)]
    pub archive: Option<Secret>,
    /// The nodes, or the one keyset.
    pub parts: Vec<Part>,
    /// The sealed files that were opened, by name.
    pub opened: BTreeSet<String>,
    /// Whether CA keys are among them.
    pub ca_keys: bool,
    /// Whether nothing was opened or written, because of `--dry-run`; `opened` is then what would be.
    pub dry_run: bool,
}

/// The files of one node or keyset.
#[derive(Debug, Serialize)]
pub struct Part {
    /// The node's or keyset's name.
    pub name: String,
    /// The files, by path below the part's folder.
    pub files: Vec<Written>,
    /// The part's folder, below `dir`; empty where it is `dir` itself.
    pub folder: String,
    /// What to do with them, in order.
    pub notes: Vec<String>,
}

/// One file.
#[derive(Debug, Serialize)]
pub struct Written {
    /// Its path.
    pub path: String,
    /// Its permission bits, octal.
    pub mode: String,
}

/// What of a cluster is exported.
#[derive(Debug, Clone)]
pub enum Subject {
    /// One node.
    Node(NodeName),
    /// Every node, each in a folder of its name.
    AllNodes,
    /// One keyset, as PEM.
    Keyset(Keyset),
    /// The whole cluster, in one.
    Cluster,
}

/// Where an export goes.
pub enum Target<'a> {
    /// Into this folder, in the clear.
    Folder(&'a Path),
    /// One tar archive, in the clear.
    Archive,
    /// One tar archive, sealed.
    Sealed(&'a delivery::SealTo),
}

/// Everything that one export opens and writes.
pub struct Export<'a> {
    session: &'a mut Session,
    repository: &'a Repository,
    cluster: ClusterName,
    with_ca_keys: bool,
    actor: Option<Actor>,
    opened: BTreeSet<String>,
    /// Keys of keysets that were opened already: `--all-nodes` opens each once.
    kept: BTreeMap<SealedName, Vec<SealedKey>>,
}

impl<'a> Export<'a> {
    /// Prepares an export of `cluster`; opens nothing yet.
    pub fn new(session: &'a mut Session, repository: &'a Repository, cluster: ClusterName, with_ca_keys: bool) -> Self {
        let (opened, kept) = (BTreeSet::new(), BTreeMap::new());
        Self { session, repository, cluster, with_ca_keys, actor: None, opened, kept }
    }

    /// Opens what `layout` needs of `subject`, and hands it to `target`: all or nothing. A folder has it as its whole content.
    pub fn run(mut self, layout: &Layout, subject: &Subject, target: &Target<'_>) -> Result<ExportReport, Failure> {
        // Before any key is asked for: a person's touch or passphrase should not be for nothing.
        layout.check(&self.cluster, self.config()?)?;
        let recipients = match target {
            Target::Folder(dir) => match crate::disk::surrounding_git(dir)? {
                Some(git) => return Err(inside_git(dir, &git)),
                None => Vec::new(),
            },
            Target::Archive => Vec::new(),
            Target::Sealed(to) => delivery::recipients(self.session, &self.cluster, self.config()?, subject, to)?,
        };
        let parts = self.parts(layout, subject)?;
        let ca_keys = self.opened.iter().any(|name| name.starts_with("ca."));
        let mut report = ExportReport {
            layout: layout.name.to_owned(),
            cluster: self.cluster.clone(),
            dir: None,
            sealed_to: recipients.iter().map(Recipient::fingerprint).collect(),
            sealed: None,
            archive: None,
            parts: Vec::new(),
            ca_keys,
            opened: self.opened,
            dry_run: self.session.settings.dry_run,
        };
        let mut files: Vec<(String, ExportFile)> = Vec::new();
        for (name, folder, exported) in parts {
            let exported = exported.unwrap_or(Exported { files: Vec::new(), notes: Vec::new() });
            let listed = exported.files.iter();
            let listed = listed.map(|file| Written { path: file.path.clone(), mode: format!("{:04o}", file.mode) });
            report.parts.push(Part { name, files: listed.collect(), folder: folder.clone(), notes: exported.notes });
            files.extend(exported.files.into_iter().map(|file| (format!("{folder}{}", file.path), file)));
        }
        if let Target::Folder(dir) = target {
            report.dir = Some((*dir).to_owned());
        }
        if report.dry_run {
            return Ok(report);
        }
        if let Target::Folder(dir) = target {
            let files: Vec<_> = files.into_iter().map(|(path, file)| (path, file.mode, file.content)).collect();
            crate::disk::export(dir, &files).map_err(|error| on_disk(error, dir))?;
            return Ok(report);
        }
        let time = u64::try_from(self.session.now.unix()).unwrap_or_default();
        let archive = export::archive(files.iter().map(|(path, file)| (path.clone(), file)), time)?;
        match target {
            Target::Sealed(_) => report.sealed = Some(seal::delivery::seal(&archive, &recipients)?),
            _ => report.archive = Some(archive),
        }
        Ok(report)
    }

    /// The files of each part, with its name and its folder; none on a dry run.
    fn parts(
        &mut self,
        layout: &Layout,
        subject: &Subject,
    ) -> Result<Vec<(String, String, Option<Exported>)>, Failure> {
        Ok(match subject {
            Subject::Keyset(keyset) => vec![(keyset.to_string(), String::new(), self.keyset(layout, *keyset)?)],
            Subject::Cluster => vec![(self.cluster.to_string(), String::new(), self.whole(layout)?)],
            Subject::Node(name) => {
                let of_node = of_nodes(layout)?;
                let node = self.node(name)?;
                self.refuse_ca_keys(layout, of_node, &node)?;
                vec![(name.to_string(), String::new(), self.lay_out(layout, of_node, node)?)]
            }
            Subject::AllNodes => {
                let of_node = of_nodes(layout)?;
                let mut parts = Vec::new();
                for node in self.config()?.nodes.clone() {
                    let name = node.name.to_string();
                    parts.push((name.clone(), format!("{name}/"), self.lay_out(layout, of_node, node)?));
                }
                parts
            }
        })
    }

    fn wants_ca_keys(&self, layout: &Layout) -> bool {
        self.with_ca_keys || layout.ca_keys == CaKeys::Always
    }

    fn config(&self) -> Result<&'a ClusterConfig, Failure> {
        let missing = || Failure::refused(format!("cluster {} has no cluster.toml", self.cluster)).help(Remedy::Verify);
        self.repository.verified.current.configs.get(&self.cluster).ok_or_else(missing)
    }

    fn node(&self, name: &NodeName) -> Result<Node, Failure> {
        let config = self.config()?;
        config.node(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = config.nodes.iter().map(|node| node.name.as_str()).collect();
            let what = format!("cluster {} has no node {name}; there are: {}", self.cluster, known.join(", "));
            Failure::usage(what).help(Remedy::ClusterApply(self.cluster.clone()))
        })
    }

    /// With `--all-nodes` workers just get none; who names a worker and asks for CA keys is mistaken.
    fn refuse_ca_keys(&self, layout: &Layout, of_node: &OfNode, node: &Node) -> Result<(), Failure> {
        let different = (of_node.needs)(node, true) != (of_node.needs)(node, false);
        if self.with_ca_keys && layout.ca_keys == CaKeys::OnRequest && !different {
            let node = node.name.clone();
            return Err(crate::export::ExportError::CaKeysOutOfPlace { node }.into());
        }
        Ok(())
    }

    /// The files of one node; `None` on a dry run.
    fn lay_out(&mut self, layout: &Layout, of_node: &OfNode, node: Node) -> Result<Option<Exported>, Failure> {
        let needed = (of_node.needs)(&node, self.wants_ca_keys(layout));
        // A missing certificate, address or other trouble that needs no key is found before one is asked for.
        let mut material = public_material(self.repository, &self.cluster, node)?;
        self.note_ends(&material.node);
        if self.session.settings.dry_run {
            for need in needed {
                let names = self.sealed_names(Some(&material.node), need);
                self.opened.extend(names.into_iter().map(|name| name.to_string()));
            }
            return Ok(None);
        }
        for need in needed {
            match need {
                Needed::NodeBundle => self.fill_node(&mut material)?,
                need => self.fill(&mut material.cluster, need)?,
            }
        }
        if layout.name == kubeadm::LAYOUT.name && material.node.roles.contains(&crate::model::Role::ControlPlane) {
            material.super_admin = self.super_admin()?;
        }
        Ok(Some((of_node.files)(&material)?))
    }

    /// The files of the whole cluster; `None` on a dry run.
    fn whole(&mut self, layout: &Layout) -> Result<Option<Exported>, Failure> {
        let Some(of_cluster) = &layout.cluster else {
            let what = format!("{} is for nodes: say --node NAME or --all-nodes", layout.name);
            return Err(Failure::usage(what).help(Remedy::Kluis("export --help".to_owned())));
        };
        let keysets = keysets_of(self.repository, &self.cluster)?;
        let needed = (of_cluster.needs)(&keysets, self.wants_ca_keys(layout));
        let material = self.cluster_material(needed)?;
        material.map(|material| Ok((of_cluster.files)(&material)?)).transpose()
    }

    /// The cluster's material with what is needed; `None` on a dry run.
    fn cluster_material(&mut self, needed: Vec<Needed>) -> Result<Option<ClusterMaterial>, Failure> {
        let mut material = public_cluster(self.repository, &self.cluster)?;
        if self.session.settings.dry_run {
            for need in needed {
                let names = self.sealed_names(None, need);
                self.opened.extend(names.into_iter().map(|name| name.to_string()));
            }
            return Ok(None);
        }
        for need in needed {
            self.fill(&mut material, need)?;
        }
        Ok(Some(material))
    }

    /// Says which certificates of a node have ended or end soon: whoever installs them should know it before the API
    /// server does.
    fn note_ends(&mut self, node: &Node) {
        let soon = self.session.now.plus(SOON);
        let leaves = self.repository.verified.current.leaves.iter();
        let mut ends: Vec<(Time, &str)> = leaves
            .filter_map(|(place, facts)| match place {
                Place::NodeCert(cluster, owner, profile) if *cluster == self.cluster && *owner == node.name => {
                    Some((facts.not_after, profile.as_str()))
                }
                _ => None,
            })
            .filter(|(end, _)| *end <= soon)
            .collect();
        ends.sort();
        let Some((first, profile)) = ends.first() else { return };
        let ended = ends.iter().filter(|(end, _)| *end <= self.session.now).count();
        let fix = Remedy::CertIssue(self.cluster.clone(), node.name.clone());
        self.session.notes.push(format!(
            "{ended} certificates of {} have ended, and {} end within 30 days, {profile} first, {first}: {fix}",
            node.name,
            ends.len() - ended
        ));
    }

    fn bytes(&self, place: &Place) -> &'a [u8] {
        self.repository.verified.tree.bytes(&place.to_string()).unwrap_or_default()
    }

    fn issuing(&self, keyset: Keyset) -> Option<Generation> {
        issuing(self.repository, &self.cluster, keyset)
    }

    fn bundle(&self, keyset: Keyset) -> Vec<Generation> {
        bundle(self.repository, &self.cluster, keyset)
    }

    /// The sealed files behind a need. A keyset that the cluster does not have has none.
    fn sealed_names(&self, node: Option<&Node>, need: Needed) -> Vec<SealedName> {
        match need {
            Needed::NodeBundle => node.map(|node| SealedName::Node(node.name.clone())).into_iter().collect(),
            Needed::Issuing(keyset) => {
                self.issuing(keyset).map(|generation| SealedName::Keyset(keyset, generation)).into_iter().collect()
            }
            Needed::Bundle(keyset) => {
                self.bundle(keyset).into_iter().map(|generation| SealedName::Keyset(keyset, generation)).collect()
            }
        }
    }

    /// Opens the node's bundle and puts its keys into the material.
    fn fill_node(&mut self, material: &mut Material) -> Result<(), Failure> {
        let name = SealedName::Node(material.node.name.clone());
        let place = Place::Sealed(self.cluster.clone(), name.clone());
        let sealed = self.repository.verified.current.paths.get(&place);
        if !sealed.is_some_and(|vouched| matches!(vouched.vouch, Vouch::Sealed(_))) {
            if !material.kept.is_empty() {
                return Ok(()); // all of its keys stay on the node
            }
            let what = format!("node {} of cluster {} has no keys yet", material.node.name, self.cluster);
            return Err(Failure::refused(what).help(Remedy::ClusterApply(self.cluster.clone())));
        }
        for key in self.keys(&name)? {
            if let Some(profile) = Profile::parse(&key.name) {
                material.keys.insert(profile, private(key)?);
            }
        }
        Ok(())
    }

    /// Opens what is needed of keysets and puts it into the material.
    fn fill(&mut self, material: &mut ClusterMaterial, need: Needed) -> Result<(), Failure> {
        for name in self.sealed_names(None, need) {
            let SealedName::Keyset(keyset, generation) = &name else { continue };
            for key in self.keys(&name)? {
                match (keyset, key.body()) {
                    (Keyset::Encryption, KeyBody::Symmetric { bytes, .. }) => {
                        material.encryption.push((*generation, Secret::new(bytes.expose().to_vec())));
                    }
                    (Keyset::Tokens, KeyBody::Symmetric { bytes, .. }) => {
                        material.tokens.insert(key.name.clone(), Secret::new(bytes.expose().to_vec()));
                    }
                    (Keyset::ServiceAccount, KeyBody::Pkcs8(_)) => {
                        let mut generations = material.service_account.iter_mut();
                        if let Some(one) = generations.find(|one| one.generation == *generation) {
                            one.key = Some(private(key)?);
                        }
                    }
                    (keyset, KeyBody::Pkcs8(_)) => {
                        let mut generations = material.authorities.get_mut(keyset).into_iter().flatten();
                        if let Some(one) = generations.find(|one| one.generation == *generation) {
                            one.key = Some(private(key)?);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The keys in a sealed file, opened once.
    fn keys(&mut self, name: &SealedName) -> Result<&[SealedKey], Failure> {
        if !self.kept.contains_key(name) {
            let place = Place::Sealed(self.cluster.clone(), name.clone());
            let repository = self.repository;
            let keys = secrets::open(repository, self.actor()?, &place)?;
            self.opened.insert(name.to_string());
            self.kept.insert(name.clone(), keys);
        }
        Ok(self.kept.get(name).map_or(&[][..], Vec::as_slice))
    }

    fn actor(&mut self) -> Result<&mut Actor, Failure> {
        let actor = match self.actor.take() {
            Some(actor) => actor,
            None => self.session.actor(&self.repository.verified)?,
        };
        Ok(self.actor.insert(actor))
    }

    /// The exporter's own live break-glass certificate with its key, if both are there. The first `kubeadm init`
    /// wants a super-admin.conf; a nameless one is never made (DESIGN 5).
    fn super_admin(&mut self) -> Result<Option<(Vec<u8>, PrivateKey)>, Failure> {
        let (repository, cluster) = (self.repository, self.cluster.clone());
        let person = self.actor()?.name.clone();
        let Some((place, facts)) = own_break_glass(&repository.verified, &cluster, &person, self.session.now) else {
            return Ok(None);
        };
        let wanted = (Profile::BreakGlass, &facts.spki_id);
        let Some(actor) = &mut self.actor else { return Ok(None) };
        match own_keys::open(self.session, repository, actor, &cluster, wanted)? {
            Some(key) => Ok(Some((pki::parse_pem(self.bytes(&place), "CERTIFICATE")?, key))),
            None => {
                self.session.notes.push(format!(
                    "your break-glass certificate lives until {}, but its key is not on this machine, so \
                     super-admin.conf is not filled with it",
                    facts.not_after
                ));
                Ok(None)
            }
        }
    }

    /// One keyset of the whole cluster; its private key only with `--with-ca-keys`.
    fn keyset(&mut self, layout: &Layout, keyset: Keyset) -> Result<Option<Exported>, Failure> {
        if layout.name != pem::LAYOUT.name {
            return Err(Failure::usage(format!("--keyset is for the layout pem; {} is for nodes", layout.name)));
        }
        if !self.repository.cluster(&self.cluster)?.keysets.contains_key(&keyset) && !keyset.is_symmetric() {
            let what = format!("cluster {} has no keyset {keyset}", self.cluster);
            return Err(Failure::usage(what).help(Remedy::Kluis(format!("cluster show {}", self.cluster))));
        }
        let wanted = self.with_ca_keys && !keyset.is_symmetric();
        let needed = wanted.then_some(Needed::Issuing(keyset)).into_iter().collect();
        let material = self.cluster_material(needed)?;
        material.map(|material| Ok(pem::keyset(&material, keyset)?)).transpose()
    }
}

/// How a layout lays out nodes; refuses one that lays out whole clusters alone.
fn of_nodes(layout: &Layout) -> Result<&OfNode, Failure> {
    layout.node.as_ref().ok_or_else(|| {
        let what = format!("{} is the files of a whole cluster: leave --node and --all-nodes out", layout.name);
        Failure::usage(what).help(Remedy::Kluis("export --help".to_owned()))
    })
}

/// The private key of an asymmetric secret.
fn private(key: &SealedKey) -> Result<PrivateKey, Failure> {
    match key.body() {
        KeyBody::Pkcs8(der) => Ok(PrivateKey::from_pkcs8(der)?),
        KeyBody::Symmetric { .. } => Err(Failure::refused(format!("{} is no private key", key.name))),
    }
}

fn inside_git(dir: &Path, git: &Path) -> Failure {
    Failure::usage(format!(
        "{} is inside the git repository {}: an exported key that is committed is a leaked key; export elsewhere",
        dir.display(),
        git.display()
    ))
}

/// What the person can mend by another `--out` is their call's fault; the rest is the disk's.
fn on_disk(error: crate::disk::DiskError, dir: &Path) -> Failure {
    use crate::disk::DiskError;
    match error {
        DiskError::InsideGit { git, .. } => inside_git(dir, &git),
        DiskError::ForeignFile { path } => Failure::usage(format!(
            "{} is not of this export, so {} is left alone; export to a new or empty folder",
            path.display(),
            dir.display()
        )),
        other => other.into(),
    }
}

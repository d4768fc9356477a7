//! Finding files: those that are named, standard input, and folders, in which known layouts become places of their own.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::super::failure::Failure;
use super::reading::Parsed;
use crate::disk::{Folder, Kind, Reading};
use crate::lint::{File, Layout, Scene, What};
use crate::model::{Cidr, Host, KubernetesVersion, Time, displayed};
use crate::secret::Secret;

/// The largest file that is read: 10,000 certificates are a quarter of it.
const LARGEST: u64 = 64 << 20;

/// The largest sum of files in one folder that is named.
const LARGEST_SUM: u64 = 512 << 20;

/// How many folders below the one that was named are looked into.
const DEEPEST: usize = 16;

/// Endings of files that are looked at in a folder.
const ENDINGS: &[&str] =
    &["crt", "cert", "cer", "pem", "der", "key", "pub", "conf", "kubeconfig", "yaml", "yml", "json"];

/// Endings of files in a folder that must have something in them.
const MUST_HOLD: &[&str] = &["crt", "cert", "cer", "pem", "der", "key", "pub"];

/// The places of what is named: each layout in a folder, each folder's other files, and all files that are named singly.
pub(super) fn scenes(paths: &[PathBuf], now: Time) -> Result<Vec<Scene>, Failure> {
    let mut scenes = Vec::new();
    let mut single = Scene::new(".", None, now);
    for path in paths {
        if path.as_os_str() == "-" {
            let bytes = read_all(&mut crate::env::input(), "stdin")?;
            take_named(&mut single, "stdin", None, &bytes);
        } else if path.is_dir() {
            let mut walk = Walk::default();
            walk.enter(&Folder::open(path)?, "", 0).map_err(|failure| failure.at(&shown(path)))?;
            scenes.extend(walk.scenes(&shown(path), now));
        } else {
            let name = shown(path);
            let mut stream = crate::disk::stream(path).map_err(|error| Failure::usage(error.to_string()))?;
            let mode = stream.mode();
            let mut bytes = vec![0; usize::try_from(stream.size().unwrap_or(0).min(LARGEST)).unwrap_or(0) + 1];
            let mut length = 0;
            loop {
                match stream.read(&mut bytes[length..])? {
                    0 => break,
                    read => length += read,
                }
                if length == bytes.len() {
                    check_size(length as u64, &name)?;
                    bytes.resize(2 * length, 0);
                }
            }
            bytes.truncate(length);
            take_named(&mut single, &name, mode, &Secret::new(bytes));
        }
    }
    // One place without files is the answer to a folder in which there is nothing.
    if !single.files.is_empty() || scenes.is_empty() {
        scenes.push(single);
    }
    Ok(scenes)
}

fn shown(path: &Path) -> String {
    displayed(path.display().to_string().trim_end_matches('/'))
}

fn check_size(length: u64, name: &str) -> Result<(), Failure> {
    if length <= LARGEST {
        return Ok(());
    }
    Err(Failure::usage(format!("{name} is larger than {} MiB", LARGEST >> 20)))
}

fn read_all(input: &mut dyn std::io::Read, name: &str) -> Result<Secret, Failure> {
    let mut bytes = Vec::new();
    let read = input.take(LARGEST + 1).read_to_end(&mut bytes);
    let bytes = read.map(|_| Secret::new(bytes)).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    check_size(bytes.len() as u64, name)?;
    Ok(bytes)
}

/// A file that a person named has to have something in it.
fn take_named(scene: &mut Scene, name: &str, mode: Option<u32>, bytes: &Secret) {
    let mut file = File { mode, ..File::new(name, name, What::Other) };
    match Parsed::of(bytes) {
        Parsed::Nothing | Parsed::Manifest(_) => {
            file.unreadable.push("it has no certificate, key, kubeconfig or EncryptionConfiguration".to_owned());
            scene.files.push(file);
        }
        parsed => parsed.place(scene, file),
    }
}

/// A walk through a folder.
#[derive(Default)]
struct Walk {
    files: Vec<(String, Option<u32>, Parsed)>,
    layouts: Vec<(String, Layout)>,
    /// Files and folders that were not read: those too large, and those that the system refuses to open (`None`).
    unread: Vec<(String, Option<String>)>,
    sum: u64,
}

impl Walk {
    /// Reads the folder at `below`. No link is followed: what a kubelet's points to lies beside it.
    fn enter(&mut self, folder: &Folder, below: &str, depth: usize) -> Result<(), Failure> {
        let entries = folder.names()?;
        let names: Vec<&str> = entries.iter().filter_map(|(name, _)| name.to_str()).collect();
        self.layouts.extend(Layout::of_folder(&names).map(|layout| (below.to_owned(), layout)));
        for (name, kind) in &entries {
            let path = joined(below, &displayed(&name.to_string_lossy()));
            match kind {
                Kind::Folder if depth < DEEPEST && name != ".git" => match folder.sub(name) {
                    Ok(folder) => self.enter(&folder, &path, depth + 1)?,
                    Err(error) if error.is_denied() => self.unread.push((path, None)),
                    Err(error) => return Err(error.into()),
                },
                Kind::File if has_ending(&path, ENDINGS) => self.read(folder, name, path)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read(&mut self, folder: &Folder, name: &OsStr, path: String) -> Result<(), Failure> {
        match folder.read(name, LARGEST) {
            Ok(Reading::File { bytes, .. }) => {
                self.sum += bytes.len() as u64;
                if self.sum > LARGEST_SUM {
                    return Err(Failure::usage(format!("its files are more than {} MiB", LARGEST_SUM >> 20)));
                }
                let parsed = Parsed::of(&Secret::new(bytes));
                let facts = if parsed.has_key() { folder.facts(name)? } else { None };
                self.files.push((path, facts.map(|facts| facts.mode), parsed));
                Ok(())
            }
            Ok(Reading::TooLarge(_)) => {
                self.unread.push((path, Some(format!("it is larger than {} MiB", LARGEST >> 20))));
                Ok(())
            }
            Ok(Reading::NotRegular(_)) => Ok(()),
            Err(error) if error.is_denied() => {
                self.unread.push((path, None));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn scenes(self, root: &str, now: Time) -> Vec<Scene> {
        let mut scenes: Vec<(String, String, Scene)> = Vec::new();
        for (pki, layout) in &self.layouts {
            // kubeadm's other files lie beside pki/.
            let base = match (layout, pki.rsplit_once('/')) {
                (Layout::Kubeadm, Some((above, "pki"))) => above,
                (Layout::Kubeadm, None) if pki == "pki" => "",
                _ => pki,
            };
            let scene = Scene::new(joined_root(root, base), Some(*layout), now);
            scenes.push((pki.clone(), base.to_owned(), scene));
        }
        scenes.push((String::new(), String::new(), Scene::new(root, None, now)));
        // Kubeconfigs last: the CA certificates in them are said of the files that have them first.
        let mut files = self.files;
        files.sort_by_key(|(path, ..)| has_ending(path, &["conf", "kubeconfig", "yaml", "yml", "json"]));
        for (path, mode, parsed) in files {
            let (scene, place) = owner(&mut scenes, &path);
            let what = scene.layout.map_or(What::Other, |layout| What::at(layout, place));
            take_found(scene, File { mode, ..File::new(joined_root(root, &path), place, what) }, parsed);
        }
        for (path, why) in self.unread {
            let (scene, place) = owner(&mut scenes, &path);
            let file = File::new(joined_root(root, &path), place, What::Other);
            scene.files.push(File { denied: why.is_none(), unreadable: why.into_iter().collect(), ..file });
        }
        scenes.into_iter().map(|(.., scene)| scene).filter(|scene| !scene.files.is_empty()).collect()
    }
}

/// The place that the file at `path` belongs to, and its path in there: the nearest layout above it, else the last place.
fn owner<'a, 'b>(scenes: &'a mut [(String, String, Scene)], path: &'b str) -> (&'a mut Scene, &'b str) {
    let above =
        scenes.iter().enumerate().filter(|(_, (_, base, scene))| scene.layout.is_some() && below(path, base).is_some());
    let nearest = above.max_by_key(|(_, (_, base, _))| base.len()).map(|(index, _)| index);
    let index = nearest.unwrap_or(scenes.len() - 1);
    let (pki, base, scene) = &mut scenes[index];
    (scene, below(path, pki).or_else(|| below(path, base)).unwrap_or(path))
}

fn take_found(scene: &mut Scene, mut file: File, parsed: Parsed) {
    match parsed {
        Parsed::Manifest(text) if file.place == "manifests/kube-apiserver.yaml" => learn(scene, &text),
        Parsed::Nothing if has_ending(&file.path, MUST_HOLD) => {
            file.unreadable.push("it has no certificate and no key".to_owned());
            scene.files.push(file);
        }
        parsed => parsed.place(scene, file),
    }
}

/// Takes what the flags of an API server say of its cluster.
fn learn(scene: &mut Scene, manifest: &str) {
    let known = &mut scene.known;
    for line in manifest.lines().map(|line| line.trim().trim_start_matches("- ")) {
        let Some((flag, value)) = line.split_once(['=', ':']) else { continue };
        match flag {
            "--advertise-address" => known.advertised.extend(Host::parse(value)),
            "--service-cluster-ip-range" => {
                let ranges = value.split(',').filter_map(|range| Cidr::parse(range).ok());
                known.service_addresses = ranges.map(Cidr::first).collect();
            }
            "--requestheader-allowed-names" => {
                known.proxy_names = value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
            }
            "image" => {
                let tag = value.rsplit_once(":v").and_then(|(_, tag)| KubernetesVersion::parse(tag.split('@').next()?));
                known.minor = tag.map(|version| version.minor);
            }
            _ => {}
        }
    }
}

fn has_ending(path: &str, endings: &[&str]) -> bool {
    path.rsplit_once('.').is_some_and(|(_, ending)| endings.contains(&ending))
}

/// `path` without the folder `base` that it is below.
fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    if base.is_empty() { Some(path) } else { path.strip_prefix(base)?.strip_prefix('/') }
}

fn joined(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") }
}

fn joined_root(root: &str, path: &str) -> String {
    match path {
        "" => root.to_owned(),
        path if root == "." => path.to_owned(),
        path => format!("{root}/{path}"),
    }
}

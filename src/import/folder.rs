//! Folders of kubeadm, k3s, RKE2 and k0s: each file by its place in the layout (kubernetes-pki A.1, A.2, B.1, B.2).

use super::part::{Parts, Use};
use super::{File, Files, ImportError, Source, surroundings};
use crate::lint::{Layout, Role, What};
use crate::model::{Distribution, Profile};

/// A layout, and the folder in which its CA files lie.
pub(super) struct Found {
    layout: Layout,
    base: String,
}

/// The layout of what was read. Fails where there are two, and where it is another distribution's than was said.
pub(super) fn layout(files: &Files, distribution: Distribution) -> Result<Option<Found>, ImportError> {
    let mut bases: Vec<(&str, Vec<&str>)> = Vec::new();
    let all = files.files.iter().map(|file| file.path.as_str()).chain(files.others.iter().map(|one| one.0.as_str()));
    for path in all {
        let (base, name) = path.rsplit_once('/').unwrap_or(("", path));
        match bases.iter_mut().find(|(known, _)| *known == base) {
            Some((_, names)) => names.push(name),
            None => bases.push((base, vec![name])),
        }
    }
    let mut found = Vec::new();
    for (base, names) in &bases {
        // Its names would be those of a kubeadm folder, too.
        let is_etcd = *base == "etcd" || base.ends_with("/etcd");
        let layout = Layout::of_folder(names).or_else(|| by_keys(names)).filter(|_| !is_etcd);
        found.extend(layout.map(|layout| (*base, layout)));
    }
    let (base, layout) = match found.as_slice() {
        [] => return Ok(None),
        [one] => *one,
        [(one, _), (other, _), ..] => {
            let why = format!("there is another such folder, {other}: name one of the two");
            return Err(ImportError::item(one, why));
        }
    };
    let layout = match (layout, distribution) {
        (Layout::Kubeadm | Layout::K0s, Distribution::K0s) => Layout::K0s,
        (Layout::Kubeadm, Distribution::Kubeadm | Distribution::Talos) => Layout::Kubeadm,
        (Layout::K3s, Distribution::K3s | Distribution::Rke2) => Layout::K3s,
        (found, _) => {
            let why =
                format!("its files are those of {}: say --distribution {}", found.distribution(), found.distribution());
            return Err(ImportError::item(if base.is_empty() { "." } else { base }, why));
        }
    };
    Ok(Some(Found { layout, base: base.to_owned() }))
}

/// A folder with nothing but CAs and their keys, as tools stage it.
fn by_keys(names: &[&str]) -> Option<Layout> {
    let has = |name: &str| names.contains(&name);
    match () {
        () if has("server-ca.crt") && has("service.key") => Some(Layout::K3s),
        () if has("ca.crt") && (has("sa.key") || has("front-proxy-ca.key")) => Some(Layout::Kubeadm),
        () => None,
    }
}

/// The parts of a folder.
pub(super) fn parts(files: Files, found: &Found) -> Result<Parts, ImportError> {
    let mut parts = Parts::new(match found.layout {
        Layout::K3s => Source::K3s,
        Layout::K0s => Source::K0s,
        _ => Source::Kubeadm,
    });
    for (path, what) in files.others {
        let place = place(&path, &found.base);
        let is_folder = matches!(place.rsplit('/').next(), Some("etcd" | "pki"));
        if is_folder || usage(found.layout, &place).is_some() {
            let why = format!(
                "it is {what}, and no link is followed out of a folder; hand over what links point to: tar -ch . | kluis \
                 cluster import NAME --from - …"
            );
            return Err(ImportError::item(&path, why));
        }
        parts.left(path, format!("it is {what}"));
    }
    for file in files.files {
        take(&mut parts, found, file)?;
    }
    Ok(parts)
}

/// The path in the layout: below its folder, or beside it.
fn place(path: &str, base: &str) -> String {
    let below = |base: &str| path.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned);
    if base.is_empty() {
        return path.to_owned();
    }
    let above = base.rsplit_once('/').map(|(above, _)| above);
    below(base).or_else(|| above.and_then(below)).unwrap_or_else(|| path.to_owned())
}

/// What a file is for.
fn usage(layout: Layout, place: &str) -> Option<Use> {
    match What::at(layout, place) {
        What::Bundle(keyset) => Some(Use::Authority(keyset)),
        What::Signing(keyset) => Some(Use::Signing(keyset)),
        What::AuthorityKey(keyset) => Some(Use::AuthorityKey(keyset)),
        What::ServiceAccountKey => Some(Use::ServiceAccountKey),
        What::ServiceAccountPublic => Some(Use::ServiceAccountPublic),
        What::Leaf(Role::Leaf(profile)) if place.ends_with(".crt") => Some(Use::Leaf(profile)),
        _ => match place.strip_suffix(".key").map(|stem| What::at(layout, &format!("{stem}.crt"))) {
            Some(What::Leaf(Role::Leaf(profile))) => Some(Use::LeafKey(profile)),
            _ => None,
        },
    }
}

fn take(parts: &mut Parts, found: &Found, file: File) -> Result<(), ImportError> {
    let place = place(&file.path, &found.base);
    // kubelet.crt lies in kubelet/ of an export and in pki/ of a kubelet.
    let kubelet = match place.rsplit('/').next() {
        Some("kubelet.crt") => Some(Use::Leaf(Profile::KubeletServing)),
        Some("kubelet.key") => Some(Use::LeafKey(Profile::KubeletServing)),
        _ => None,
    };
    let is_kubeadm = found.layout == Layout::Kubeadm;
    match (usage(found.layout, &place).or(kubelet), place.as_str()) {
        (Some(Use::Signing(_)), _) if found.layout == Layout::K3s => {
            parts.left(file.path, "k3s writes it at each start: the first certificate of the file without .nochain");
        }
        // Distributions that make their leaves at each start make them again.
        (Some(Use::Leaf(_) | Use::LeafKey(_)), _) if !is_kubeadm => {
            parts.left(file.path, format!("{} makes it itself", parts.source.tool()));
        }
        (Some(usage), _) => parts.file(file, usage),
        (None, "service.current.key") => {
            parts.left(file.path, "k3s writes it at each start: the first key of service.key");
        }
        (None, "token" | "../token") => surroundings::k3s_token(parts, file)?,
        (None, "agent-token" | "../agent-token") => surroundings::k3s_agent_token(parts, file)?,
        (None, "node-token" | "../node-token") => parts.left(file.path, "the same as token"),
        (None, "manifests/kube-apiserver.yaml") => surroundings::manifest(parts, file),
        (None, "super-admin.conf") => parts.left(
            file.path,
            "system:masters in nobody's name, which no binding takes back; kluis issues break-glass to persons, for hours",
        ),
        (None, place) if is_conf(found.layout, place) => surroundings::kubeconfig(parts, file, place)?,
        (None, _) if surroundings::is_encryption(&file) => parts.file(file, Use::EncryptionConfig),
        (None, _) => parts.left(file.path, "no file of an authority, key or kubeconfig that is known"),
    }
    Ok(())
}

fn is_conf(layout: Layout, place: &str) -> bool {
    place.ends_with(".conf") && matches!(What::at(layout, place), What::Leaf(_))
}

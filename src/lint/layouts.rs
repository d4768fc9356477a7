//! Rules on which files a node has, and in what order: LY001 to LY005, RT002.

use super::authorities::COMPONENTS;
use super::recognise::{Layout, What};
use super::subject::{File, Role, Scene};
use super::{Check, Hit, Hits, Rule, hit, when};
use crate::model::{Keyset, Level, Profile};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "LY001",
        title: "control-plane nodes that differ in what they have to share",
        why: "what one of them issues or signs the others refuse: errors at random",
        source: "kubeadm, --upload-certs: ca, front-proxy-ca, sa and etcd/ca",
        remedy: "export all nodes anew from one phase",
        severity: Level::Error,
        imported: None,
        check: Check::Scenes(different_nodes),
    },
    Rule {
        id: "LY002",
        title: "a file that the distribution needs is missing",
        why: "a component does not start",
        source: "kubeadm, phases/certs and phases/kubeconfig; k0s and k3s, certificates",
        remedy: "export the node anew, or let the distribution make the file",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(missing_files),
    },
    Rule {
        id: "LY003",
        title: "CAs for k3s without those of etcd",
        why: "k3s demands them, also with an external database",
        source: "k3s, certificate: using custom CA certificates",
        remedy: "put etcd/server-ca and etcd/peer-ca beside the others",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(|scene, hits| {
            for keyset in [Keyset::Etcd, Keyset::EtcdPeer] {
                if scene.layout == Some(Layout::K3s) && scene.find(What::Bundle(keyset)).is_none() {
                    let name = if keyset == Keyset::Etcd { "etcd/server-ca.crt" } else { "etcd/peer-ca.crt" };
                    hits.missing(name, hit("k3s needs this CA, and it is not there"));
                }
            }
        }),
    },
    Rule {
        id: "LY004",
        title: "a CA key on a node of a cluster that has its CAs elsewhere",
        why: "the node can issue, which is what an external CA is there to prevent",
        source: "Kubernetes, certificate management with kubeadm: external CA mode",
        remedy: "take the key off the node, and treat it as known there",
        severity: Level::Error,
        imported: None,
        check: Check::File(|file, scene| {
            let key = matches!(file.what, What::AuthorityKey(_)) && !file.keys.is_empty();
            when(scene.known.external_ca && key, "the CAs are meant to be elsewhere, and this is the key of one")
        }),
    },
    Rule {
        id: "LY005",
        title: "external CAs without a super-admin.conf",
        why: "kubeadm init wants the file in every phase since 1.29, and can't make it without a CA key",
        source: "kubeadm 1.29, phases/kubeconfig",
        remedy: "kluis export kubeadm fills it with a break-glass certificate that lives for hours",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(|scene, hits| {
            let new = scene.known.minor.is_none_or(|minor| minor >= 29);
            let is_control_plane = scene.layout == Some(Layout::Kubeadm) && scene.find(APISERVER).is_some();
            if scene.known.external_ca && new && is_control_plane && scene.find(What::Leaf(Role::SuperAdmin)).is_none()
            {
                hits.missing("super-admin.conf", hit("kubeadm needs it, and can't make it without a CA key"));
            }
        }),
    },
    Rule {
        id: "RT002",
        title: "a bundle in which the CA that issues is not the first",
        why: "kubeadm and k3s take the first one for the one that issues",
        source: "kubeadm, pkiutil.TryLoadCertFromDisk; k3s, nochain certificates",
        remedy: "put the CA that issues first, on every node",
        severity: Level::Attention,
        imported: None,
        check: Check::File(not_first),
    },
];

const APISERVER: What = What::Leaf(Role::Leaf(Profile::Apiserver));

/// What a node has to have in common with the others, as octets that can be compared.
fn shared(scene: &Scene, what: What) -> Option<Vec<&[u8]>> {
    let file = scene.find(what)?;
    let certificates = scene.of(file).iter().map(|one| one.seen.der.as_slice());
    Some(certificates.chain(file.public_keys.iter().map(Vec::as_slice)).collect())
}

fn different_nodes(scenes: &[Scene], nodes: bool, hits: &mut Hits) {
    if !nodes {
        return;
    }
    let all = [
        What::Bundle(Keyset::Kubernetes),
        What::Bundle(Keyset::FrontProxy),
        What::Bundle(Keyset::Etcd),
        What::ServiceAccountPublic,
    ];
    for what in all {
        let mut first: Option<(usize, Vec<&[u8]>)> = None;
        for (index, scene) in scenes.iter().enumerate() {
            let Some(own) = shared(scene, what) else { continue };
            match &first {
                None => first = Some((index, own)),
                Some((other, wanted)) if *wanted != own => {
                    let file = scene.files.iter().position(|file| file.what == what).unwrap_or_default();
                    hits.scene = index;
                    hits.file(file, hit(format!("it differs from that of {}", scenes[*other].root)));
                }
                Some(_) => {}
            }
        }
    }
}

/// Files of a kubeadm control plane; those of etcd where it is on the node.
const CONTROL_PLANE: &[&str] = &[
    "apiserver.crt",
    "apiserver.key",
    "apiserver-kubelet-client.crt",
    "apiserver-kubelet-client.key",
    "front-proxy-ca.crt",
    "front-proxy-client.crt",
    "front-proxy-client.key",
    "sa.key",
    "sa.pub",
];
const ETCD: &[&str] = &[
    "apiserver-etcd-client.crt",
    "apiserver-etcd-client.key",
    "etcd/server.crt",
    "etcd/server.key",
    "etcd/peer.crt",
    "etcd/peer.key",
];
const KUBECONFIGS: &[&str] = &["admin.conf", "controller-manager.conf", "scheduler.conf"];

fn missing_files(scene: &Scene, hits: &mut Hits) {
    let has = |place: &str| scene.files.iter().any(|file| file.place == place);
    // A worker has a CA certificate and a kubelet.conf, and nothing of these.
    let is_control_plane = CONTROL_PLANE.iter().any(|place| has(place) && *place != "front-proxy-ca.crt");
    let lists: &[(&[&str], bool)] = match scene.layout {
        Some(Layout::Kubeadm) => &[
            (CONTROL_PLANE, is_control_plane),
            (ETCD, has("etcd/ca.crt")),
            (KUBECONFIGS, is_control_plane && KUBECONFIGS.iter().any(|place| has(place))),
        ],
        Some(Layout::K0s) => &[(&["server.crt", "server.key", "sa.key", "sa.pub", "front-proxy-ca.crt"], true)],
        Some(Layout::K3s) => &[(&["client-ca.crt", "server-ca.crt", "request-header-ca.crt", "service.key"], true)],
        _ => &[],
    };
    for place in lists.iter().filter(|(_, needed)| *needed).flat_map(|(list, _)| *list) {
        if !has(place) {
            hits.missing(*place, hit("it is needed, and is not there"));
        }
    }
}

fn not_first(file: &File, scene: &Scene) -> Option<Hit> {
    let What::Bundle(keyset) = file.what else { return None };
    let [first, _, ..] = scene.of(file) else { return None };
    let of_keyset = |role: Role| match role {
        Role::Leaf(profile) => COMPONENTS.contains(&profile) && scene.keyset_of(profile) == keyset,
        _ => false,
    };
    let leaves = scene.certificates.iter().filter(|one| of_keyset(one.role));
    let newest = leaves.max_by_key(|one| one.seen.not_before)?;
    let in_bundle = scene.of(file).iter().any(|ca| newest.seen.is_issued_by(&ca.seen));
    when(in_bundle && !newest.seen.is_issued_by(&first.seen), "the CA that issued last is not the first in it")
}

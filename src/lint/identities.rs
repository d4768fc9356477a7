//! Rules on who a certificate says somebody is: LF024, LF025, LF027 to LF035, LF040.

use std::collections::HashMap;

use super::recognise::Layout;
use super::subject::{Certificate, Role, Scene};
use super::{Check, Hit, Hits, Rule, hit, when};
use crate::model::{Level, NodeName, Profile};
use crate::pki::SeenName;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "LF024",
        title: "a front-proxy client of a CN that is not allowed",
        why: "aggregated API servers answer 401",
        source: "kube-apiserver, --requestheader-allowed-names",
        remedy: "issue it anew with CN=front-proxy-client (k3s: system:auth-proxy)",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(proxy_name),
    },
    Rule {
        id: "LF025",
        title: "system:masters in a certificate that is not break-glass",
        why: "it may do everything, past every authorizer, until it ends: no binding takes it back",
        source: "Kubernetes, RBAC good practices; kubeadm issue 2414",
        remedy: "issue it anew with a group that has a binding",
        severity: Level::Error,
        imported: Some(Level::Attention),
        check: Check::Certificate(|one, _| {
            let glass =
                one.role == Role::SuperAdmin || one.role.is_any(&[Profile::BreakGlass]) || one.role.is_any(ETCD);
            when(!glass && !one.role.is_authority() && is_master(one), "its groups have system:masters")
        }),
    },
    Rule {
        id: "LF027",
        title: "system:masters in a certificate for etcd",
        why: "etcd knows no groups; kubeadm up to 1.28 wrote it",
        source: "kubeadm 1.29, urgent upgrade notes",
        remedy: "nothing; leave it out of the next one",
        severity: Level::Note,
        imported: None,
        check: Check::Certificate(|one, _| {
            when(one.role.is_any(ETCD) && is_master(one), "its groups have system:masters")
        }),
    },
    Rule {
        id: "LF028",
        title: "a kubelet that is not named as the node authorizer demands",
        why: "the kubelet may do nothing",
        source: "Kubernetes, using node authorization",
        remedy: "issue it anew with CN=system:node:NAME and O=system:nodes alone",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(node_name),
    },
    Rule {
        id: "LF029",
        title: "a certificate that poses as a node",
        why: "it may read the secrets of every pod on the node that it names",
        source: "Kubernetes, using node authorization",
        remedy: "issue it anew with the name of its own role",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            let node = one.role.is_any(&[Profile::KubeletClient, Profile::KubeletServing]) || one.role.is_authority();
            let group = one.seen.organizations.iter().any(|group| group == "system:nodes");
            let name = one.seen.common_names.iter().any(|name| name.starts_with("system:node:"));
            when(!node && (group || name), "it is no kubelet's, and names a node or the group of nodes")
        }),
    },
    Rule {
        id: "LF030",
        title: "a client whose CN is one of the system's",
        why: "names that begin with system: have rights that are built in",
        source: "Kubernetes, using RBAC authorization: default roles",
        remedy: "issue it anew with a name of its own",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            let client = one.role == Role::Client || one.role.is_any(&[Profile::Client, Profile::BreakGlass]);
            let bad = |name: &&String| name.starts_with("system:") && !COMPONENTS.contains(&name.as_str());
            // Nodes are LF029's.
            let bad =
                one.seen.common_names.iter().find(bad).filter(|name| client && !name.starts_with("system:node:"))?;
            Some(hit(format!("its name {bad} is one of the system's, and no component's that is known")))
        }),
    },
    Rule {
        id: "LF031",
        title: "a kubelet's serving certificate with other names than hosts, or none",
        why: "the signer of Kubernetes refuses such requests, and without names nobody can check it",
        source: "Kubernetes, certificate signing requests: kubernetes.io/kubelet-serving",
        remedy: "issue it anew with DNS names and addresses alone",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            if !one.role.is_any(&[Profile::KubeletServing]) {
                return None;
            }
            let odd = |name: &SeenName| !matches!(name, SeenName::Dns(_) | SeenName::Ip(_));
            match one.seen.sans.as_slice() {
                [] => Some(hit("it has no subject alternative names")),
                names => when(names.iter().any(odd), "it has names that are no hosts"),
            }
        }),
    },
    Rule {
        id: "LF032",
        title: "a kubelet's client certificate with subject alternative names",
        why: "the signer of Kubernetes allows none",
        source: "Kubernetes, certificate signing requests: kubernetes.io/kube-apiserver-client-kubelet",
        remedy: "issue it anew without them",
        severity: Level::Attention,
        imported: None,
        check: Check::Certificate(|one, _| {
            let own = one.role.is_any(&[Profile::KubeletClient]);
            when(own && !one.seen.sans.is_empty(), "it is a client's, and has subject alternative names")
        }),
    },
    Rule {
        id: "LF033",
        title: "a controller manager or scheduler of another name",
        why: "its rights are bound to the name, so it has none",
        source: "Kubernetes, using RBAC authorization: core component roles",
        remedy: "issue it anew with CN=system:kube-controller-manager or system:kube-scheduler",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| {
            let Role::Leaf(profile @ (Profile::ControllerManager | Profile::Scheduler)) = one.role else { return None };
            let wanted = profile.common_name("");
            when(one.seen.common_names != [wanted.as_str()], format!("its CN is not {wanted}"))
        }),
    },
    Rule {
        id: "LF034",
        title: "a client certificate without exactly one CN of at most 64 characters",
        why: "without one the API server answers 401; of several, the last is the user",
        source: "Kubernetes, x509 client certificates; RFC 5280, appendix A.1; tried with 1.36",
        remedy: "issue it anew with one CN",
        severity: Level::Error,
        imported: None,
        check: Check::Certificate(|one, _| match one.seen.common_names.as_slice() {
            _ if !one.role.only_calls() => None,
            [] => Some(hit("it has no CN")),
            [name] if name.is_empty() => Some(hit("its CN is empty")),
            [name] => when(name.chars().count() > 64, "its CN is longer than 64 characters"),
            [.., last] => Some(hit(format!("it has several CNs: the user is {last}"))),
        }),
    },
    Rule {
        id: "LF035",
        title: "two keys with one name and the same groups",
        why: "what they do can't be told apart in the audit log",
        source: "Kubernetes, auditing: user.username and user.groups",
        remedy: "give each person a certificate in their own name",
        severity: Level::Attention,
        imported: None,
        check: Check::Scene(shared_identity),
    },
    Rule {
        id: "LF040",
        title: "an API server that is cluster admin towards kubelets",
        why: "from 1.36 on a binding to system:kubelet-api-admin is enough, and less",
        source: "kubeadm 1.36, ClusterRoleBinding kubeadm:apiserver-kubelet-client",
        remedy: "apply the binding, then issue it anew without a group",
        severity: Level::Attention,
        imported: Some(Level::Note),
        check: Check::Certificate(|one, scene| {
            let own = one.role.is_any(&[Profile::ApiserverKubeletClient]) && scene.known.minor? >= 36;
            let admin = one.seen.organizations.iter().any(|group| group == "kubeadm:cluster-admins");
            when(own && admin, "its group is kubeadm:cluster-admins, and this is 1.36 or later")
        }),
    },
];

const ETCD: &[Profile] =
    &[Profile::ApiserverEtcdClient, Profile::EtcdHealthcheckClient, Profile::EtcdServer, Profile::EtcdPeer];

/// Clients whose names begin with `system:` by right (kubernetes-pki A.1, A.5, B.1).
const COMPONENTS: &[&str] = &[
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:kube-proxy",
    "system:cloud-controller-manager",
    "system:konnectivity-server",
    "system:auth-proxy",
    "system:admin",
    "system:k3s-controller",
    "system:k3s-supervisor",
    "system:rke2-controller",
    "system:rke2-supervisor",
];

fn is_master(one: &Certificate) -> bool {
    one.seen.organizations.iter().any(|group| group == "system:masters")
}

fn proxy_name(one: &Certificate, scene: &Scene) -> Option<Hit> {
    let allowed = match scene.known.proxy_names.as_slice() {
        [] if scene.layout == Some(Layout::K3s) => vec!["system:auth-proxy"],
        [] => vec!["front-proxy-client"],
        known => known.iter().map(String::as_str).collect(),
    };
    let name = one.seen.common_names.first().map(String::as_str).unwrap_or_default();
    let own = one.role.is_any(&[Profile::FrontProxyClient]);
    when(own && !allowed.contains(&name), format!("its CN is {name}, and {} is allowed", allowed.join(", ")))
}

fn node_name(one: &Certificate, _: &Scene) -> Option<Hit> {
    let serving = match one.role {
        Role::Leaf(Profile::KubeletClient) => false,
        Role::Leaf(Profile::KubeletServing) => true,
        _ => return None,
    };
    let name = one.seen.common_names.first().map(String::as_str).unwrap_or_default();
    // The certificate that a kubelet makes for itself is called NODE@TIME.
    if serving && !name.starts_with("system:") && name.contains('@') {
        return None;
    }
    let Some(node) = name.strip_prefix("system:node:") else {
        return Some(hit(format!("its CN is {name}, and not system:node:NAME")));
    };
    match () {
        () if NodeName::parse(node).is_err() => Some(hit(format!("{node} is no name of a node"))),
        () => when(one.seen.organizations != ["system:nodes"], "its groups are not system:nodes alone"),
    }
}

/// Of certificates that nobody gives a role: components have one certificate a node.
fn shared_identity(scene: &Scene, hits: &mut Hits) {
    let mut known: HashMap<&[u8], &Certificate> = HashMap::new();
    for one in scene.certificates.iter().filter(|one| !one.repeated && one.role == Role::Client) {
        let first = *known.entry(&one.seen.subject_dn).or_insert(one);
        let component = one.seen.common_names.iter().any(|name| name.starts_with("system:"));
        if first.file != one.file && first.seen.spki != one.seen.spki && !component {
            hits.certificate(one, hit(format!("another key is called {} too", one.seen.subject())));
        }
    }
}

//! RBAC manifests: what the groups of people, and the one user without a group, may do. A group is bound in the
//! generations that the epoch lets people ask for and no other, so that applying the manifest after a generation was
//! raised cuts off every certificate with the one before: `system:masters`, which RBAC is not asked about, can't be
//! taken back so.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::files::{Files, yaml};
use super::{ExportError, Material};
use crate::model::{Digest, KubernetesVersion, group_generation, split_group};
use crate::secret::Secret;

/// The group of people who administer a cluster.
const ADMINS: &str = "kluis:admins";
const API_GROUP: &str = "rbac.authorization.k8s.io";

/// What a group is bound to: a ClusterRole, in the whole cluster or in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRef {
    /// The namespace; the whole cluster if there is none.
    pub namespace: Option<String>,
    /// The name of the ClusterRole.
    pub role: String,
}

/// The roles that somebody chose, by group without its generation.
pub type Roles = BTreeMap<String, Vec<RoleRef>>;

/// One manifest.
pub struct Manifest {
    /// The file's name, without a folder.
    pub file: String,
    /// The group without its generation, or the user, that is bound.
    pub subject: String,
    /// The ClusterRole.
    pub role: String,
    /// The namespace, if not the whole cluster.
    pub namespace: Option<String>,
    /// Whether the role is one that the cluster's owners have to write.
    pub own_role: bool,
    /// The YAML.
    pub content: Secret,
}

/// A ClusterRoleBinding or RoleBinding (`rbac.authorization.k8s.io/v1`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Binding<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Metadata<'a>,
    role_ref: Reference<'a>,
    subjects: Vec<Reference<'a>>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference<'a> {
    api_group: &'a str,
    kind: &'a str,
    name: &'a str,
}

/// Writes one binding. `subjects` are the names that are bound, all of `kind`.
fn bind(
    (file, name): (String, &str),
    (kind, subject, subjects): (&str, &str, &[String]),
    role: &RoleRef,
    own_role: bool,
) -> Result<Manifest, ExportError> {
    let binding = Binding {
        api_version: "rbac.authorization.k8s.io/v1",
        kind: if role.namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" },
        metadata: Metadata { name, namespace: role.namespace.as_deref() },
        role_ref: Reference { api_group: API_GROUP, kind: "ClusterRole", name: &role.role },
        subjects: subjects.iter().map(|name| Reference { api_group: API_GROUP, kind, name }).collect(),
    };
    let content = yaml(&file, &binding, 512)?;
    let (role, namespace) = (role.role.clone(), role.namespace.clone());
    Ok(Manifest { file, subject: subject.to_owned(), role, namespace, own_role, content })
}

/// Every manifest that a cluster of this version needs, for the groups that its epoch knows, and for those that an
/// earlier one knew.
///
/// `kubeadm:cluster-admins` is the group of admin.conf (kubernetes-pki A.2), and before 1.36 of the API
/// server towards kubelets; kubeadm makes the same binding from 1.29 on, and here it is for older ones too, as
/// kluis gives nobody `system:masters` there either. From 1.36 on the API server has no group towards
/// kubelets and needs a binding of its own (A.1).
///
/// `kluis:admins` is bound to `cluster-admin`. Any other group is bound to what `roles` says of it, else to a
/// ClusterRole of its own name, which gives nothing until the cluster's owners write it: who joins a group by a pull
/// request must not gain rights that nobody chose.
pub fn manifests(
    version: &KubernetesVersion,
    (groups, former): (&[String], &[String]),
    roles: &Roles,
) -> Result<Vec<Manifest>, ExportError> {
    let whole = |role: &str| RoleRef { namespace: None, role: role.to_owned() };
    let group = "kubeadm:cluster-admins";
    let file = "kubeadm-cluster-admins.yaml".to_owned();
    let mut manifests =
        vec![bind((file, group), ("Group", group, &[group.to_owned()]), &whole("cluster-admin"), false)?];
    if version.minor >= 36 {
        let user = "kube-apiserver-kubelet-client";
        let name = ("kubeadm-apiserver-kubelet-client.yaml".to_owned(), "kubeadm:apiserver-kubelet-client");
        let role = whole("system:kubelet-api-admin");
        manifests.push(bind(name, ("User", user, &[user.to_owned()]), &role, false)?);
    }
    let mut generations: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    // A group that nobody may ask for any more is bound to nobody, so that applying the manifest cuts off who has it still.
    for group in former {
        generations.entry(split_group(group).0).or_default();
    }
    for group in groups {
        let (base, generation) = split_group(group);
        generations.entry(base).or_default().insert(generation);
    }
    for (base, generations) in generations {
        let subjects: Vec<String> =
            generations.into_iter().map(|generation| group_generation(base, generation)).collect();
        let name = binding_name(base);
        let usual = [if base == ADMINS { whole("cluster-admin") } else { whole(&name) }];
        let chosen = roles.get(base).map(Vec::as_slice);
        for role in chosen.unwrap_or(&usual) {
            let own_role = chosen.is_none() && base != ADMINS && !subjects.is_empty();
            let place = role.namespace.as_ref().map(|namespace| format!("-{namespace}")).unwrap_or_default();
            let file = format!("{}{place}.yaml", name.replace(':', "-"));
            manifests.push(bind((file, &name), ("Group", base, &subjects), role, own_role)?);
        }
    }
    Ok(manifests)
}

/// The name of a group's binding. A group's name may have a slash, which a binding's may not, and two groups must
/// never share a binding: what is not plainly `kluis:GROUP` gets the beginning of its hash.
fn binding_name(base: &str) -> String {
    if base == ADMINS {
        return ADMINS.to_owned();
    }
    let plain = base.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c)) && base != "admins";
    if plain {
        return format!("kluis:{base}");
    }
    let safe: String = base.chars().map(|c| if c == '/' { ':' } else { c }).collect();
    format!("kluis:{safe}-{}", &Digest::of(base.as_bytes()).h16()[..8])
}

/// Adds the manifests under `rbac/`.
pub(super) fn add(files: &mut Files, material: &Material) -> Result<(), ExportError> {
    for manifest in manifests(&material.cluster.config.kubernetes, (&material.cluster.groups, &[]), &Roles::new())? {
        files.manifest(format!("rbac/{}", manifest.file), manifest.content);
    }
    Ok(())
}

/// Adds what k0s' konnectivity server needs: to ask whether a token is good, and nothing else. It shows the certificate that
/// API servers show to kubelets.
pub(super) fn add_token_reviewer(files: &mut Files) -> Result<(), ExportError> {
    let user = "kube-apiserver-kubelet-client";
    let role = RoleRef { namespace: None, role: "system:auth-delegator".to_owned() };
    let name = ("kluis-token-reviewer.yaml".to_owned(), "kluis:token-reviewer");
    let manifest = bind(name, ("User", user, &[user.to_owned()]), &role, false)?;
    files.manifest(format!("rbac/{}", manifest.file), manifest.content);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fixture;

    fn written(groups: &[&str], roles: &Roles) -> Vec<(String, serde_yaml_ng::Value)> {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let version = KubernetesVersion::parse("1.35").unwrap();
        let manifests = manifests(&version, (&groups, &["gone:g2".to_owned()]), roles).unwrap();
        let value = |one: Manifest| (one.file, serde_yaml_ng::from_slice(one.content.expose()).unwrap());
        let written: Vec<(String, serde_yaml_ng::Value)> = manifests.into_iter().skip(1).map(value).collect();
        let (gone, others) = written.into_iter().partition::<Vec<_>, _>(|(file, _)| file == "kluis-gone.yaml");
        assert_eq!(gone[0].1["subjects"].as_sequence().map(Vec::len), Some(0), "bound to nobody");
        others
    }

    #[test]
    fn the_binding_of_the_api_server_towards_kubelets_is_as_kubeadm_makes_it() {
        let exported = fixture::kubeadm("1.36", "control-plane,etcd");
        assert_eq!(
            fixture::text(&exported, "rbac/kubeadm-apiserver-kubelet-client.yaml"),
            "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: kubeadm:apiserver-kubelet-client
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: system:kubelet-api-admin
subjects:
- apiGroup: rbac.authorization.k8s.io
  kind: User
  name: kube-apiserver-kubelet-client
"
        );
        let older = fixture::kubeadm("1.35", "control-plane,etcd");
        assert!(!fixture::has(&older, "rbac/kubeadm-apiserver-kubelet-client.yaml"));
    }

    #[test]
    fn admins_are_bound_where_the_epoch_knows_the_group_alone() {
        let mut material = fixture::material("1.36", "control-plane,etcd");
        let with = (super::super::kubeadm::LAYOUT.node.unwrap().files)(&material).unwrap();
        let manifest: serde_yaml_ng::Value =
            serde_yaml_ng::from_str(&fixture::text(&with, "rbac/kluis-admins.yaml")).unwrap();
        assert_eq!(manifest["roleRef"]["name"], "cluster-admin");
        assert_eq!(manifest["subjects"][0]["kind"], "Group");
        assert_eq!(manifest["subjects"][0]["name"], "kluis:admins");
        material.cluster.groups.clear();
        let without = (super::super::kubeadm::LAYOUT.node.unwrap().files)(&material).unwrap();
        assert!(!fixture::has(&without, "rbac/kluis-admins.yaml"));
    }

    #[test]
    fn a_raised_generation_is_bound_and_the_one_before_is_not() {
        let written = written(&["kluis:admins:g3", "developers:g2"], &Roles::new());
        let subjects = |at: usize| written[at].1["subjects"].as_sequence().unwrap().clone();
        assert_eq!(written[0].0, "kluis-developers.yaml");
        assert_eq!((subjects(0).len(), subjects(0)[0]["name"].as_str()), (1, Some("developers:g2")));
        assert_eq!(written[0].1["metadata"]["name"], "kluis:developers");
        assert_eq!(written[0].1["roleRef"]["name"], "kluis:developers");
        assert_eq!((subjects(1).len(), subjects(1)[0]["name"].as_str()), (1, Some("kluis:admins:g3")));
        assert_eq!(written[1].1["metadata"]["name"], "kluis:admins");
    }

    #[test]
    fn a_chosen_role_may_be_for_a_namespace() {
        let role = |namespace: Option<&str>, role: &str| RoleRef {
            namespace: namespace.map(str::to_owned),
            role: role.to_owned(),
        };
        let roles = Roles::from([("dev".to_owned(), vec![role(None, "view"), role(Some("shop"), "edit")])]);
        let written = written(&["dev"], &roles);
        assert_eq!(written[0].1["kind"], "ClusterRoleBinding");
        assert_eq!(written[0].1["roleRef"]["name"], "view");
        assert_eq!(
            (written[1].0.as_str(), written[1].1["kind"].as_str()),
            ("kluis-dev-shop.yaml", Some("RoleBinding"))
        );
        assert_eq!(written[1].1["metadata"]["namespace"], "shop");
        assert_eq!(written[1].1["roleRef"]["kind"], "ClusterRole");
    }

    #[test]
    fn no_two_groups_share_a_binding() {
        let groups = ["admins", "kluis:admins", "a/b", "a:b", "kluis:a:b", "kluis:dev", "dev", "kluis.dev"];
        let names: BTreeSet<String> = groups.iter().map(|group| binding_name(group)).collect();
        assert_eq!(names.len(), groups.len(), "{names:?}");
        assert!(names.iter().all(|name| !name.contains('/')));
    }
}

//! RBAC manifests: what the groups and the one user without a group may do. A binding that is deleted takes
//! the access back, which `system:masters` would not allow.

use serde::Serialize;

use super::files::{Files, yaml};
use super::{ExportError, Material};

/// The group of people who administer a cluster.
const ADMINS: &str = "kluis:admins";
const API_GROUP: &str = "rbac.authorization.k8s.io";

/// A ClusterRoleBinding (`rbac.authorization.k8s.io/v1`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterRoleBinding<'a> {
    api_version: &'a str,
    kind: &'a str,
    metadata: Metadata<'a>,
    role_ref: Reference<'a>,
    subjects: [Reference<'a>; 1],
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference<'a> {
    api_group: &'a str,
    kind: &'a str,
    name: &'a str,
}

fn binding<'a>(name: &'a str, role: &'a str, kind: &'a str, subject: &'a str) -> ClusterRoleBinding<'a> {
    ClusterRoleBinding {
        api_version: "rbac.authorization.k8s.io/v1",
        kind: "ClusterRoleBinding",
        metadata: Metadata { name },
        role_ref: Reference { api_group: API_GROUP, kind: "ClusterRole", name: role },
        subjects: [Reference { api_group: API_GROUP, kind, name: subject }],
    }
}

/// Adds the manifests under `rbac/`.
///
/// `kubeadm:cluster-admins` is the group of admin.conf (kubernetes-pki A.2), and before 1.36 of the API
/// server towards kubelets; kubeadm makes the same binding from 1.29 on, and here it is for older ones too, as
/// kluis gives nobody `system:masters` there either. From 1.36 on the API server has no group towards
/// kubelets and needs a binding of its own (A.1). `kluis:admins` is bound only where the epoch lets somebody
/// ask for it.
pub(super) fn add(files: &mut Files, material: &Material) -> Result<(), ExportError> {
    let group = "kubeadm:cluster-admins";
    let mut bindings = vec![("kubeadm-cluster-admins", binding(group, "cluster-admin", "Group", group))];
    if material.config.kubernetes.minor >= 36 {
        let user = "kube-apiserver-kubelet-client";
        let name = "kubeadm:apiserver-kubelet-client";
        bindings.push(("kubeadm-apiserver-kubelet-client", binding(name, "system:kubelet-api-admin", "User", user)));
    }
    if material.groups.iter().any(|group| group == ADMINS) {
        bindings.push(("kluis-admins", binding(ADMINS, "cluster-admin", "Group", ADMINS)));
    }
    for (file, binding) in bindings {
        let path = format!("rbac/{file}.yaml");
        let content = yaml(&path, &binding, 512)?;
        files.manifest(path, content);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::export::fixture;

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
        let with = (super::super::kubeadm::LAYOUT.files)(&material).unwrap();
        let manifest: serde_yaml_ng::Value =
            serde_yaml_ng::from_str(&fixture::text(&with, "rbac/kluis-admins.yaml")).unwrap();
        assert_eq!(manifest["roleRef"]["name"], "cluster-admin");
        assert_eq!(manifest["subjects"][0]["kind"], "Group");
        assert_eq!(manifest["subjects"][0]["name"], "kluis:admins");
        material.groups.clear();
        let without = (super::super::kubeadm::LAYOUT.files)(&material).unwrap();
        assert!(!fixture::has(&without, "rbac/kluis-admins.yaml"));
    }
}

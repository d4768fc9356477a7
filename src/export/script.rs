//! The shell script that does on one node what a phase of a rotation asks for: names, files, processes and hashes in front,
//! the same text for every node behind. Pure: takes what was decided, returns text; knows no rule of any phase.
//!
//! Root runs it, so it is built in, and no file of a repository takes its place: `templates/` is managed by nobody and signed
//! by nobody, and an override there would be a way to root on every node for whoever gets one unsigned file merged. Who wants
//! other commands changes the two functions at its top, in the copy that they read and run.

use std::net::IpAddr;

use super::encryption::key_name;
use super::kubeadm::Public;
use crate::model::{ClusterName, Digest, Generation, Node};

/// What runs below the lines about one node.
const BODY: &str = include_str!("templates/node.sh");

/// What is to be done on a node. Whatever stands in the script is of these types: parsed names, and words of this program.
pub struct Work<'a> {
    /// The cluster.
    pub cluster: &'a ClusterName,
    /// The node.
    pub node: &'a Node,
    /// The phases, as `etcd trusted (g1 issuing, g2 trusted)`; words and numbers of this program.
    pub phases: &'a [String],
    /// The files of the export to copy, in this order.
    pub copy: &'a [&'static str],
    /// Those to copy where the node has CA keys.
    pub copy_ca_keys: &'a [&'static str],
    /// The bundles that have to be on the node already, in whatever order: leaves of what is in them go in.
    pub bundles_of_before: &'a [String],
    /// The processes to restart, in this order.
    pub restart: &'a [&'static str],
    /// What the export has that is public.
    pub public: &'a [Public],
    /// The encryption keys that it has, the one that writes first.
    pub encryption: &'a [Generation],
}

/// The script.
pub fn script(work: &Work) -> String {
    let Work { cluster, node, .. } = work;
    let name = &node.name;
    let text = format!(
        "#!/bin/sh\n\
         # Brings node {name} of cluster {cluster} to the phase that its rotation is in. It holds no secret.\n\
         #\n\
         #   sh FILE [--dry-run] EXPORT\n\
         #\n\
         # EXPORT is the folder on the node that `kluis export kubeadm -c {cluster} --node {name} --out EXPORT` wrote in this\n\
         # phase. It copies the files named below, restarts the processes named below one after the other, waits for each to be\n\
         # well, and stops at the first thing that goes wrong. Run it again and it goes on where it stopped. Where the folder or\n\
         # the node is not what this phase begins with, it changes nothing. One run at a time: it locks /etc/kubernetes.\n\
         \n\
         set -euf\n\
         umask 077\n\
         export LC_ALL=C\n\n"
    );
    if work.copy.is_empty() {
        return text
            + &format!(
                "echo 'nothing is to be done on node {name} of cluster {cluster} in this phase;'\n\
                 echo 'whether its files are those of the phase: kluis rotate check -c {cluster} --node {name}'\n"
            );
    }
    let mut about = String::new();
    let mut set = |name: &str, value: &str| about += &format!("{name}='{value}'\n");
    set("cluster", cluster.as_str());
    set("node", name.as_str());
    set("phases", &work.phases.join("\n"));
    // The members and API servers of a node listen on the loopback address of its family.
    let is_v6 = matches!(node.advertise_address(), Some(IpAddr::V6(_)));
    set("loopback", if is_v6 { "[::1]" } else { "127.0.0.1" });
    set("copy", &work.copy.join("\n"));
    set("copy_where_ca_keys_are", &work.copy_ca_keys.join("\n"));
    set("bundles_of_before", &work.bundles_of_before.join("\n"));
    set("processes", &work.restart.join(" "));
    let encryption: Vec<String> = work.encryption.iter().map(|generation| key_name(*generation)).collect();
    set("encryption_keys", &encryption.join("\n"));
    let public = work.public.iter().map(|one| {
        format!("{} {} {}", Digest::of(&one.content), one.path, one.field.unwrap_or_default()).trim_end().to_owned()
    });
    let public: Vec<String> = public.collect();
    text + &about_with_hashes(&about, &public.join("\n")) + BODY
}

/// The lines about the node, with what the public part of its export hashes to, and a name for all of it: what was restarted
/// for these files is not restarted for them again.
fn about_with_hashes(about: &str, public: &str) -> String {
    let mark = Digest::of_parts(&[about.as_bytes(), public.as_bytes()]).h16();
    format!(
        "{about}mark='{mark}'\n\
         # What the export has that is no secret, in this phase: SHA-256, file, and the field of a kubeconfig.\n\
         expected='{public}'\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{fixture, kubeadm};

    fn of(roles: &str, change: impl FnOnce(&mut crate::export::Material)) -> String {
        let mut material = fixture::material("1.36", roles);
        change(&mut material);
        let public = kubeadm::public_content(&material).unwrap();
        script(&Work {
            cluster: &material.cluster.name,
            node: &material.node,
            phases: &["kubernetes trusted (g1 issuing, g2 trusted)".to_owned()],
            copy: &["kubelet.conf", "pki/ca.crt"],
            copy_ca_keys: &[],
            bundles_of_before: &["pki/ca.crt".to_owned()],
            restart: &["kubelet"],
            public: &public,
            encryption: &[fixture::generation(2), fixture::generation(1)],
        })
    }

    #[test]
    fn what_differs_by_node_stands_in_front_in_quotes_that_nothing_ends() {
        let text = of("control-plane,etcd", |_| ());
        let (front, body) = text.split_once("# The commands to adapt").unwrap();
        assert!(front.contains("node='cp-1'\n") && front.contains("copy='kubelet.conf\npki/ca.crt'\n"), "{front}");
        let assigned: Vec<&str> = front.split("='").skip(1).map(|rest| rest.split_once('\'').unwrap().0).collect();
        assert_eq!(assigned.len(), 11, "{front}");
        let plain = |c: char| c.is_ascii_alphanumeric() || " \n/.,-()[]:_".contains(c);
        assert!(assigned.iter().all(|value| value.chars().all(plain)), "{assigned:?}");
        assert!(!body.contains("cp-1") && BODY.ends_with("main \"$@\"\n"), "half a script does nothing");
        assert!(!text.contains("-----BEGIN "));
    }

    #[test]
    fn it_is_named_by_what_it_does() {
        let mark = |text: &str| text.split_once("mark='").unwrap().1[..16].to_owned();
        let one = of("worker", |_| ());
        assert_eq!(mark(&one), mark(&of("worker", |material| material.keys.clear())));
        let other = of("worker", |material| {
            material.certificates.insert(crate::model::Profile::KubeletServing, b"renewed".to_vec());
        });
        assert_ne!(mark(&one), mark(&other));
    }

    #[test]
    fn an_ipv6_node_is_asked_on_its_loopback() {
        let text = of("control-plane,etcd", |material| {
            material.node.addresses = vec![crate::model::Host::parse("fd00::11").unwrap()];
        });
        assert!(text.contains("loopback='[::1]'\n"));
    }
}

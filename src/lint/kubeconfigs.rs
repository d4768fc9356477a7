//! Rules on kubeconfigs: KC001 to KC007.

use super::recognise::What;
use super::subject::{Access, Certificate, File, Role, Scene, has_host};
use super::{Check, Hit, Hits, Rule, hit, when};
use crate::model::{Host, Keyset, Level, Profile};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "KC001",
        title: "a kubeconfig that does not trust every trusted CA",
        why: "it fails when the API server shows a certificate of the other one",
        source: "Kubernetes, manual rotation of CA certificates; kubeadm issue 2027",
        remedy: "put the whole bundle into certificate-authority-data",
        severity: Level::Error,
        imported: None,
        check: Check::File(untrusted),
    },
    Rule {
        id: "KC002",
        title: "a kubeconfig whose CAs kubeadm refuses",
        why: "kubeadm compares: up to 1.30 the one CA byte for byte, from 1.31 on the first one",
        source: "kubeadm, phases/kubeconfig validateKubeConfig; tried",
        remedy: "put the first CA of ca.crt first; up to 1.30, that one alone",
        severity: Level::Attention,
        imported: None,
        check: Check::File(refused_by_kubeadm),
    },
    Rule {
        id: "KC003",
        title: "a kubeconfig that does not check the server",
        why: "whoever is on the way reads and changes everything, tokens too",
        source: "Kubernetes, organizing cluster access: insecure-skip-tls-verify",
        remedy: "take insecure-skip-tls-verify out and put certificate-authority-data in",
        severity: Level::Error,
        imported: None,
        check: Check::File(|file, _| {
            let skips = file.accesses().iter().any(|access| access.skips_verification);
            when(skips, "insecure-skip-tls-verify is on")
        }),
    },
    Rule {
        id: "KC004",
        title: "a kubeconfig for a server that the API server's certificate is not for",
        why: "every call ends in an x509 error",
        source: "RFC 9525",
        remedy: "issue the API server's certificate anew with that name, or call it by one that it has",
        severity: Level::Error,
        imported: None,
        check: Check::Scene(unknown_server),
    },
    Rule {
        id: "KC005",
        title: "a kubeconfig whose key is not its certificate's, or that names files",
        why: "it is of no use; with files, on no other machine (from 1.36 on that may be wanted: they are reloaded)",
        source: "client-go; kubeadm certs wants data",
        remedy: "put the certificate and the key of one issuing in, as data",
        severity: Level::Error,
        imported: None,
        check: Check::File(unusable),
    },
    Rule {
        id: "KC007",
        title: "a controller manager or scheduler that calls the load balancer",
        why: "in an upgrade it meets an API server of an older version than itself",
        source: "Kubernetes, version skew policy; kubeadm writes the local endpoint",
        remedy: "let it call the API server of its own node",
        severity: Level::Attention,
        imported: None,
        check: Check::File(not_local),
    },
];

fn data<'a>(scene: &'a Scene, access: &Access) -> &'a [Certificate] {
    &scene.certificates[access.authorities.clone()]
}

/// The CA certificates that a kubeconfig should trust, where the file is one.
fn trusted<'a>(file: &File, scene: &'a Scene) -> Option<&'a [Certificate]> {
    file.accesses().first()?;
    scene.find(What::Bundle(Keyset::Kubernetes)).map(|file| scene.of(file))
}

fn untrusted(file: &File, scene: &Scene) -> Option<Hit> {
    let bundle = trusted(file, scene)?;
    let embedded = file.accesses().iter().map(|access| data(scene, access)).filter(|data| !data.is_empty());
    let has = |data: &[Certificate], ca: &Certificate| data.iter().any(|one| one.seen.der == ca.seen.der);
    let lacks = embedded.flat_map(|data| bundle.iter().filter(move |ca| !has(data, ca))).count();
    when(lacks > 0, format!("{lacks} of the CA certificates of ca.crt are not in it"))
}

fn refused_by_kubeadm(file: &File, scene: &Scene) -> Option<Hit> {
    let first = trusted(file, scene)?.first()?;
    let old = scene.known.minor.is_some_and(|minor| minor <= 30);
    file.accesses().iter().map(|access| data(scene, access)).find_map(|data| match data {
        [] => None,
        [_, _, ..] if old => Some(hit("it has several CA certificates, and this is 1.30 or earlier")),
        [own, ..] => when(own.seen.der != first.seen.der, "its first CA certificate is not the first of ca.crt"),
    })
}

/// The host of a URL: behind the scheme, before the port and the path.
fn host_of(url: &str) -> Option<Host> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(inside) => inside.split(']').next()?,
        None => authority.split(':').next()?,
    };
    Host::parse(&host.to_ascii_lowercase()).ok()
}

fn unknown_server(scene: &Scene, hits: &mut Hits) {
    let servers: Vec<&Certificate> =
        scene.certificates.iter().filter(|one| one.role == Role::Leaf(Profile::Apiserver)).collect();
    if servers.is_empty() {
        return;
    }
    for (index, file) in scene.files.iter().enumerate().filter(|(_, file)| file.what != What::Other) {
        for host in file.accesses().iter().filter_map(|access| host_of(&access.server)) {
            if !servers.iter().any(|server| has_host(&server.seen, &host)) {
                hits.file(index, hit(format!("it calls {host}, which the API server's certificate is not for")));
            }
        }
    }
}

fn unusable(file: &File, scene: &Scene) -> Option<Hit> {
    let mismatch = |access: &Access| {
        let spki = access.key.as_ref().and_then(|key| key.spki.as_ref());
        matches!((access.client, spki), (Some(client), Some(spki)) if scene.certificates[client].seen.spki != *spki)
    };
    if file.accesses().iter().any(mismatch) {
        return Some(hit("its key is not the key of its certificate"));
    }
    // kubeadm lets kubelet.conf name the file that the kubelet renews.
    let names_files = file.accesses().iter().any(|access| access.names_files);
    let kubelet = file.what == What::Leaf(Role::Leaf(Profile::KubeletClient));
    when(names_files && !kubelet, "it names files instead of data").map(|hit| hit.weighing(Level::Note))
}

fn not_local(file: &File, scene: &Scene) -> Option<Hit> {
    let own = matches!(file.what, What::Leaf(role) if role.is_any(&[Profile::ControllerManager, Profile::Scheduler]));
    let host = file.accesses().iter().filter(|_| own).find_map(|access| host_of(&access.server))?;
    let local = match &host {
        Host::Dns(name) => name == "localhost" || scene.known.advertised.contains(&host),
        Host::Ip(ip) => ip.is_loopback() || scene.known.advertised.is_empty() || scene.known.advertised.contains(&host),
    };
    when(!local, format!("it calls {host}, which is no address of its own node"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_found() {
        for (url, host) in [
            ("https://10.0.0.1:6443", "10.0.0.1"),
            ("https://[::1]:6443/x", "::1"),
            ("https://API.example.org", "api.example.org"),
            ("api.example.org:443", "api.example.org"),
        ] {
            assert_eq!(host_of(url).unwrap().to_string(), host);
        }
        assert!(host_of("https://").is_none() && host_of("").is_none());
    }
}

//! Files that are linted: whatever they are, they are read and judged, and what can't be read is named. A certificate is
//! judged alike as a file of any kind.
#![no_main]

use kluis::export::outline;
use kluis::lint::{File, Layout, Role, Scene, What, judge};
use kluis::model::{Code, Keyset, Profile, Time};
use kluis::pki::Material;
use kluis::secret::Secret;

const KINDS: [What; 6] = [
    What::Bundle(Keyset::Kubernetes),
    What::Signing(Keyset::Kubernetes),
    What::AuthorityKey(Keyset::Kubernetes),
    What::Leaf(Role::Leaf(Profile::Apiserver)),
    What::ServiceAccountPublic,
    What::Other,
];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let material = Material::read(bytes);
    let now = Time::from_unix(1_800_000_000);
    let mut scene = Scene::new("root", Some(Layout::Kubeadm), now);
    for (index, what) in KINDS.into_iter().enumerate() {
        scene.take(File::new(format!("root/{index}.crt"), format!("{index}.crt"), what), material.clone());
    }
    scene.arrange();
    let findings = judge(std::slice::from_ref(&scene), false, &|_| true);
    let unreadable = findings.iter().filter(|one| one.code == Code::Rule("RD001")).count();
    assert_eq!(unreadable, KINDS.len() * material.unreadable.len());
    assert!(findings.iter().all(|one| one.path.as_ref().is_some_and(|path| path.starts_with("root/"))));
    for certificate in &scene.certificates {
        assert!(certificate.issuer.is_none_or(|issuer| issuer < scene.certificates.len()));
    }
    let secret = Secret::new(bytes.to_vec());
    if let Ok(accesses) = outline::accesses(&secret) {
        for access in accesses {
            Material::read(&access.authorities);
            Material::read(&access.certificate);
        }
    }
    let _ = outline::encryption(&secret);
});

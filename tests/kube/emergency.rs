//! Leaked CA keys on a real control plane: where whoever forges with them is let in, and which step ends that.
//! Owns the forger, and the order of the steps in an emergency (docs/ROTATION.md).

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exports::CONTROL_PLANES;
use crate::fleet::Fleet;
use crate::load::{Attempt, Credentials, Load, Question, Seat};
use crate::members::shakes_hands;
use crate::process::{Run, wait_until};
use crate::programs;

/// In the URL of each request that has to be refused, so that audit logs tell them from others.
pub const PROBE: &str = "probe=refused";

/// Where clients with certificates are let in.
pub const EVERYWHERE: [&str; 7] = ["api cp-1", "api cp-2", "kcm", "scheduler", "etcd cp-1", "etcd cp-2", "etcd cp-3"];

#[test]
fn in_an_emergency_a_forger_is_out_before_anything_but_etcd_is_restarted() {
    let (mut fleet, load) = Fleet::start();
    fleet.start_scheduler();
    let forger = Forger::with_leaked_keys(&fleet);
    let kubeconfig = fleet.exports.node("w-1").file("kubelet.conf");
    let kubelet = Seat::new("kubelet", fleet.credentials(&kubeconfig));
    fleet.exports.kluis(["rotate", "start", "-c", "prod", "--yes"]);
    for step in ["trust", "promote"] {
        fleet.exports.kluis(["rotate", step, "-c", "prod", "--yes"]);
        fleet.roll(&load, &kubelet, |_, _, _| ());
        forger.is_let_in(&fleet, &load, &EVERYWHERE);
    }
    // The one gate that nothing allows to pass by: an API server that can't read its config maps does not get ready.
    fleet.write_all_again("kluis-g2");
    fleet.exports.kluis(["rotate", "distrust", "-c", "prod", "--confirm", "clients-moved", "--yes"]);
    for (name, ..) in CONTROL_PLANES {
        fleet.copy(name, &["pki/ca.crt", "pki/front-proxy-ca.crt"]);
    }
    forger.is_let_in(&fleet, &load, &EVERYWHERE[3..]);
    the_configmap_is_made_anew(&fleet);
    forger.is_let_in(&fleet, &load, &EVERYWHERE[4..]);
    for (index, (name, ..)) in CONTROL_PLANES.iter().enumerate() {
        fleet.copy(name, &["pki/etcd/ca.crt"]);
        assert!(fleet.restart(name, "etcd", &load, &kubelet));
        forger.is_let_in(&fleet, &load, &EVERYWHERE[5 + index..]);
    }
    // The rest, as always.
    fleet.roll(&load, &kubelet, |_, _, _| ());
    forger.is_let_in(&fleet, &load, &[]);
    fleet.kubectl().args(["get", "secrets", "--all-namespaces"]).succeeds();
    fleet.must_be_alive();
}

/// The CAs that API servers publish for others: never fewer by themselves, so that somebody has to delete the ConfigMap.
pub fn the_configmap_is_made_anew(fleet: &Fleet) {
    let name = ["extension-apiserver-authentication", "--namespace=kube-system"];
    let published = || {
        let map = fleet.kubectl().args(["get", "configmap", "--output=json"]).args(name).ends();
        let map: Value = serde_json::from_str(&map.stdout()).map_err(|_| map.to_string())?;
        let count = |key: &str| authorities(map["data"][key].as_str().unwrap_or_default());
        Ok::<_, String>((count("client-ca-file"), count("requestheader-client-ca-file")))
    };
    assert_eq!(published(), Ok((2, 2)), "it only grows");
    fleet.kubectl().args(["delete", "configmap"]).args(name).succeeds();
    wait_until("the ConfigMap with the new CA alone", || match published() {
        Ok((1, 1)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Whoever has the CAs' keys and made certificates of their own: a member of system:masters, and a client of etcd.
pub struct Forger {
    masters: PathBuf,
    etcd: PathBuf,
}

impl Forger {
    pub fn with_leaked_keys(fleet: &Fleet) -> Forger {
        Forger {
            masters: forged(fleet, "ca.kubernetes", "ca.crt", "/O=system:masters/CN=nobody"),
            etcd: forged(fleet, "ca.etcd", "etcd/ca.crt", "/CN=nobody"),
        }
    }

    /// Waits until the forger is let in at exactly these places.
    pub fn is_let_in(&self, fleet: &Fleet, load: &Load, places: &[&str]) {
        wait_until("a forger at fewer places", || {
            let now = self.places(fleet, load);
            if now == places { Ok(()) } else { Err(format!("let in at {now:?}, not at {places:?}")) }
        });
    }

    fn places(&self, fleet: &Fleet, load: &Load) -> Vec<String> {
        let mut places = Vec::new();
        let masters = |authority: PathBuf| Credentials { authority, pair: Some(self.masters.clone()), token: None };
        for (name, server) in ["cp-1", "cp-2"].iter().zip(&load.servers) {
            match load.attempt(server, &masters(fleet.node(name).pki("ca.crt")), &probe()) {
                Attempt::Answered(200, _) => places.push(format!("api {name}")),
                Attempt::Distrusted(why) if why.starts_with("401") => {}
                Attempt::Away(why) => places.push(format!("{name} is away: {why}")),
                other => panic!("{name}: {other:?}"),
            }
        }
        for (name, server, authority) in fleet.components() {
            match load.attempt(&server, &masters(authority), &Question::get("/metrics")) {
                Attempt::Answered(200, _) => {
                    places.push(name.replace("kube-controller-manager", "kcm").replace("kube-", ""))
                }
                Attempt::Distrusted(why) if why.starts_with("40") => {}
                Attempt::Away(why) => places.push(format!("{name} is away: {why}")),
                other => panic!("{name}: {other:?}"),
            }
        }
        for (index, member) in fleet.etcd.members().iter().enumerate() {
            if shakes_hands(fleet.scratch(), &member.client, &member.export, Some(&self.etcd)) {
                places.push(format!("etcd cp-{}", index + 1));
            }
        }
        places
    }
}

/// A certificate that nobody recorded, of a CA whose key was opened: the path of it without `.crt`.
fn forged(fleet: &Fleet, authority: &str, certificate: &str, subject: &str) -> PathBuf {
    let stem = fleet.path().join(format!("forged-{}", authority.replace('.', "-")));
    let file = |extension: &str| stem.with_extension(extension);
    let (key, leaked, extensions) = (file("key"), file("leaked"), file("ext"));
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("a writable scratch directory");
    write(&leaked, &fleet.exports.kluis(["open", "-c", "prod", authority, "--yes"]));
    write(&extensions, "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n");
    let openssl = |words: &str| Run::new(&programs::system("openssl"), fleet.path()).args(words.split(' '));
    let request = openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj")
        .args([std::ffi::OsStr::new(subject), "-keyout".as_ref(), key.as_os_str()])
        .succeeds();
    let signed = openssl("x509 -req -set_serial 4711 -days 1 -CA")
        .args([fleet.node("cp-1").pki(certificate), "-CAkey".into(), leaked, "-extfile".into(), extensions])
        .input(&request)
        .succeeds();
    write(&file("crt"), &signed);
    stem
}

pub fn probe() -> Question {
    Question::get(&format!("/apis?{PROBE}"))
}

/// How many certificates a PEM text has.
pub fn authorities(pem: &str) -> usize {
    pem.matches("-----BEGIN CERTIFICATE-----").count()
}

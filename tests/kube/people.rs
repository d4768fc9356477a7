//! People at a real API server: erin is who her request says, may do what RBAC binds her group to and nothing else, and is
//! cut off by the next generation of the group; break-glass passes; what has ended does not; and the API server's own audit
//! log shows who used a certificate that nobody recorded.
//! Owns erin's desk and the certificates that are made behind kluis' back.

use std::fs;
use std::path::{Path, PathBuf};

use kluis::env::Rng;
use kluis::model::{Profile, Span, Time};
use kluis::pki::{self, LeafSpec, PrivateKey, Validity};
use kluis::secret::Secret;
use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::process::{Ended, Run};
use crate::programs;

/// The people of one cluster, each with a key file and a state folder.
struct Town<'a> {
    plane: &'a ControlPlane,
}

impl Town<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.plane.exports.folder().join(name)
    }

    fn run(&self, who: &str) -> Run {
        let key = format!("../{who}.secret.asc");
        self.plane
            .exports
            .kluis_run()
            .env("XDG_STATE_HOME", self.path(&format!("state-{who}")))
            .args(["--identity", &key])
    }

    fn kluis(&self, who: &str, words: &str) -> String {
        let words = words.split(' ').filter(|word| !word.is_empty());
        self.run(who).args(words.map(|word| word.replace('_', " "))).succeeds()
    }

    /// alice keeps the state folder in which she founded the repository; erin joins, and may ask for developers.
    fn settle(&self) {
        let move_state = fs::rename(self.path("state"), self.path("state-alice"));
        move_state.expect("a state folder of one's own");
        self.plane.exports.make_identity("erin");
        let pin = self.kluis("alice", "trust pin");
        self.kluis("alice", "person add erin --pgp ../erin.asc --group prod=developers");
        self.kluis("erin", &format!("trust pin {}", pin.trim()));
        self.kluis("erin", "trust sign --yes");
    }

    /// What erin gets from a request with these words; the kubeconfig with it.
    fn granted(&self, words: &str, more: &str) -> PathBuf {
        let asked = self.kluis("erin", &format!("request new -c prod {words} -o json"));
        let asked: Value = serde_json::from_str(&asked).expect("a report");
        let request = asked["data"]["request"].as_str().expect("a hash");
        self.kluis("alice", &format!("request approve {request} --yes"));
        let name = self.path(&format!("erin-{}.conf", &request[..8]));
        self.kluis("erin", &format!("kubeconfig -c prod --inline --out {} {more}", name.display()));
        name
    }

    fn apply_rbac(&self) {
        let manifest = self.kluis("alice", "export rbac -c prod");
        self.plane.as_super_admin().args(["apply", "--filename=-"]).input(&manifest).succeeds();
    }

    /// What kluis says of the API server's audit log.
    fn audit(&self) -> (Ended, Value) {
        let log = self.plane.audit_log().display().to_string();
        let ended = self.run("alice").args(["audit", "--k8s-audit", &log, "-o", "json"]).ends();
        let report = serde_json::from_str(&ended.stdout()).unwrap_or_else(|error| panic!("{error}: {ended}"));
        (ended, report)
    }
}

fn unauthorized(refusal: &str) -> bool {
    refusal.contains("Unauthorized") || refusal.contains("provide credentials")
}

#[test]
fn erin_is_who_her_request_says_and_the_next_generation_cuts_her_off() {
    let plane = ControlPlane::start(1);
    let town = Town { plane: &plane };
    town.settle();
    town.apply_rbac();
    // The role that the manifest binds developers to is the owners' to write: it gives what they say.
    let role = ["create", "clusterrole", "kluis:developers", "--verb=get,list", "--resource=pods"];
    plane.as_super_admin().args(role).succeeds();
    let erin = town.granted("--group developers --lifetime 8h", "");
    let who = plane.kubectl(&erin).args(["auth", "whoami", "--output=json"]).succeeds();
    let who: Value = serde_json::from_str(&who).expect("an object");
    assert_eq!(who["status"]["userInfo"]["username"], "erin");
    assert_eq!(who["status"]["userInfo"]["groups"], serde_json::json!(["developers", "system:authenticated"]));
    plane.kubectl(&erin).args(["get", "--raw", "/api/v1/pods?limit=7"]).succeeds();
    for beyond in [&["get", "secrets"][..], &["create", "namespace", "erins"], &["get", "nodes"]] {
        let refusal = plane.kubectl(&erin).args(beyond).refused();
        assert!(refusal.contains("Forbidden") && refusal.contains("\"erin\""), "{refusal}");
    }
    let event = plane.audited("pods?limit=7").remove(0);
    let pem = fs::read(town.path("repository/clusters/prod/certs/person/erin/client.crt")).expect("a certificate");
    let sha256 = kluis::model::Digest::of(&pki::parse_pem(&pem, "CERTIFICATE").expect("a certificate"));
    assert_eq!((&event["user"]["username"], &event["user"]["groups"][0]), (&"erin".into(), &"developers".into()));
    let credential = &event["user"]["extra"]["authentication.kubernetes.io/credential-id"][0];
    assert_eq!(credential, &format!("X509SHA256={sha256}"));

    town.kluis("alice", "trust raise developers -c prod");
    plane.kubectl(&erin).args(["get", "pods"]).succeeds();
    town.apply_rbac();
    let refusal = plane.kubectl(&erin).args(["get", "pods"]).refused();
    assert!(refusal.contains("Forbidden"), "{refusal}");
    let again = town.granted("--group developers", "");
    plane.kubectl(&again).args(["get", "pods"]).succeeds();
    let refusal = plane.kubectl(&erin).args(["get", "pods"]).refused();
    assert!(refusal.contains("Forbidden"), "the former certificate stays cut off: {refusal}");

    let loud = town.granted("--break-glass --reason API_down", "--break-glass");
    plane.kubectl(&loud).args(["get", "secrets", "--all-namespaces"]).succeeds();

    what_nobody_recorded_is_found(&town, &sha256.to_string());
}

/// What is made with the opened CA key works at the API server, and stands out in its audit log; what has ended does not
/// work.
fn what_nobody_recorded_is_found(town: &Town<'_>, erins: &str) {
    let plane = town.plane;
    let (_, report) = town.audit();
    let errors = |report: &Value| -> Vec<(String, String)> {
        let findings = report["findings"].as_array().expect("findings").iter().filter(|one| one["level"] == "error");
        let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        findings.map(|one| (text(one, "code"), text(one, "why"))).collect()
    };
    // erin went on with a certificate whose group had been taken back; everything else is on record.
    let [(code, why)] = &errors(&report)[..] else { panic!("{report:#}") };
    assert!(code == "denied-credential" && why.contains("erin"), "{why}");
    assert!(report["data"]["denied"].to_string().contains(erins), "{report:#}");

    let key = town.kluis("alice", "open -c prod ca.kubernetes --yes");
    let scratch = town.path("");
    fs::write(scratch.join("leaked.key"), &key).expect("a writable scratch directory");
    let openssl = |words: &str| {
        Run::new(&programs::system("openssl"), &scratch).current_dir(&scratch).args(words.split(' ')).succeeds()
    };
    openssl(
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout forged.key -subj /O=system:masters/CN=erin -out forged.csr",
    );
    fs::write(scratch.join("ext"), "keyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n")
        .expect("a writable scratch directory");
    let ca = plane.export.pki("ca.crt").display().to_string();
    openssl(&format!(
        "x509 -req -in forged.csr -CA {ca} -CAkey leaked.key -set_serial 4711 -days 1 -extfile ext -out forged.crt"
    ));
    plane.with_certificate(&scratch.join("forged")).args(["get", "secrets", "--all-namespaces"]).succeeds();
    let der = openssl("x509 -in forged.crt -outform PEM");
    let forged = pki::parse_pem(der.as_bytes(), "CERTIFICATE").expect("a certificate");
    let forged = kluis::model::Digest::of(&forged).to_string();
    let (ended, report) = town.audit();
    assert_eq!(ended.output.status.code(), Some(3), "{ended}");
    let codes: Vec<String> = errors(&report).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes.iter().filter(|code| *code == "unknown-credential").count(), 1, "{report:#}");
    assert!(report.to_string().contains(&forged), "{report:#}");

    expired_is_refused(plane, &scratch, &key);
}

fn expired_is_refused(plane: &ControlPlane, scratch: &Path, key: &str) {
    let authority = fs::read(plane.export.pki("ca.crt")).expect("an export can be read");
    let authority = pki::parse_pem(&authority, "CERTIFICATE").expect("a certificate");
    let ca_key = PrivateKey::from_pem(&Secret::new(key.as_bytes().to_vec())).expect("a key");
    let mut rng = Rng::system();
    let own =
        PrivateKey::generate(ca_key.algorithm().expect("a CA of kluis is of an algorithm that it makes"), &mut rng);
    let now = Time::from_system(std::time::SystemTime::now());
    for (ends, fine) in [(now.plus(Span::hours(1)), true), (now.minus(Span::minutes(1)), false)] {
        let validity = Validity { not_before: now.minus(Span::minutes(4)), not_after: ends };
        let organizations = &["system:masters".to_owned()];
        let spec = LeafSpec { profile: Profile::Client, owner: "late", organizations, sans: &[], validity };
        let der = pki::issue_leaf(&own.spki(), &spec, &authority, &ca_key, &mut rng).expect("a certificate");
        fs::write(scratch.join("late.crt"), pki::certificate_pem(&der)).expect("a writable scratch directory");
        fs::write(scratch.join("late.key"), own.to_pkcs8_pem().expose()).expect("a writable scratch directory");
        let run = plane.with_certificate(&scratch.join("late")).args(["get", "namespaces"]);
        match fine {
            true => drop(run.succeeds()),
            false => {
                let refusal = run.refused();
                assert!(unauthorized(&refusal), "{refusal}");
            }
        }
    }
}

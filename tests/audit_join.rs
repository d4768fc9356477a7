//! `kluis audit --k8s-audit`: the join with an API server's audit log, and the tricks of whoever would rather not be found.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod audited;
mod repository;

use audited::{audit_in, event, join, lines, story, with_void};
use kluis::model::{Span, Time};
use kluis::ops::audit::event::{self, Need};
use kluis::ops::audit::join::{Join, Joined, Known, Standing};
use proptest::prelude::*;
use repository::{cluster, person};
use serde_json::{Value, json};

#[test]
fn t36_a_request_with_a_certificate_that_nobody_recorded_is_named() {
    let (made, ids) = story();
    let honest = [
        event(Some(&ids.node), "kube-apiserver", 1),
        event(Some(&ids.erin), "erin", 2),
        event(Some("JTI=1c0f5a53"), "system:serviceaccount:kube-system:x", 3),
        event(None, "system:anonymous", 4),
    ];
    let answered = join(&made, &lines(&honest), &[]).ends(0).says("4 events, 4 requests that ended");
    answered.says("person   erin of prod: 1 event, 1 certificate").says("every certificate that was used is recorded");

    let mut all = honest.to_vec();
    all.extend((10..25).map(|n| event(Some(&ids.stolen), "alice", n)));
    let answered = join(&made, &lines(&all), &[]).ends(3);
    let answered = answered.says(&format!("UNKNOWN  {}", ids.stolen)).says("error[unknown-credential]");
    let answered = answered.says("15 requests of \"alice\" (system:authenticated, system:masters) from 10.0.0.9, ");
    let answered = answered.says("2026-11-01T12:00:10Z to 2026-11-01T12:00:24Z").says("and 5 more; -o json names");
    assert_eq!(answered.out.matches("get secrets kube-system/token-").count(), 10, "{}", answered.out);
    let answered = join(&made, &lines(&all), &["-o", "json"]).ends(3);
    assert_eq!(answered.codes(), ["unknown-credential"]);
    let data = answered.json()["data"].clone();
    let unknown = &data["unknown"][0];
    assert_eq!((&unknown["requests"], &unknown["events"], &unknown["left_out"]), (&json!(15), &json!(15), &json!(0)));
    assert_eq!(unknown["listed"].as_array().unwrap().len(), 15);
    assert_eq!(unknown["listed"][0]["source_ips"], json!(["192.0.2.1", "10.0.0.9"]));
    assert_eq!((&data["token_events"], &data["events_without_credential"]), (&json!(1), &json!(1)));
}

/// Bodies are a client's own, so whatever stands in them neither hides a request nor blames anybody.
#[test]
fn t36_what_a_client_writes_into_a_body_changes_nothing() {
    let (made, ids) = story();
    let review = |id: &str| {
        let extra = json!({ "authentication.kubernetes.io/credential-id": [id] });
        json!({ "kind": "SubjectAccessReview", "spec": { "user": "erin", "extra": extra.clone() }, "user": { "extra": extra } })
    };
    let mut hidden = event(Some(&ids.stolen), "alice", 1);
    hidden["requestObject"] = review(&ids.erin);
    hidden["requestURI"] = json!(format!("/version?{}", ids.erin));
    join(&made, &lines(&[hidden]), &[]).ends(3).says(&ids.stolen);
    let mut framed = event(Some("JTI=x"), "system:serviceaccount:a:b", 2);
    framed["requestObject"] = review(&ids.stolen);
    framed["annotations"] = json!({ "note": format!("\"extra\":{{}} {}", ids.erin) });
    let answered = join(&made, &lines(&[framed]), &["-o", "json"]).ends(0).json();
    assert_eq!(answered["data"]["recorded"], json!([]), "erin did not do that");
    // Deeper than any parser that calls itself would go.
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let line = event(Some(&ids.stolen), "alice", 3).to_string();
    let deep = line.replacen("\"requestURI\"", &format!("\"responseObject\":{deep},\"requestURI\""), 1);
    join(&made, &deep, &[]).ends(3).says("error[unknown-credential]");
}

#[test]
fn t36_other_ways_to_write_the_same_hide_nothing() {
    let (made, ids) = story();
    let line = event(Some(&ids.stolen), "alice", 1).to_string();
    let escaped = line.replace("X509SHA256=", "\\u0058509SHA256\\u003d").replace("\"extra\"", "\"e\\u0078tra\"");
    join(&made, &escaped, &[]).ends(3).says(&ids.stolen);
    let spaced = serde_json::to_string(&event(Some(&ids.stolen), "alice", 1)).unwrap().replace(':', " : ");
    join(&made, &spaced.replace("\" : \"", "\":\""), &[]).ends(3);
    // A list on one line, whose items have no kind of their own.
    let mut item = event(Some(&ids.stolen), "alice", 2);
    let fields = item.as_object_mut().unwrap();
    fields.remove("kind");
    fields.remove("apiVersion");
    let list = json!({ "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {},
                       "items": [event(Some(&ids.erin), "erin", 3), item] });
    join(&made, &list.to_string(), &[]).ends(3).says("2 events").says(&ids.stolen);
    let many: Vec<Value> = vec![json!({}); 10_001];
    let list = json!({ "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "items": many });
    join(&made, &list.to_string(), &[]).ends(5).says("a list of more than 10000 events");
    // Beside a recorded one.
    let mut two = event(Some(&ids.erin), "erin", 4);
    two["user"]["extra"]["authentication.kubernetes.io/credential-id"] = json!([ids.erin, ids.stolen]);
    join(&made, &two.to_string(), &[]).ends(3).says(&ids.stolen);
    // What is no hash is nobody's.
    for odd in ["X509SHA256=", &ids.erin.to_uppercase(), &format!("{} ", ids.erin)] {
        join(&made, &event(Some(odd), "erin", 5).to_string(), &[]).ends(3).says("error[unknown-credential]");
    }
}

#[test]
fn t36_a_key_that_stands_twice_is_refused() {
    let (made, ids) = story();
    let line = event(Some(&ids.erin), "erin", 1).to_string();
    let user = event(Some(&ids.stolen), "erin", 1)["user"].to_string();
    let extra = format!("\"authentication.kubernetes.io/credential-id\":[\"{}\"]", ids.stolen);
    let twice = [
        line.replacen("{\"annotations\"", &format!("{{\"user\":{user},\"annotations\""), 1),
        line.replacen("\"extra\":{", &format!("\"extra\":{{{extra},"), 1),
        line.replacen("\"extra\":{", &format!("\"extra\":{{{extra}}},\"extra\":{{"), 1),
    ];
    for line in twice {
        assert!(line.contains(&ids.stolen));
        let answered =
            join(&made, &line, &[]).ends(3).says("stands twice").says("names a certificate that nobody recorded");
        answered.says("error[unreadable-event]");
    }
}

/// The header `Audit-ID` lets a client choose the id of its requests.
#[test]
fn t36_one_audit_id_for_many_requests_does_not_make_them_one() {
    let (made, ids) = story();
    let mut all: Vec<Value> = (0..7).map(|n| event(Some(&ids.stolen), "alice", n)).collect();
    all.iter_mut().for_each(|event| event["auditID"] = json!("mine"));
    let data = join(&made, &lines(&all), &["-o", "json"]).ends(3).json();
    assert_eq!(data["data"]["unknown"][0]["requests"], 7);
}

#[test]
fn the_stages_of_one_request_are_one_request() {
    let (made, ids) = story();
    let stage = |stage: &str, code: Option<u32>| {
        let mut event = event(Some(&ids.stolen), "alice", 1);
        event["stage"] = json!(stage);
        match code {
            Some(code) => event["responseStatus"]["code"] = json!(code),
            None => drop(event.as_object_mut().unwrap().remove("responseStatus")),
        }
        event
    };
    let received = stage("RequestReceived", None);
    let watching = [received.clone(), stage("ResponseStarted", Some(200))];
    let data = join(&made, &lines(&watching), &["-o", "json"]).ends(3).json()["data"].clone();
    assert_eq!((&data["events"], &data["requests"]), (&json!(2), &json!(0)), "none has ended");
    assert_eq!(data["unknown"][0]["requests"], 1, "and one was made");
    let whole = [received, stage("ResponseStarted", Some(200)), stage("ResponseComplete", Some(403))];
    let data = join(&made, &lines(&whole), &["-o", "json"]).ends(3).json()["data"].clone();
    let unknown = &data["unknown"][0];
    assert_eq!((&unknown["requests"], &unknown["events"]), (&json!(1), &json!(3)));
    assert_eq!(
        (&unknown["listed"][0]["code"], &unknown["listed"][0]["stage"]),
        (&json!(403), &json!("ResponseComplete"))
    );
}

#[test]
fn t36_a_line_too_long_to_keep_is_judged_by_its_beginning() {
    let (made, ids) = story();
    let long = |id: &str| {
        // In the order in which an API server writes it.
        let user = event(Some(id), "alice", 1)["user"].to_string();
        format!(
            "{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"stage\":\"ResponseComplete\",\"user\":{user},\
                 \"responseObject\":\"{}\"}}\n",
            "x".repeat(17 << 20)
        )
    };
    join(&made, &long(&ids.stolen), &[]).ends(3).says(&ids.stolen).says("judged by its beginning");
    let answered = join(&made, &long(&ids.erin), &[]).ends(5).says("attention[unreadable-event]");
    answered.says("person   erin of prod: 1 event");
}

#[test]
fn what_is_no_event_is_counted_named_and_inert() {
    let (made, ids) = story();
    let mut log = lines(&[event(Some(&ids.erin), "erin", 1)]);
    log += "\n\r\n2026-11-01T12:00:00Z AUDIT: id=\"x\" user=\"\u{1b}[2J\u{202e}\"\n{\"kind\":\"Event\",\"apiVersion\":\"v1\"}\n";
    log += "[]\nnull\n\"X\"\n{\"kind\":7}\n";
    log += &"{\"a\":".repeat(20_000);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.log");
    let mut bytes = log.into_bytes();
    bytes.extend(b"\n\xff\xfe\x00\n");
    bytes.extend(event(Some(&ids.erin), "erin\u{1b}]0;x\u{7}", 2).to_string().bytes()); // and no line end
    std::fs::write(&file, bytes).unwrap();
    let answered = audit_in(&made, &dir.path().join("repo"), &["--k8s-audit", file.to_str().unwrap()]);
    let answered = answered.ends(5).says("2 events").says("attention[unreadable-event]").says("audit.log:4, ");
    assert!(!answered.out.contains('\u{1b}') && !answered.err.contains('\u{1b}'), "{}", answered.out);
    let json = audit_in(&made, &dir.path().join("repo"), &["--k8s-audit", file.to_str().unwrap(), "-o", "json"]).json();
    assert_eq!(json["data"]["unreadable_lines"], 8, "{json:#}");

    let mut hostile = event(Some(&ids.stolen), "\u{1b}[31meve\u{202e}", 1);
    hostile["requestURI"] = json!("/\u{1b}]8;;http://x\u{7}");
    hostile["objectRef"] = json!(null);
    hostile["verb"] = json!("get\nerror[x]: y");
    let answered = join(&made, &hostile.to_string(), &[]).ends(3).says("\\u{1b}[31meve\\u{202e}");
    assert!(!answered.out.contains(['\u{1b}', '\u{7}', '\u{202e}']) && !answered.out.contains("\nerror[x]"));
}

#[test]
fn certificates_of_records_that_do_not_count_or_of_other_clusters_are_unknown() {
    let (made, ids) = with_void();
    join(&made, &lines(&[event(Some(&ids.void), "bob", 1)]), &[]).ends(3).says("names it, which does not count");
    let mut made = made;
    let mut epoch = made.draft();
    made.add_cluster(&mut epoch, "stage", &["alice"], &["alice"]);
    made.publish(epoch, &["alice"]);
    made.populate("stage", "alice");
    let log = lines(&[event(Some(&ids.node), "kube-apiserver", 1)]);
    join(&made, &log, &["-c", "stage"]).ends(3).says("it is recorded for cluster prod");
    assert!(!join(&made, &log, &["-c", "prod"]).out.contains("UNKNOWN"));
}

#[test]
fn a_denied_certificate_is_named_from_when_on_it_was_denied() {
    let (mut made, ids) = story();
    let mut epoch = made.draft();
    epoch.clusters.get_mut(&cluster("prod")).unwrap().groups.remove(&person("erin"));
    let since = epoch.created;
    made.publish(epoch, &["alice", "bob"]);
    let at = |time: Time, n: u32| {
        let mut event = event(Some(&ids.erin), "erin", n);
        event["requestReceivedTimestamp"] = json!(time.to_string().replace('Z', ".000001Z"));
        event
    };
    let before = at(since.minus(Span::minutes(1)), 1);
    join(&made, &lines(std::slice::from_ref(&before)), &[]).ends(0);
    let both = [before, at(since.plus(Span::minutes(1)), 2)];
    let answered = join(&made, &lines(&both), &["-o", "json"]).ends(3);
    assert_eq!(answered.codes(), ["denied-credential"]);
    let denied = &answered.json()["data"]["denied"][0];
    assert_eq!((&denied["requests"], &denied["denied"]["owner"]), (&json!(1), &json!("erin")));
    // Afterwards too, when it is over: a log is read later than it is written.
    let later = made.now().plus(Span::days(9)).to_string();
    join(&made, &lines(&both), &["--at", &later]).ends(3).says("DENIED   X509SHA256=").says("took dev back from erin");
    let mut timeless = at(since, 3);
    timeless["requestReceivedTimestamp"] = json!("soon");
    timeless["stageTimestamp"] = json!(null);
    join(&made, &lines(&[timeless]), &[]).ends(3);
}

#[test]
fn several_files_are_read_and_what_can_not_be_read_is_said() {
    let (made, ids) = story();
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..2)
        .map(|n| {
            let path = dir.path().join(format!("audit-{n}.log"));
            std::fs::write(&path, lines(&[event(Some(&ids.erin), "erin", n)])).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let repo = dir.path().join("repo");
    let words = ["--k8s-audit", &names[0], "--k8s-audit", &names[1]];
    audit_in(&made, &repo, &words).ends(0).says("2 events, 2 requests");
    audit_in(&made, &repo, &["--k8s-audit", "/nowhere/audit.log"]).ends(1).says("/nowhere/audit.log");
    audit_in(&made, &repo, &["--k8s-audit", dir.path().to_str().unwrap()]).ends(1).says("is a folder");
    audit_in(&made, &repo, &["--k8s-audit", "-", "--k8s-audit", "-"]).ends(2).says("once");
}

#[test]
fn standard_input_is_a_log_too() {
    use std::io::Write as _;
    let (made, ids) = story();
    let dir = tempfile::tempdir().unwrap();
    audit_in(&made, dir.path(), &[]).ends(0);
    let pin = format!("kluis-pin:{}:1:{}", made.id, made.epochs[0].1);
    let mut kluis = std::process::Command::new(env!("CARGO_BIN_EXE_kluis"));
    kluis.env_clear().env("HOME", dir.path()).arg("-C").arg(dir.path());
    kluis.args(["--pin", &pin, "audit", "--k8s-audit", "-", "-o", "json"]);
    let mut child = kluis.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let log = lines(&(0..3000).map(|n| event(Some(&ids.stolen), "alice", n)).collect::<Vec<_>>());
    child.stdin.take().unwrap().write_all(log.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let unknown = &report["data"]["unknown"][0];
    assert_eq!((output.status.code(), &unknown["requests"]), (Some(3), &json!(3000)));
    let listed = unknown["listed"].as_array().unwrap().len() as u64;
    assert_eq!(
        (listed, unknown["left_out"].as_u64()),
        (report["data"]["limits"]["requests_of_one_credential"].as_u64().unwrap(), Some(3000 - listed))
    );
}

// -- properties

fn joined(known: &Known, pieces: &[&[u8]], longest: usize) -> Joined {
    let mut join = Join::with_lines_of(known, longest);
    join.begin("log");
    pieces.iter().for_each(|piece| join.feed(piece));
    join.end();
    join.finish()
}

fn known() -> Known {
    let mut known = Known::default();
    known.add("aa".repeat(32), 0, Standing::Recorded);
    known.add("bb".repeat(32), 1, Standing::Denied(None));
    known.add("cc".repeat(32), 2, Standing::Denied(Time::parse("2026-11-01T12:00:30Z")));
    known.add("dd".repeat(32), 3, Standing::Unknown);
    known
}

fn any_line() -> impl Strategy<Value = String> {
    let digits = prop::sample::select(vec!["aa", "bb", "cc", "dd", "ee", "AA"]);
    let real = (digits, 0_u32..90).prop_map(|(digits, n)| event(Some(&id_of(digits)), "x", n).to_string());
    prop_oneof![
        4 => real,
        1 => (0_u32..9).prop_map(|n| event(None, "x", n).to_string()),
        1 => "[ -~\u{e9}\r]{0,40}",
        1 => (1_usize..400).prop_map(|cut| event(Some(&id_of("ee")), "x", 1).to_string().chars().take(cut).collect()),
    ]
}

fn id_of(digits: &str) -> String {
    format!("X509SHA256={}", digits.repeat(32))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn where_a_log_is_split_changes_nothing(
        lines in prop::collection::vec(any_line(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ends in any::<bool>(),
        longest in prop::sample::select(vec![64_usize, 700, 1 << 20]),
    ) {
        let mut log = lines.join("\n").into_bytes();
        if ends {
            log.push(b'\n');
        }
        let known = known();
        let whole = joined(&known, &[&log], longest);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(log.len() + 1)).collect();
        cuts.extend([0, log.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &log[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&joined(&known, &pieces, longest), &whole);
        let bytes: Vec<&[u8]> = log.chunks(1).collect();
        prop_assert_eq!(&joined(&known, &bytes, longest), &whole);
    }

    #[test]
    fn an_event_of_an_unknown_certificate_is_found_whatever_surrounds_it(
        before in prop::collection::vec(any_line(), 0..6),
        after in prop::collection::vec(any_line(), 0..6),
        body in "\\PC{0,60}",
    ) {
        let mut found = event(Some(&id_of("77")), "x", 1);
        found["requestObject"] = json!({ "data": body });
        let all = [before, vec![found.to_string()], after].concat().join("\n");
        let joined = joined(&known(), &[all.as_bytes()], 1 << 20);
        prop_assert!(joined.unknown.iter().any(|used| used.credential_id == id_of("77") && used.requests == 1));
    }

    #[test]
    fn what_is_needed_does_not_change_who_asked(line in any_line()) {
        let (few, all) = (event::read(line.as_bytes(), Need::Credential), event::read(line.as_bytes(), Need::All));
        let credentials = |line: &event::Line<'_>| -> Vec<Vec<String>> {
            let users = line.events.iter().filter_map(|event| event.user.as_ref());
            users.map(|user| user.credentials.iter().map(|id| String::from(&**id)).collect()).collect()
        };
        prop_assert_eq!(credentials(&few), credentials(&all));
    }
}
